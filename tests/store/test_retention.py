"""Laws of retention: what is too old goes, a little at a time, and nothing else."""

import pytest

from blofin_agent.domain.backfill_run import BackfillRun, RunTrigger
from blofin_agent.domain.candle import DAY, HOUR, MINUTE, Candle, CandleBatch, Source, Timeframe
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.domain.unavailability import UnavailableRange
from blofin_agent.store.postgresql import partitions
from blofin_agent.store.tables import (
    backfill_runs,
    candles,
    coverage_blocks,
    retention,
    unavailable,
)

NOW = 1_790_000_000_000 // partitions.WEEK * partitions.WEEK + 3 * DAY
"""In the middle of a week of PostgreSQL's partitions."""
VALUES = (2.5, 3.0, 1.0, 2.0, 10.0, 0.5, 20.0)


def write(store, work):
    with store.engine.begin() as connection:
        return work(connection)


def fill(store, symbol, days, *, bar=Timeframe.M1, step=HOUR):
    """Store a candle each `step` of the last days."""
    times = range(NOW - days * DAY, NOW, step)
    rows = CandleBatch(symbol, Source.FILL, [Candle(time, *VALUES) for time in times])
    write(store, lambda db: candles.insert(db, bar, [rows]))


def forget(store, before):
    """Take away all that may go, and return in how many parts."""
    parts = 0
    while write(store, lambda db: retention.delete_candles(db, before)):
        parts += 1
        assert parts < 1_000
    return parts


def oldest(rows, symbol, bar="1m"):
    ((time,),) = rows(
        f"SELECT min(open_time) FROM candles WHERE symbol = '{symbol}' AND bar = '{bar}'"
    )
    return time


def test_what_is_older_goes_and_what_is_younger_stays(store, rows):
    """Of every symbol and bar: whole days on SQLite, whole weeks on PostgreSQL."""
    fill(store, "A", 60)
    fill(store, "B", 5)
    fill(store, "C", 60, bar=Timeframe.H1)
    before = NOW - 30 * DAY
    forget(store, before)
    weekly = store.engine.dialect.name == "postgresql"
    whole = partitions.week_of(before) if weekly else before // DAY * DAY
    assert oldest(rows, "A") == whole
    assert oldest(rows, "B") == NOW - 5 * DAY
    assert oldest(rows, "C", "1H") == whole
    assert forget(store, before) == 0


def test_blocks_tell_the_same_as_the_candles_afterwards(store):
    """Also those that a week's end goes through."""
    fill(store, "A", 40, step=MINUTE)
    fill(store, "A", 40, bar=Timeframe.M5, step=5 * MINUTE)
    forget(store, NOW - 20 * DAY)
    for bar in (Timeframe.M1, Timeframe.M5):
        span = TimeRange(NOW - 41 * DAY, NOW + DAY)
        loaded = write(store, lambda db: coverage_blocks.load(db, bar, span, ["A"]))["A"]  # noqa: B023
        times = write(
            store,
            lambda db: [one.open_time for one in candles.page(db, "A", bar, span, 100_000)],  # noqa: B023
        )
        assert loaded.held.count(span) == len(times) > 0
        assert all(loaded.held.has(time) for time in times)


@pytest.mark.sqlite
def test_little_is_taken_in_one_transaction(store, monkeypatch):
    """So that no candle waits for long."""
    monkeypatch.setattr(retention, "MAX_ROWS", 100)
    fill(store, "A", 40)
    fill(store, "B", 40)
    taken = []
    while part := write(store, lambda db: retention.delete_candles(db, NOW - 20 * DAY)):
        taken.append(part)
    assert max(taken) <= 200
    assert sum(taken) == 2 * 20 * 24


def test_age_counts_from_the_newest_candles_when_the_clock_is_ahead_of_them(store):
    """A clock gone wrong by ten years costs nothing that is stored."""
    assert write(store, lambda db: retention.horizon(db, NOW, 30 * DAY)) is None
    fill(store, "A", 1)
    ten_years = NOW + 3_650 * DAY
    assert write(store, lambda db: retention.horizon(db, ten_years, 30 * DAY)) <= NOW - 28 * DAY
    assert write(store, lambda db: retention.horizon(db, NOW - DAY, 30 * DAY)) == NOW - 31 * DAY


def test_runs_and_proofs_of_then_go_too(store, rows):
    """Those of now stay."""
    for ended in (NOW - 40 * DAY, NOW - 35 * DAY, NOW - DAY):
        run = BackfillRun("A", "1m", RunTrigger.PERIODIC, ended - 1_000, finished=ended)
        write(store, lambda db: backfill_runs.record(db, run))  # noqa: B023
    proofs = [
        UnavailableRange(TimeRange(NOW - 40 * DAY, NOW - 40 * DAY + MINUTE), NOW, 1, NOW),
        UnavailableRange(TimeRange(NOW - DAY, NOW - DAY + MINUTE), NOW, 1, NOW),
    ]
    write(store, lambda db: unavailable.save_proofs(db, "A", Timeframe.M1, proofs, 0))
    before = NOW - 30 * DAY
    assert write(store, lambda db: retention.delete_other_rows(db, before)) == 3
    assert rows("SELECT finished FROM gap_fill_runs") == [(NOW - DAY,)]
    assert rows('SELECT "end" FROM unavailable') == [(NOW - DAY + MINUTE,)]
    assert write(store, lambda db: retention.delete_other_rows(db, before)) == 0
