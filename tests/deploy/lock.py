"""The files of pinned packages that the image is made of, as pip reads them."""

import re
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "deploy/docker"
RUNTIME, BUILD = FOLDER / "requirements.txt", FOLDER / "build-requirements.txt"


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
