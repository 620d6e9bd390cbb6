"""Fixtures for faults of the storage: file systems of their own, other rights."""

import os
import subprocess

import pytest

from tests import programs
from tests.integration.faults import laws


@pytest.fixture
def mounts():
    """Mount file systems at folders, and take them away when the test is over."""
    mounted = []

    def mount(folder, *args):
        folder.mkdir(exist_ok=True)
        done = laws.system("mount", *args, folder, check=False)
        if done.returncode:
            programs.leave_out(f"this machine lets no test mount: {done.stderr.strip()}")
        mounted.append(folder)

    yield mount
    for folder in mounted:
        laws.system("umount", "--lazy", folder, check=False)


@pytest.fixture
def tmpfs(mounts):
    """Mount a file system in memory, of such a size."""
    return lambda folder, size: mounts(folder, "-t", "tmpfs", "-o", f"size={size}", "test")


@pytest.fixture
def bound_by_rights():
    """Return what to begin a command with so that it heeds the rights of files, as users do."""
    if os.geteuid():
        return []
    setpriv = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    try:
        laws.system(*setpriv, "true")
    except (OSError, subprocess.CalledProcessError) as error:
        programs.leave_out(f"root heeds no rights, and cannot be made to: {error}")
    return setpriv
