"""How the suite runs: what goes together, what is slow, what was left out; a pytest plugin.

Tests run in parallel. A file's tests stay together in one worker and share its fixtures, except in
the folders of real processes: there each test may run anywhere.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests import shared
from tests.forkserver import environment
from tests.pace import REAL
from tests.programs import NEEDS

SLOW_S = float(os.environ.get("BLOFIN_TESTS_SLOW_S", "3"))
ALONE = "BLOFIN_TESTS_ALONE"
"""In the run that measures tests again, one after another: the file with their names.

`0`: no such run.
"""
SPREAD = ("tests/integration/", "tests/laws/")
"""Folders whose tests need not stay together."""
TOGETHER = ("tests/integration/faults/test_exchange.py",)
"""Files there whose tests share an agent."""
SHIPPED = tuple(f"tests/deploy/test_{name}.py" for name in ("audit", "sbom", "wheel"))
"""Files that share what is shipped."""
FIRST = (
    *("shipped", "tests/deploy/test_chain.py", "tests/browser/test_page.py"),
    *("tests/deploy/test_dockerfile.py", "tests/simulator/test_faults.py"),
    "tests/integration/faults/test_exchange.py",
)
"""The scopes that take longest: begun late they would be alone in the end."""
_LEFT_OUT = re.compile(NEEDS + r"([\w.+-]+)")

_shared_s = pytest.StashKey[list]()
_took = pytest.StashKey[dict]()


def pytest_configure(config):
    """Declare our marker."""
    config.addinivalue_line("markers", "slow(why): takes more than 3 seconds, and why it must")
    config.addinivalue_line("markers", "real_time: only `make test-slow` runs it")
    config.stash[_took] = {}


# -- what goes together ---------------------------------------------------------------------------


def pytest_collection_modifyitems(config, items):
    """Leave out what only real time shows; mix tests that wait with those that compute."""
    if not REAL:
        left = [item for item in items if item.get_closest_marker("real_time")]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]
    if names := _names_to_measure():
        items[:] = [item for item in items if item.nodeid in names]
    scopes = list(dict.fromkeys(scope(item.nodeid) for item in items))
    waiting = [one for one in scopes if one.startswith(SPREAD)]
    working = [one for one in scopes if not one.startswith(SPREAD)]
    turns = {
        one: (place + 1) / len(these)
        for these in (waiting, working)
        for place, one in enumerate(these)
    }
    turns |= {one: -1 / (place + 1) for place, one in enumerate(FIRST)}
    items.sort(key=lambda item: turns[scope(item.nodeid)])


def scope(nodeid):
    """Return the name of the tests that go to one worker together with this one."""
    path = nodeid.partition("::")[0]
    if path in SHIPPED:
        return "shipped"
    return nodeid if path.startswith(SPREAD) and path not in TOGETHER else path


class Scheduling(LoadScopeScheduling):
    """Hands tests out by `scope`."""

    def _split_scope(self, nodeid):
        return scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Let xdist hand them out so."""
    return Scheduling(config, log)


# -- what is slow ---------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef, request):
    """Take the time that a shared fixture takes off the test that happens to come first."""
    begun = time.perf_counter()
    try:
        return (yield)
    finally:
        if fixturedef.scope != "function":
            spent = request.session.stash.setdefault(_shared_s, [0.0])
            spent[0] += time.perf_counter() - begun


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Note how long each test took, its own fixtures with it."""
    report = yield
    spent = item.session.stash.setdefault(_shared_s, [0.0])
    took = call.duration - (spent[0] if call.when == "setup" else 0)
    spent[0] = 0.0
    if not item.get_closest_marker("slow"):
        report.user_properties.append(("unmarked_s", took))
    return report


def pytest_runtest_logreport(report):
    """Gather it, in the process that reports."""
    _seconds[report.nodeid] += sum(s for name, s in report.user_properties if name == "unmarked_s")


_seconds = Counter()


def _unmarked():
    """Return the tests that took long and do not say why."""
    return [one for one, took in _seconds.items() if took > SLOW_S]


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session, exitstatus):
    """End what is shared, and measure again, alone, what took long: the machine may be busy."""
    if hasattr(session.config, "workerinput"):
        return
    shared.close(session.config)
    measured = os.environ.get(ALONE) is not None
    if exitstatus or measured or not (names := _unmarked()):
        return
    files = sorted({name.partition("::")[0] for name in names})
    with tempfile.NamedTemporaryFile("w", suffix=".json") as listed:
        json.dump(names, listed)
        listed.flush()
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-n0", "--no-header", *files],
            cwd=session.config.rootpath,
            # Without coverage, which takes its own time.
            env=environment() | {ALONE: listed.name},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
    session.config.stash[_took]["again"] = done.stdout
    if done.returncode:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _names_to_measure():
    """Return the names of the tests that this run measures again; none in other runs."""
    path = os.environ.get(ALONE, "0")
    return set() if path == "0" else set(json.loads(Path(path).read_text()))


@pytest.fixture(autouse=True)
def _alone(request):
    """Where tests are measured again, fail one that takes long and does not say why."""
    begun = time.perf_counter()
    yield
    took = time.perf_counter() - begun
    if (
        os.environ.get(ALONE, "0") != "0"
        and took > SLOW_S
        and not request.node.get_closest_marker("slow")
    ):
        pytest.fail(f"took {took:.1f} s; mark it `slow` with the reason, or make it quicker")


# -- what was left out ----------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter, config):
    """Say last what was left out for want of a package, and how to install it."""
    yield
    left_out = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        if found := _LEFT_OUT.search(str(report.longrepr)):
            left_out[found[1]] += 1
    if left_out:
        terminalreporter.section("left out")
        for package, count in sorted(left_out.items()):
            terminalreporter.write_line(f"{count} tests need Debian's package {package}")
        names = " ".join(sorted(left_out))
        terminalreporter.write_line(
            f"To run them: apt-get update && apt-get install --no-install-recommends {names}"
        )
    if again := config.stash[_took].get("again"):
        terminalreporter.section("took more than 3 s without a marker, measured again alone")
        terminalreporter.write_line(again)
