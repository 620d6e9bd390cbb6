"""Fixtures for real processes on loopback."""

import pytest

from tests.processes import Place, end, settings, start_agent, start_simulator


@pytest.fixture
def place(tmp_path):
    """A new working directory with settings."""
    return Place(tmp_path, settings())


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
