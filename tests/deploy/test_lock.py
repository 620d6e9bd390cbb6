"""Laws of the pinned packages: exact, hashed, whole, and what pyproject.toml asks for."""

import ast
import json
import re
import subprocess
import sys
from importlib.metadata import packages_distributions

import pytest
from packaging.utils import canonicalize_name

from tests.deploy.lock import ASKED, PROJECT, ROOT, RUNTIME, read

each = pytest.mark.parametrize("path", ASKED, ids=lambda path: path.name)


@each
def test_every_direct_dependency_is_pinned_within_its_bounds(path):
    """`make lock` follows pyproject.toml."""
    pins = read(path)
    for asked in ASKED[path]:
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
    assert used == {canonicalize_name(one.name) for one in ASKED[RUNTIME]}


@pytest.mark.index
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_pins_hold_for_each_python_and_machine(tmp_path, python, machine):
    """What is compiled has a wheel for it, with a hash that is written down: pip takes it."""
    pins = {name: pin for name, pin in read(RUNTIME).items() if pin.here}
    # A wheel of Python alone fits everywhere: it and the sdist are all the files there are.
    compiled = {name: pin for name, pin in pins.items() if len(pin.hashes) > 2}
    assert {"msgspec", "pyarrow", "pydantic-core"} <= set(compiled)
    lines = [
        f"{pin.requirement} {' '.join(f'--hash={one}' for one in pin.hashes)}\n"
        for pin in compiled.values()
    ]
    (tmp_path / "requirements.txt").write_text("".join(lines))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--report", "-"]
    pip += ["--require-hashes", "--no-deps", "--only-binary=:all:", "--target", tmp_path / "target"]
    pip += ["--python-version", python, "--implementation", "cp"]
    for kind in ("manylinux_2_28", "manylinux_2_17", "manylinux2014"):
        pip += ["--platform", f"{kind}_{machine}"]
    pip += ["--requirement", tmp_path / "requirements.txt"]
    done = subprocess.run(pip, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stderr
    taken = {one["metadata"]["name"] for one in json.loads(done.stdout)["install"]}
    assert {canonicalize_name(name) for name in taken} == set(compiled)
