"""The suite's plugin: slow tests give a reason, and the summary names what was left out."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.forkserver import environment

pytestmark = pytest.mark.slow("starts pytest, once or twice")

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def run(tmp_path):
    """Return a function that runs a test file with the plugin, where more than 0.2 s is slow."""

    def run(text, **env):
        (tmp_path / "pytest.ini").write_text("[pytest]\n")
        (tmp_path / "test_it.py").write_text("import time, pathlib, pytest\n" + text)
        clean = {name: one for name, one in environment().items() if "BLOFIN" not in name}
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-n0", "-ra", "-p", "no:cacheprovider"],
            cwd=tmp_path,
            env=clean
            | {
                # Faster without the other plugins.
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                "PYTEST_ADDOPTS": "-p xdist.plugin -p tests.suite",
                "PYTHONPATH": str(ROOT),
                "BLOFIN_TESTS_SLOW_S": "0.2",
                **env,
            },
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_a_slow_test_without_a_marker_fails_the_run(run):
    """It is measured again, alone; the summary says what to do."""
    done = run("def test_it(): time.sleep(0.3)\n")
    assert done.returncode == 1, done.stdout
    assert "test_it.py::test_it" in done.stdout.partition("slow without a reason")[2]


def test_a_slow_test_with_a_marker_passes_and_so_does_one_that_waits_for_a_shared_fixture(run):
    """The start of a shared server does not count for the first test that uses it."""
    done = run(
        "@pytest.mark.slow('it sleeps')\n"
        "def test_one(): time.sleep(0.3)\n"
        "@pytest.fixture(scope='session')\n"
        "def server(): time.sleep(0.3)\n"
        "def test_two(server): pass\n"
    )
    assert done.returncode == 0, done.stdout
    assert "slow without a reason" not in done.stdout


def test_a_test_that_was_slow_once_passes(run):
    """The machine may have been busy."""
    done = run(
        "def test_it():\n"
        "    if not pathlib.Path('seen').exists():\n"
        "        time.sleep(0.3)\n"
        "    pathlib.Path('seen').touch()\n"
    )
    assert done.returncode == 0, done.stdout


def test_a_test_that_fails_when_it_is_measured_again_fails_the_run(run):
    """The summary does not call it slow."""
    done = run(
        "def test_it():\n"
        "    assert not pathlib.Path('seen').exists()\n"
        "    pathlib.Path('seen').touch()\n"
        "    time.sleep(0.3)\n"
    )
    assert done.returncode == 1, done.stdout
    assert "failed when measured again" in done.stdout
    assert "slow without a reason" not in done.stdout


def test_a_name_with_any_sign_in_it_is_measured_again(run):
    """Even one with a special meaning on the command line."""
    done = run(
        "@pytest.mark.parametrize('it', [pytest.param(1, id='a::b -x [c]')])\n"
        "def test_it(it): time.sleep(0.3)\n"
    )
    assert done.returncode == 1, done.stdout
    assert "slow without a reason" in done.stdout


def test_a_marker_without_a_reason_is_refused(run):
    done = run("@pytest.mark.slow\ndef test_it(): pass\n")
    assert done.returncode == 4
    assert "`slow` needs a reason" in done.stderr


NEEDY = "from tests import programs\ndef test_it(): programs.find('no-such-program')\n"


def test_what_is_left_out_is_counted_and_can_be_installed(run):
    """The last lines of the run say how."""
    done = run(NEEDY)
    assert done.returncode == 0
    last = done.stdout.splitlines()[-3:]
    assert last[0] == "1 tests need Debian's package no-such-program"
    assert last[1].endswith("apt-get install --no-install-recommends no-such-program")


def test_in_ci_nothing_is_left_out(run):
    assert run(NEEDY, BLOFIN_REQUIRE_DEBIAN="1").returncode == 1
