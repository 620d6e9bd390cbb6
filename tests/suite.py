"""A pytest plugin: distribution of tests, check of slow tests, list of what was left out.

Tests run in parallel. A file's tests stay together in one worker and share its fixtures, except in
the folders of real processes: there each test may run anywhere.
"""

import gc
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
from coverage import Coverage
from xdist.scheduler import LoadScopeScheduling

from tests.forkserver import environment
from tests.pace import REAL
from tests.programs import NEEDS

SLOW_S = float(os.environ.get("BLOFIN_TESTS_SLOW_S", "3"))
ALONE = "BLOFIN_TESTS_ALONE"
"""Names a file with the tests that this run measures again; the run writes the slow ones to it.

`0`: measure no test again.
"""
MEASURE_SLOW = "BLOFIN_TESTS_MEASURE_SLOW"
"""Set it to include slow tests in the coverage. The map of the mutants needs them."""
SPREAD = ("tests/integration/", "tests/laws/")
"""Folders whose tests may run in different workers."""
TOGETHER = ("tests/integration/faults/test_exchange.py",)
"""Files in these folders whose tests share an agent and stay in one worker."""
SHIPPED = tuple(f"tests/deploy/test_{name}.py" for name in ("audit", "sbom", "wheel"))
"""Files that share one build of the release."""
FIRST = (
    *("shipped", "tests/deploy/test_chain.py", "tests/browser/test_page.py"),
    *("tests/deploy/test_dockerfile.py", "tests/simulator/test_faults.py"),
    "tests/integration/faults/test_exchange.py",
)
"""The slowest scopes. They start first: at the end they would run alone."""
_LEFT_OUT = re.compile(NEEDS + r"([\w.+-]+)")

_shared_s = pytest.StashKey[list]()
_slow = pytest.StashKey[list]()
_failed_again = pytest.StashKey[bool]()


def pytest_configure(config):
    """Declare the markers."""
    config.addinivalue_line("markers", "slow(why): takes more than 3 seconds, and why it must")
    config.addinivalue_line("markers", "real_time: only `make test-slow` runs it")


# -- order and distribution -----------------------------------------------------------------------


def pytest_collection_modifyitems(config, items):
    """Deselect tests that need real time; alternate tests that wait with tests that compute."""
    for item in items:
        if (marker := item.get_closest_marker("slow")) and not marker.args:
            raise pytest.UsageError(f"{item.nodeid}: `slow` needs a reason")
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


def pytest_collection_finish():
    """Exempt the collected tests from garbage collection, which takes 8 % of the time with them."""
    gc.collect()
    gc.freeze()


def scope(nodeid):
    """Return the name of the group of tests that run in one worker with this one."""
    path = nodeid.partition("::")[0]
    if path in SHIPPED:
        return "shipped"
    return nodeid if path.startswith(SPREAD) and path not in TOGETHER else path


class Scheduling(LoadScopeScheduling):
    """Distributes tests by `scope`."""

    def _split_scope(self, nodeid):
        return scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Make xdist use it."""
    return Scheduling(config, log)


# -- slow tests -----------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef, request):
    """Measure shared fixtures apart: the first test that uses one is not slow because of it."""
    begun = time.perf_counter()
    spent = request.session.stash.setdefault(_shared_s, [0.0])
    before = spent[0]
    try:
        return (yield)
    finally:
        if fixturedef.scope != "function":
            # Not a sum: it includes shared fixtures that this one requested meanwhile.
            spent[0] = before + time.perf_counter() - begun


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Exclude slow tests from the coverage, which would double their time.

    Threads that trio keeps for reuse stay untraced for up to 10 s afterwards. The gates are reached
    without them.
    """
    slow = item.get_closest_marker("slow") and not os.environ.get(MEASURE_SLOW)
    running = Coverage.current() if slow else None
    if running is None:
        return (yield)
    running.stop()
    try:
        return (yield)
    finally:
        running.start()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Record the duration of each test, including its own fixtures."""
    report = yield
    spent = item.session.stash.setdefault(_shared_s, [0.0])
    took = call.duration - (spent[0] if call.when == "setup" else 0)
    spent[0] = 0.0
    # The marker `index` is a reason too.
    if not any(map(item.get_closest_marker, ("slow", "index"))):
        report.user_properties.append(("unmarked_s", took))
    return report


def pytest_runtest_logreport(report):
    """Add the durations up, in the process that reports."""
    _seconds[report.nodeid] += sum(s for name, s in report.user_properties if name == "unmarked_s")


_seconds = Counter()


def _unmarked():
    """Return the slow tests without a marker."""
    # With coverage a test that computes takes about three times as long.
    limit_s = SLOW_S * (3 if Coverage.current() else 1)
    return [one for one, took in _seconds.items() if took > limit_s]


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session, exitstatus):
    """Measure slow tests again: the machine may have been busy."""
    if hasattr(session.config, "workerinput"):
        return
    path = os.environ.get(ALONE)
    if path is None and not exitstatus and (names := _unmarked()):
        try:
            slow = _measure_again(names, session.config)
        except ChildFailed:
            slow = names
            session.config.stash[_failed_again] = True
        if slow:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        session.config.stash[_slow] = slow
    elif path not in (None, "0"):
        Path(path).write_text(json.dumps(_unmarked()))


class ChildFailed(Exception):
    """A test failed when it was measured again."""


def _measure_again(names, config):
    """Return the tests that are slow in each of three runs. Raises ChildFailed."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as listed:
        for _ in range(3):
            Path(listed.name).write_text(json.dumps(names))
            workers = 2 if len(names) > 4 else 0
            files = sorted({name.partition("::")[0] for name in names})
            done = subprocess.run(
                [sys.executable, "-m", "pytest", "-q", f"-n{workers}", *files],
                cwd=config.rootpath,
                # Coverage would make them slower.
                env=environment() | {ALONE: listed.name},
                stdout=subprocess.PIPE,
                text=True,
                check=False,
            )
            if done.returncode:
                sys.stdout.write(done.stdout)
                raise ChildFailed
            if not (names := json.loads(Path(listed.name).read_text())):
                break
    return names


def _names_to_measure():
    """Return the names of the tests that this run measures again; empty in other runs."""
    path = os.environ.get(ALONE, "0")
    return set() if path == "0" else set(json.loads(Path(path).read_text()))


# -- left out -------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter, config):
    """Report which tests were left out and the packages they need, then the slow tests."""
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
    slow = config.stash.get(_slow, [])
    if config.stash.get(_failed_again, False):
        terminalreporter.section("failed when measured again")
        terminalreporter.write_line("These tests were slow; in a second run one failed (above):")
        for name in slow:
            terminalreporter.write_line(name)
    elif slow:
        terminalreporter.section("slow without a reason")
        for name in slow:
            terminalreporter.write_line(name)
        terminalreporter.write_line(
            f'Each takes more than {SLOW_S:g} s: add `@pytest.mark.slow("why")` or make it faster'
        )
