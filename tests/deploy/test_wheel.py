"""Laws of what is shipped: it is the same each time, whole, and runs where nothing else is."""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from blofin_agent import __version__
from blofin_agent.domain.candle import Timeframe
from deploy.release import sbom
from tests.deploy import lock, shipping
from tests.deploy.shipping import ROOT
from tests.processes import Place, end, settings, start_agent, start_simulator, until

DAY_OF_BARS = 24 * 60


@pytest.fixture(scope="module")
def clean(shipped, tmp_path_factory):
    """An environment of the pinned packages and the wheel, and a folder far from the tree."""
    folder = tmp_path_factory.mktemp("clean")
    sbom.install(shipped.wheel, folder / "environment")
    return folder / "environment/bin"


@pytest.fixture
def user(clean, tmp_path):
    """Somebody who has the installed command, in a folder of their own."""
    env = shipping.environment(settings(BACKFILL_LOOKBACK_HOURS="24"))
    return Place(tmp_path, env, [str(clean / "blofin-agent")])


@pytest.fixture
def simulator(user):
    simulator = start_simulator(user, options=("--no-limits",))
    yield simulator
    end([simulator.process])


# -- what is in it --------------------------------------------------------------------------------


def test_two_builds_are_the_same_byte_for_byte(shipped, tmp_path):
    """Built in another folder, at another time, of files with other times and modes."""
    tree = shipping.copy(tmp_path / "elsewhere")
    for path in tree.rglob("*"):
        os.utime(path, (1, 1_000_000_000))
        if path.is_file():
            path.chmod(path.stat().st_mode & ~0o077)
    build = shipped.tool("python", "-m", "build", "--no-isolation")
    shipping.run(*build, cwd=tree, SOURCE_DATE_EPOCH=str(shipping.WHEN), TZ="Asia/Tokyo")
    for path in (shipped.wheel, shipped.sdist):
        assert (tree / "dist" / path.name).read_bytes() == path.read_bytes()


def test_the_sdist_holds_whatever_the_repository_does(shipped):
    """So that the tests run from it, and another can build all of it again."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    git = (shutil.which("git"), "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    listed = shipping.run(*git, cwd=ROOT).split("\0")
    with tarfile.open(shipped.sdist) as store_reader:
        held = {str(Path(*Path(one.name).parts[1:])) for one in store_reader if one.isfile()}
    assert held == {name for name in listed if (ROOT / name).is_file()} | {"PKG-INFO"}


def test_the_wheel_holds_the_package_and_nothing_of_the_tests(shipped):
    """Templates, scripts, the runbook, migrations and py.typed; the licence beside them."""
    package = shipped.tree / "blofin_agent"
    files = {str(path.relative_to(shipped.tree)) for path in package.rglob("*") if path.is_file()}
    about = f"blofin_agent-{__version__}.dist-info/"
    papers = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    with zipfile.ZipFile(shipped.wheel) as store_reader:
        assert set(store_reader.namelist()) == files | {about + paper for paper in papers}
    assert {
        *("blofin_agent/py.typed", "blofin_agent/web/runbook.md"),
        *("blofin_agent/web/templates/page.html", "blofin_agent/web/static/style.css"),
        "blofin_agent/store/migrations/versions/0001_first_schema.py",
    } < files


def test_the_checksums_are_of_all_that_is_shipped(shipped):
    """`sha256sum --check SHA256SUMS` finds it."""
    dist = shipped.tree / "dist"
    lines = (dist / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    files = {path.name: path.read_bytes() for path in dist.iterdir() if path.name != "SHA256SUMS"}
    assert sums == {name: hashlib.sha256(held).hexdigest() for name, held in files.items()}
    assert len(sums) == 3


# -- it runs --------------------------------------------------------------------------------------


def test_the_installed_command_is_of_this_version(user):
    """Its code comes from the environment, not from the tree."""
    assert user.run("--version").stdout.split()[-1] == __version__
    python = Path(user.command[0]).with_name("python")
    code = "import blofin_agent; print(blofin_agent.__file__)"
    assert shipping.run(python, "-c", code, cwd=user.folder).startswith(str(python.parent.parent))


def test_the_installed_command_fills_a_store(user, simulator):
    """Against its own simulator, until nothing is missing."""
    done = user.run("backfill")
    assert done.returncode == 0, done.stdout + done.stderr
    for symbol in ("BTC-USDT", "ETH-USDT"):
        held = user.stored(symbol)
        assert len(held) == DAY_OF_BARS
        assert held == [simulator.market.candle(symbol, Timeframe.M1, c.open_time) for c in held]
    # A minute may end between the two, and then its candle is missing.
    until(lambda: user.run("backfill").returncode == user.run("coverage").returncode == 0)


def test_the_installed_agent_serves_its_page(user, simulator):
    """With what the page is made of, and the runbook; then a signal ends it."""
    assert simulator.process.poll() is None
    started = []
    try:
        agent = start_agent(user, started=started)
        static = sorted((ROOT / "blofin_agent/web/static").iterdir())
        for path in ["/", "/metrics", "/runbook", *(f"/static/{one.name}" for one in static)]:
            with urllib.request.urlopen(agent.url + path, timeout=10) as answer:
                assert answer.status == 200
                assert len(answer.read()) > 100
        assert len(static) > 5
        assert agent.stop() == 0
    finally:
        end(started)


def test_a_type_checker_sees_the_types(clean, tmp_path):
    """py.typed is there, and strict checking of a script that uses the package passes."""
    script = tmp_path / "script.py"
    mypy = [sys.executable, "-m", "mypy", "--strict", "--no-incremental"]
    mypy += ["--python-executable", clean / "python", script]
    script.write_text(
        "from blofin_agent.domain.candle import Timeframe\n\nprint(Timeframe.M1.ms + 1)\n"
    )
    shipping.run(*mypy, cwd=tmp_path)
    script.write_text(
        "from blofin_agent.domain.candle import Timeframe\n\nprint(Timeframe.M1.ms + '1')\n"
    )
    wrong = subprocess.run(
        mypy, cwd=tmp_path, env=shipping.environment(), capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 1
    assert "[operator]" in wrong.stdout


def test_the_lowest_versions_that_are_asked_for_are_enough(shipped, user, simulator, tmp_path):
    """Of each direct dependency, the least that its bounds let in: it fills a store with them."""
    place = tmp_path / "lowest"
    shipping.run(*shipped.tool("uv", "venv", "--python", sys.executable, place), cwd=tmp_path)
    install = shipped.tool("uv", "pip", "install", "--python", place)
    # Told of the dependencies themselves: those of a wheel are not direct ones to uv.
    wanted = ("--resolution", "lowest-direct", "--requirement", shipped.tree / "pyproject.toml")
    wanted += ("--extra", "postgresql")
    shipping.run(*install, *wanted, cwd=tmp_path)
    shipping.run(*install, "--no-deps", shipped.wheel, cwd=tmp_path)
    found = lock.found(place / "bin/python")
    for asked in lock.ASKED[lock.RUNTIME]:
        (least,) = [one.version for one in asked.specifier if one.operator == ">="]
        assert SpecifierSet(f"=={least}.*").contains(found[canonicalize_name(asked.name)])
    assert simulator.process.poll() is None
    user.command = [str(place / "bin/blofin-agent")]
    done = user.run("backfill")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
