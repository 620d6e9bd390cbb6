"""Programs of Debian's packages that some tests need."""

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
"""Debian's packages of programs that are called otherwise."""


def needs(program):
    """Leave the test out for want of a program's package."""
    leave_out(NEEDS + PACKAGES.get(program, program))


def leave_out(why):
    """Leave the test out, or fail it where nothing may be left out, as in CI."""
    (pytest.fail if os.environ.get("BLOFIN_REQUIRE_DEBIAN") else pytest.skip)(why)


def find(program):
    """Return the path of a program, or leave the test out."""
    path = shutil.which(program)
    if path is None:
        needs(program)
    return path
