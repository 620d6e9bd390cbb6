"""A copy of the tree, with what `make dist` leaves there and the tools that made it."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
WHEN = 1_790_000_000
"""The time of the last commit, as far as `make dist` is told."""
PATIENCE_S = 500
"""It takes half a minute, but not on a busy machine."""


@dataclass(frozen=True)
class Shipped:
    tree: Path

    def tool(self, *command):
        """Return a command of the environment that `make dist` made for its tools."""
        return [self.tree / ".release/bin" / command[0], *command[1:]]

    def one(self, pattern):
        (path,) = (self.tree / "dist").glob(pattern)
        return path

    @property
    def wheel(self):
        return self.one("*.whl")

    @property
    def sdist(self):
        return self.one("*.tar.gz")

    @property
    def sbom(self):
        return self.one("*.cdx.json")


def environment(of=os.environ):
    """Return it less what would lead a program back into this tree or to another's make."""
    ours = ("MAKE", "MFLAGS", "PYTHONPATH", "SOURCE_DATE_EPOCH")
    return {name: value for name, value in of.items() if not name.startswith(ours)}


def copy(place):
    """Copy what git does not ignore."""
    ignored = [Path(line).name for line in (ROOT / ".gitignore").read_text().split()]
    return shutil.copytree(ROOT, place, ignore=shutil.ignore_patterns(".git", *ignored))


def run(*command, cwd, **env):
    """Run a command to its end, and return what it printed; fail with that otherwise."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment() | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    if done.returncode:
        pytest.fail(f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}")
    return done.stdout


def ship(place):
    run("make", "dist", cwd=copy(place), SOURCE_DATE_EPOCH=str(WHEN))
    return Shipped(place)
