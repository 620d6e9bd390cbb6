"""Finds programs of Debian's packages; leaves tests out that lack one."""

import os
import shutil

import pytest

NEEDS = "needs Debian's package "
PACKAGES = {
    "initdb": "postgresql",
    "promtool": "prometheus",
    "amtool": "prometheus-alertmanager",
    "systemd-analyze": "systemd",
    "systemd-sysusers": "systemd",
    "mkfs.ext4": "e2fsprogs",
}
"""Debian's package of each program whose name differs from the package's."""


def needs(program):
    """Leave the test out because a program's package is missing."""
    leave_out(NEEDS + PACKAGES.get(program, program))


def leave_out(why):
    """Leave the test out, or fail it if nothing may be left out (CI)."""
    (pytest.fail if os.environ.get("BLOFIN_REQUIRE_DEBIAN") else pytest.skip)(why)


def find(program):
    """Return the path of a program, or leave the test out."""
    path = shutil.which(program)
    if path is None:
        needs(program)
    return path
