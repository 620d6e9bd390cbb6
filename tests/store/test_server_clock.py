"""Laws of the clock that all who share a database go by: its server's."""

import time

import pytest

from blofin_agent.store.postgresql import server_clock
from blofin_agent.store.postgresql.server_clock import ServerClock, now_ms

HOUR_NS = 3_600_000_000_000
MS = 1_000_000


@pytest.fixture
def machine(monkeypatch):
    """Return a function that puts this machine's clock so many ns ahead of the true time."""
    true = time.time_ns

    def ahead(ns):
        monkeypatch.setattr(server_clock.time, "time_ns", lambda: true() + ns)

    return ahead


def measured(store, clock):
    store.read_here(clock.measure)
    return clock.ahead_ms


def test_the_database_tells_the_time(store):
    """In ms since the epoch."""
    before = time.time_ns() // MS
    told = store.read_here(now_ms)
    assert before - 1 <= told <= time.time_ns() // MS + 1


def test_a_transaction_sees_time_go_by(store):
    """What it waits for a lock counts."""

    def twice(connection):
        before = now_ms(connection)
        time.sleep(0.05)
        return now_ms(connection) - before

    assert store.read_here(twice) >= 40


@pytest.mark.postgresql
@pytest.mark.parametrize("hours", [-2, 5])
def test_a_machine_whose_clock_is_wrong_goes_by_the_servers(store, machine, hours):
    """And by its own again, once that is put right."""
    clock = ServerClock()
    machine(hours * HOUR_NS)
    assert abs(measured(store, clock) + hours * 3_600_000) < 200
    theirs = clock.over(lambda: server_clock.time.time_ns() // MS)
    assert abs(theirs() - store.read_here(now_ms)) < 300
    machine(0)
    assert abs(measured(store, clock)) < 200


@pytest.mark.postgresql
def test_a_small_difference_changes_nothing(store, machine):
    """It may be the way there and back."""
    clock = ServerClock()
    assert measured(store, clock) == 0
    machine(-40 * MS)
    assert measured(store, clock) == 0


@pytest.mark.sqlite
def test_a_file_has_its_machines_clock(store, machine):
    """There is no other."""
    clock = ServerClock()
    machine(HOUR_NS)
    assert measured(store, clock) == 0
