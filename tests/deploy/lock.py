"""The files of pinned packages that the image is made of, as pip reads them."""

import ast
import re
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "deploy/docker"
RUNTIME, BUILD = FOLDER / "requirements.txt", FOLDER / "build-requirements.txt"

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ASKED = {
    path: [Requirement(one) for one in asked]
    for path, asked in (
        (
            RUNTIME,
            # The image is for PostgreSQL too.
            PROJECT["project"]["dependencies"]
            + PROJECT["project"]["optional-dependencies"]["postgresql"],
        ),
        (BUILD, PROJECT["build-system"]["requires"]),
    )
}
"""The direct dependencies that each file must hold."""


@dataclass(frozen=True)
class Pin:
    requirement: Requirement
    hashes: tuple[str, ...]

    @property
    def version(self):
        (one,) = self.requirement.specifier
        assert one.operator == "=="
        return one.version

    @property
    def here(self):
        """Whether it is installed on this machine, rather than on Windows."""
        return self.requirement.marker is None or self.requirement.marker.evaluate()


def read(path):
    """Return the pins of a file by name."""
    pins = {}
    text = re.sub(r"\\\n", " ", path.read_text())
    for line in re.sub(r"#.*", "", text).splitlines():
        if line.strip():
            requirement, *hashes = line.split("--hash=")
            one = Requirement(requirement)
            assert canonicalize_name(one.name) not in pins
            pins[canonicalize_name(one.name)] = Pin(one, tuple(each.strip() for each in hashes))
    return pins


def installed(path):
    """Return what a file puts on this machine: version by name."""
    return {name: pin.version for name, pin in read(path).items() if pin.here}


def found(python):
    """Return what is installed where this Python belongs: version by name."""
    code = "import importlib.metadata as m; print([(d.name, d.version) for d in m.distributions()])"
    said = ast.literal_eval(subprocess.check_output([python, "-c", code], text=True))
    assert len(dict(said)) == len(said)
    return {canonicalize_name(name): version for name, version in said}
