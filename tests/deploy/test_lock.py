"""Laws of the pinned packages: exact, hashed, whole, and what pyproject.toml asks for."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.lock import BUILD, ROOT, RUNTIME, read

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ASKED = {RUNTIME: PROJECT["project"]["dependencies"], BUILD: PROJECT["build-system"]["requires"]}

each = pytest.mark.parametrize("path", ASKED, ids=lambda path: path.name)


@each
def test_every_direct_dependency_is_pinned_within_its_bounds(path):
    """`make lock` follows pyproject.toml."""
    pins = read(path)
    for asked in map(Requirement, ASKED[path]):
        pin = pins[canonicalize_name(asked.name)]
        assert asked.specifier.contains(pin.version), asked
        assert pin.here


@each
def test_every_package_is_one_version_with_its_hashes(path):
    """SHA-256 of each of its files, so that a machine of another kind finds its own."""
    pins = read(path)
    assert len(pins) >= 5
    for pin in pins.values():
        assert pin.version
        assert not pin.requirement.extras
        assert pin.hashes
        assert [one for one in pin.hashes if not re.fullmatch("sha256:[0-9a-f]{64}", one)] == []


@each
def test_a_pin_says_where_it_comes_from_by_name_alone(path):
    """No address and no machine's path: whichever index pip is set up for may serve the files."""
    text = path.read_text()
    assert "://" not in text
    assert not re.search(r"(^|\s)-(?!-hash=)", text)
    assert not re.search(r"(^|\s)/", text)
    assert "make lock" in text.partition("==")[0]


def test_what_builds_is_asked_for_once():
    """The group that `make lock` pins is what [build-system] names."""
    assert PROJECT["dependency-groups"]["build"] == PROJECT["build-system"]["requires"]


def test_whatever_is_imported_is_asked_for():
    """Not left to what another library brings along today, and nothing is asked for in vain."""
    imported = set()
    for path in (ROOT / "blofin_agent").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.partition(".")[0])
    owners = packages_distributions()
    foreign = imported - sys.stdlib_module_names - {"blofin_agent"}
    used = {canonicalize_name(owners[name][0]) for name in foreign}
    assert used == {canonicalize_name(Requirement(one).name) for one in ASKED[RUNTIME]}
