"""The instructions of deploy/Dockerfile, and an image of them that needs no Docker engine.

It is made of the same files with the same commands, below another folder.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "deploy/Dockerfile").read_text()
VENV = "/opt/blofin-agent"


def instructions():
    """Return the stages, each a list of (instruction, rest)."""
    stages = []
    for line in re.sub(r"\\\n\s*", "", TEXT).splitlines():
        if not line or line.startswith("#"):
            continue
        word, rest = line.split(maxsplit=1)
        if word == "FROM":
            stages.append([])
        stages[-1].append((word, rest))
    return stages


BUILD, FINAL = instructions()


def all_of(stage, word):
    return [rest for one, rest in stage if one == word]


def one_of(stage, word):
    (rest,) = all_of(stage, word)
    return rest


def pairs(word):
    """Return the NAME=value pairs of an instruction of the image."""
    return dict(pair.split("=", 1) for pair in shlex.split(one_of(FINAL, word)))


def copied():
    """Return what the build takes from the repository."""
    return [name for rest in all_of(BUILD, "COPY") for name in rest.split()[:-1]]


@dataclass
class Image:
    """What a container would see, below one folder."""

    folder: Path
    env: dict[str, str]

    @property
    def work(self):
        return self.folder / one_of(FINAL, "WORKDIR").lstrip("/")

    def argv(self, *command):
        """Return a command with its program looked up on the image's PATH."""
        return [shutil.which(command[0], path=self.env["PATH"]) or command[0], *command[1:]]

    def run(self, *command):
        return subprocess.run(
            self.argv(*command),
            cwd=self.work,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def files(self):
        """Return all files but the data and the temporary ones, and when each was written."""
        free = (self.folder / "tmp", self.work / "data")
        return {
            path: path.lstat().st_mtime_ns
            for path in self.folder.rglob("*")
            if not any(path.is_relative_to(place) for place in free)
        }


def build(folder):
    """Carry out the build, but take the dependencies from here."""
    source, venv = folder / one_of(BUILD, "WORKDIR").lstrip("/"), folder / VENV.lstrip("/")
    source.mkdir()
    for name in copied():
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    for line in all_of(BUILD, "RUN"):
        command = [part.replace(VENV, str(venv)) for part in json.loads(line)]
        if command[0] == "python":
            command[0] = sys.executable
        if "install" in command:
            command.insert(-1, "--no-deps")
        done = subprocess.run(
            command, cwd=source, capture_output=True, text=True, timeout=170, check=False
        )
        if done.returncode:
            pytest.fail(f"{line}:\n{done.stdout}{done.stderr}")
    shutil.rmtree(source)
    (own,) = venv.glob("lib/python*/site-packages")
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (folder / "tmp").mkdir()
    env = {name: value.replace(VENV, str(venv)) for name, value in pairs("ENV").items()}
    env["PATH"] = env["PATH"].replace("$PATH", os.environ["PATH"])
    env["API_TOKEN"] = "wanted, as it listens for others".replace(" ", "-")
    image = Image(folder, env | {"HOME": str(folder), "TMPDIR": str(folder / "tmp")})
    (image.work / "data").mkdir(parents=True)
    return image
