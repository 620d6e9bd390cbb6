"""Laws of what verifications leave in the store."""

import math
import threading

import pytest

from blofin_agent.domain.candle import MINUTE, CandleBatch, Source, Timeframe
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.domain.verification import CandleDifference
from blofin_agent.store.tables import candles, verifications
from blofin_agent.store.tables.verifications import (
    Verification,
    VerificationOutcome,
    VerificationTotals,
)


def write(store, work):
    with store.engine.begin() as connection:
        return work(connection)


def put(store, *found, symbol="A", bar=Timeframe.M1, source=Source.LIVE):
    write(store, lambda db: candles.insert(db, bar, [CandleBatch(symbol, source, found)]))


def repair(store, differences, missing=(), now_ms=7):
    return write(
        store, lambda db: verifications.repair(db, "A", Timeframe.M1, differences, missing, now_ms)
    )


def test_a_verification_comes_back_column_by_column(store, rows):
    """With a public word for its status, and its own number."""
    one = Verification(
        "A", "1m", 1, 3, 4, 5, 6, 2, *range(7, 17), VerificationOutcome.PARTIAL, "why"
    )
    write(store, lambda db: verifications.record(db, one))
    write(store, lambda db: verifications.record(db, Verification("B", "5m", 1, 2, 3)))
    assert rows("SELECT * FROM verifications ORDER BY id") == [
        (1, 1, 2, "A", "1m", 3, 4, 5, 6, *range(7, 17), "partial", "why"),
        (2, 1, 0, "B", "5m", 2, 3, None, None, *[0] * 10, "equal", ""),
    ]


def test_the_totals_are_sums_by_symbol_and_what_the_last_left_that_did_not_fail(store, rows):
    """Of one bar; what a failed one compared counts all the same."""
    told = [
        Verification("A", "1m", 0, 0, 0, finished=50, compared=10, different=2, repaired=1),
        Verification(
            "A",
            "1m",
            0,
            0,
            0,
            finished=60,
            compared=5,
            different=3,
            repaired=1,
            absent=1,
            missing=3,
        ),
        Verification("A", "1m", 0, 0, 0, finished=70, compared=4, unanswered=2),
        Verification("B", "1m", 0, 0, 0, finished=80),
        Verification("A", "5m", 0, 0, 0, finished=90, compared=1),
    ]
    told[2].status = told[3].status = VerificationOutcome.FAILED
    for one in told:
        write(store, lambda db, one=one: verifications.record(db, one))
    assert write(store, lambda db: verifications.totals(db, Timeframe.M1)) == {
        "A": VerificationTotals(14, 5, 1, 3, 2, 2, 60, 3),
        "B": VerificationTotals(),
    }


def test_stored_gives_the_candles_of_the_span(store, rows, candle, end):
    """Oldest first; its end is not in it, nor what is of another symbol or bar."""
    times = [end + n * MINUTE for n in (3, 1, 2, 0)]
    put(store, *[candle(time) for time in times])
    put(store, candle(end), symbol="B")
    put(store, candle(end), bar=Timeframe.M5)
    span = TimeRange(end + MINUTE, end + 3 * MINUTE)
    found = write(store, lambda db: verifications.stored(db, "A", Timeframe.M1, span))
    assert found == [candle(end + MINUTE), candle(end + 2 * MINUTE)]


def test_a_repair_replaces_what_differs_and_keeps_what_was_there(store, rows, candle, end):
    """The source becomes that of a fill; the old row stands whole in replaced_candles."""
    old, other = candle(end), candle(end + MINUTE)
    put(store, old, other)
    new = old._replace(close=2.5, volume=11.0)
    put(store, old, symbol="B")
    put(store, old, bar=Timeframe.M5)
    done = repair(store, [CandleDifference(old, new)])
    assert (done.replaced, done.added) == ({end}, 0)
    assert rows("SELECT * FROM candles WHERE symbol = 'A' AND bar = '1m'") == [
        ("A", "1m", *new, "historical_fill"),
        ("A", "1m", *other, "blofin_ws"),
    ]
    assert rows("SELECT * FROM replaced_candles") == [(1, "A", "1m", *old, "blofin_ws", 7)]
    untouched = "SELECT * FROM candles WHERE symbol = 'B' OR bar = '5m' ORDER BY symbol"
    assert rows(untouched) == [
        ("A", "5m", *old, "blofin_ws"),
        ("B", "1m", *old, "blofin_ws"),
    ]


def test_what_has_changed_since_it_was_compared_is_left_alone(store, rows, candle, end):
    """Another repair was there first, say."""
    old = candle(end)
    put(store, old._replace(close=1.5))
    assert repair(store, [CandleDifference(old, old._replace(close=2.5))]).replaced == set()
    assert rows("SELECT close, source FROM candles") == [(1.5, "blofin_ws")]
    assert rows("SELECT * FROM replaced_candles") == []


@pytest.mark.postgresql
def test_what_somebody_changes_meanwhile_is_waited_for(store, rows, reopened, candle, end):
    """And then left alone: nothing is written down that was not replaced."""
    old, done = candle(end), []
    put(store, old)
    differences = [CandleDifference(old, old._replace(close=2.5))]
    thread = threading.Thread(target=lambda: done.append(repair(reopened(), differences)))
    with store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE candles SET close = 1.5")
        thread.start()
        thread.join(0.3)
    thread.join()
    assert [one.replaced for one in done] == [set()]
    assert rows("SELECT close FROM candles") == [(1.5,)]
    assert rows("SELECT * FROM replaced_candles") == []


def test_what_blofin_does_not_have_is_never_deleted(store, rows, candle, end):
    """It may have lost it."""
    put(store, candle(end))
    assert repair(store, [CandleDifference(candle(end), None)]).replaced == set()
    assert len(rows("SELECT * FROM candles")) == 1


def test_what_is_missing_is_stored_as_a_fill_does_it(store, rows, candle, end):
    """Only where nothing stands."""
    put(store, candle(end))
    missing = [candle(end)._replace(close=9.0), candle(end + MINUTE)]
    assert repair(store, [], missing).added == 1
    assert rows("SELECT open_time, close, source FROM candles ORDER BY open_time") == [
        (end, 2.0, "blofin_ws"),
        (end + MINUTE, 2.0, "historical_fill"),
    ]


def test_a_row_that_somebody_wrote_by_hand_can_be_repaired(store, rows, other, candle, end):
    """Even where a price is no number at all, or endless."""
    none, endless = ("'x'", "9e999") if store.file_monitor else ("'NaN'", "'Infinity'")
    put(store, candle(end), candle(end + MINUTE))
    other(f"UPDATE candles SET open = {none} WHERE open_time = {end}")
    other(f"UPDATE candles SET high = {endless} WHERE open_time > {end}")
    span = TimeRange(end, end + 2 * MINUTE)
    found = write(store, lambda db: verifications.stored(db, "A", Timeframe.M1, span))
    done = repair(store, [CandleDifference(one, candle(one.open_time)) for one in found])
    assert done.replaced == {end, end + MINUTE}
    assert write(store, lambda db: verifications.stored(db, "A", Timeframe.M1, span)) == [
        candle(end),
        candle(end + MINUTE),
    ]
    (one, _), (_, high) = rows("SELECT open, high FROM replaced_candles ORDER BY id")
    assert one == "x" if store.file_monitor else math.isnan(one)
    assert high == math.inf
