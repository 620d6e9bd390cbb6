"""Fixtures for real processes on loopback."""

from pathlib import Path

import pytest

from tests.pace import fast_clock
from tests.processes import Place, end, settings, start_agent, start_simulator

HERE = Path(__file__).parent


def pytest_generate_tests(metafunc):
    """Try each law on both engines, unless it is one of SQLite's file, or of a folder below."""
    here = Path(metafunc.module.__file__).parent == HERE
    if here and "place" in metafunc.fixturenames:
        engines = ["sqlite", "postgresql"]
        alone = [one for one in engines if metafunc.definition.get_closest_marker(one)]
        metafunc.parametrize("place", alone or engines, indirect=True)


@pytest.fixture
def place(request, tmp_path):
    """A new working directory with settings."""
    env = settings()
    if request.node.get_closest_marker("fast_clock"):
        env |= fast_clock()
    if getattr(request, "param", "sqlite") == "postgresql":
        env["BLOFIN_DATABASE_URL"] = request.getfixturevalue("postgres_database")
    return Place(tmp_path, env)


@pytest.fixture
def ended():
    """Collects processes, and ends those that still run when the test is over."""
    processes = []
    yield processes
    end(processes)


@pytest.fixture
def simulate(place, ended):
    """Start a simulator, without limits as a rule, and point the place's settings at it."""

    def start(symbols="BTC-USDT,ETH-USDT", *, limits=False, options=(), **how):
        flags = () if limits else ("--no-limits",)
        simulator = start_simulator(place, symbols, options=(*flags, *options), **how)
        ended.append(simulator.process)
        return simulator

    return start


@pytest.fixture
def run_agent(place, ended):
    """Start an agent, and wait until it says where it serves."""
    return lambda *args, **env: start_agent(place, *args, started=ended, **env)
