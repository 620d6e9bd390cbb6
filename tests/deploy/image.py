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


def _carry_out(command, folder, source):
    command = [re.sub("^/opt/", f"{folder}/opt/", part) for part in command]
    if command[0] == "python":
        command[0] = sys.executable
    done = subprocess.run(
        command, cwd=source, capture_output=True, text=True, timeout=170, check=False
    )
    if done.returncode:
        pytest.fail(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")


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
    """Carry out the build as it is written, with the package index that pip finds here."""
    (folder / "opt").mkdir()
    source = folder / one_of(BUILD, "WORKDIR").lstrip("/")
    source.mkdir()
    for word, rest in BUILD:
        if word == "COPY":
            *names, place = rest.split()
            for name in names:
                copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
                copy(ROOT / name, source / place)
        elif word == "RUN":
            _carry_out(json.loads(rest), folder, source)
    shutil.rmtree(source)
    # As only this one is taken into the last stage.
    shutil.rmtree(folder / "opt/build")
    venv = folder / VENV.lstrip("/")
    (folder / "tmp").mkdir()
    env = {name: value.replace(VENV, str(venv)) for name, value in pairs("ENV").items()}
    env["PATH"] = env["PATH"].replace("$PATH", os.environ["PATH"])
    env["API_TOKEN"] = "wanted, as it listens for others".replace(" ", "-")
    image = Image(folder, env | {"HOME": str(folder), "TMPDIR": str(folder / "tmp")})
    (image.work / "data").mkdir(parents=True)
    return image
