"""Laws of what is remembered beside candles and runs: proofs, instruments, heartbeats."""

from blofin_agent.domain.candle import HOUR, MINUTE, Timeframe
from blofin_agent.domain.instrument import Instrument
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.domain.unavailability import UnavailableRange
from blofin_agent.store.tables import heartbeats, instruments, unavailable

T = 1_790_000_000_000


def write(store, work, *args, **named):
    with store.engine.begin() as connection:
        return work(connection, *args, **named)


def proof(start, end, checks=1):
    return UnavailableRange(TimeRange(T + start * MINUTE, T + end * MINUTE), T, checks, T + HOUR)


def test_proofs_come_back_by_symbol_oldest_first(store, reopened):
    """Of the bar asked for, after a restart too."""
    write(store, unavailable.save_proofs, "A", Timeframe.M1, [proof(5, 6), proof(1, 3, 4)], 0)
    write(store, unavailable.save_proofs, "B", Timeframe.M1, [proof(2, 3)], 0)
    write(store, unavailable.save_proofs, "A", Timeframe.M5, [proof(0, 5)], 0)
    found = reopened().read_here(lambda db: unavailable.load_proofs(db, Timeframe.M1, 0))
    assert found == {"A": [proof(1, 3, 4), proof(5, 6)], "B": [proof(2, 3)]}


def test_saving_replaces_only_what_ends_after_the_windows_start(store):
    """Proofs that left the window stay written down."""
    write(store, unavailable.save_proofs, "A", Timeframe.M1, [proof(1, 3), proof(5, 6)], 0)
    write(store, unavailable.save_proofs, "A", Timeframe.M1, [proof(7, 8)], T + 4 * MINUTE)
    whole = store.read_here(lambda db: unavailable.load_proofs(db, Timeframe.M1, 0))
    assert whole == {"A": [proof(1, 3), proof(7, 8)]}
    late = store.read_here(lambda db: unavailable.load_proofs(db, Timeframe.M1, T + 3 * MINUTE))
    assert late == {"A": [proof(7, 8)]}
    write(store, unavailable.save_proofs, "A", Timeframe.M1, [proof(1, 3)], T + 4 * MINUTE)
    assert store.read_here(lambda db: unavailable.load_proofs(db, Timeframe.M1, 0)) == {
        "A": [proof(1, 3)]
    }


def test_proofs_that_left_the_window_cost_a_start_nothing(store, steps):
    """However many they became in years."""
    since = T + 1_000 * MINUTE
    write(store, unavailable.save_proofs, "A", Timeframe.M1, [proof(999, 1_001)], since)
    few = steps(lambda db: unavailable.load_proofs(db, Timeframe.M1, since))
    write(
        store,
        unavailable.save_proofs,
        "B",
        Timeframe.M1,
        [proof(at, at + 1) for at in range(999)],
        0,
    )
    for number in range(9):
        symbol = f"S{number}"
        write(
            store,
            unavailable.save_proofs,
            symbol,
            Timeframe.M1,
            [proof(n, n + 1) for n in range(999)],
            0,
        )
    assert steps(lambda db: unavailable.load_proofs(db, Timeframe.M1, since)) < few + 10


def test_instruments_are_replaced_as_a_whole(store, reopened):
    """An empty list changes nothing; a repeated symbol counts once; never read is 0."""
    assert store.read_here(instruments.load_instruments) == ({}, 0)
    first = [Instrument("A", 5, "live"), Instrument("B", None, "suspend")]
    write(store, instruments.save_instruments, first, T)
    write(store, instruments.save_instruments, [], T + 1)
    assert reopened().read_here(instruments.load_instruments) == (
        {one.symbol: one for one in first},
        T,
    )
    second = [Instrument("C", 7, "live"), Instrument("C", 8, "live")]
    write(store, instruments.save_instruments, second, T + 2)
    assert store.read_here(instruments.load_instruments) == ({"C": second[1]}, T + 2)


def test_a_heartbeat_is_one_row_a_service(store, rows):
    """The newest counts."""
    assert store.read_here(lambda db: heartbeats.last_heartbeat(db, "agent")) is None
    write(store, heartbeats.record_heartbeat, "agent", 1, 2, "pid 1")
    write(store, heartbeats.record_heartbeat, "agent", 1, 3, "pid 1")
    assert store.read_here(lambda db: heartbeats.last_heartbeat(db, "agent")) == 3
    found = rows("SELECT service, started, beat, note, lease FROM service_heartbeats")
    assert found == [("agent", 1, 3, "pid 1", 0)]
