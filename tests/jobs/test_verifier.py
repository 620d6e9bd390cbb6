"""Laws of verifying: two answers make a mismatch, and only a repair changes what is stored."""

from dataclasses import replace

import pytest
import trio

from blofin_agent.coverage.reconciler import FULL_COMPARE_INTERVAL_S
from blofin_agent.domain.bar_set import BarSet
from blofin_agent.domain.candle import HOUR, MINUTE, Candle, CandleBatch, Source, Timeframe
from blofin_agent.domain.errors import RateLimited, RequestRejected, ServerError, Unreachable
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.domain.unavailability import UnavailableRange
from blofin_agent.domain.verification import stored_ranges
from blofin_agent.jobs.verify.report import SymbolVerification, VerifyProgress
from blofin_agent.jobs.verify.verifier import SymbolWork, Verifier
from blofin_agent.store.errors import StoreUnavailable
from blofin_agent.store.tables import candles
from blofin_agent.store.tables.verifications import Verification, VerificationOutcome

WEEK = 7 * 24 * 60
FIGURES = (2.5, 3.0, 1.0, 2.0, 10.0, 0.5, 20.0)
"""Those of every row that the exchange in memory gives."""


@pytest.fixture
def shelf(house, end):
    """Return a function that stores candles of BTC-USDT as the exchange in memory gives them."""

    def fill(*, hours=1, but=(), changed=None, more=(), **how):
        place = house(hours=hours, **how)
        changed = changed or {}
        times = [end - n * MINUTE for n in range(1, hours * 60 + 1)]
        held = [
            Candle(time, *changed.get(time, FIGURES)) for time in [*times, *more] if time not in but
        ]
        with place.store.engine.begin() as connection:
            candles.insert(connection, Timeframe.M1, [CandleBatch("BTC-USDT", Source.LIVE, held)])
        place.tracker.histories["BTC-USDT"].held = BarSet.of(
            Timeframe.M1, {*times, *more} - set(but)
        )
        return place

    return fill


async def verify(place, *, repair=False, targets=None, sample=None, tell=None):
    history, window = place.tracker.histories["BTC-USDT"], place.tracker.window()
    told = Verification("BTC-USDT", "1m", place.wall(), *window, sample=sample)
    work = SymbolWork(history, window.end, SymbolVerification(told), tell or VerifyProgress())
    verifier = Verifier(
        place.page_fetcher,
        place.store,
        place.writer,
        place.wall,
        tries=3,
        repair=repair,
    )
    if targets is None:
        targets = stored_ranges(history.held, window, place.page_fetcher.size)
    try:
        await verifier.verify(work, targets)
    finally:
        place.found = work.found
    return work.found


def stored(place):
    return place.rows("SELECT * FROM candles ORDER BY open_time")


@pytest.mark.parametrize(("longest", "requests"), [(1_440, 7), (500, 21), (300, 34)])
async def test_a_week_that_is_equal_costs_the_fewest_pages(shelf, exchange, longest, requests):
    """Of the size that BloFin gives; nothing is asked for twice, nothing is changed."""
    exchange.longest = longest
    place = shelf(hours=168)
    before = stored(place)
    found = await verify(place, repair=True)
    told = found.verification
    assert (told.requests, told.compared, told.status) == (
        requests,
        WEEK,
        VerificationOutcome.EQUAL,
    )
    assert (found.mismatches, found.missing, told.note) == ([], [], "")
    assert stored(place) == before


async def test_a_verification_is_written_down_in_full(shelf, exchange, end):
    """Every column says what happened."""
    place = shelf(but=[end - 9 * MINUTE], changed={end - 5 * MINUTE: (2.5, 3, 1, 2.5, 9, 0.5, 20)})
    exchange.script = [RateLimited("slow down", 7.0)]
    started = place.wall()
    await verify(place, repair=True)
    names = (
        'started, finished, symbol, bar, start, "end", sample, seed, requests, rate_limited, '
        "rows_fetched, compared, different, absent, missing, unanswered, repaired, added, status, "
        "note"
    )
    (row,) = place.rows(f"SELECT {names} FROM verifications")
    assert row == (
        *(started, place.wall(), "BTC-USDT", "1m", end - HOUR, end, None, None),
        *(3, 1, 61 + 16, 59, 1, 0, 1, 0, 1, 1, "repaired", "1 candle differed (close 1, volume 1)"),
    )


@pytest.mark.parametrize("field", range(7))
async def test_each_field_is_compared(shelf, end, field):
    """A double that differs in its last bit is another one. It is asked for twice and told."""
    figures = list(FIGURES)
    figures[field] *= 1 + 2**-52
    place = shelf(changed={end - 30 * MINUTE: tuple(figures)})
    before = stored(place)
    found = await verify(place)
    (one,) = found.mismatches
    names = ("open", "high", "low", "close", "volume", "volume_base", "volume_quote")
    assert one.difference.fields == (names[field],)
    assert (one.difference.open_time, one.repaired) == (end - 30 * MINUTE, False)
    told = found.verification
    assert (told.requests, told.compared, told.different) == (2, 60, 1)
    assert told.status is VerificationOutcome.DIFFERENT
    assert stored(place) == before


async def test_a_repair_makes_the_store_as_blofin_has_it(shelf, end):
    """What is replaced is kept; what is missing is stored; it says so."""
    bad, gone = end - 30 * MINUTE, end - 20 * MINUTE
    place = shelf(changed={bad: (9.0,) * 7}, but=[gone])
    place.tracker.histories["BTC-USDT"].proofs = [
        UnavailableRange(TimeRange(gone, gone + MINUTE), end, 1, end + HOUR)
    ]
    await place.writer.save_proofs("BTC-USDT")
    found = await verify(place, repair=True)
    assert [one.repaired for one in found.mismatches] == [True]
    assert found.missing == [gone]
    assert {row[3:10] for row in stored(place)} == {FIGURES}
    assert len(stored(place)) == 60
    assert place.rows("SELECT * FROM candles WHERE source = 'historical_fill' ORDER BY 3") == [
        ("BTC-USDT", "1m", bad, *FIGURES, "historical_fill"),
        ("BTC-USDT", "1m", gone, *FIGURES, "historical_fill"),
    ]
    assert place.rows("SELECT * FROM replaced_candles") == [
        (1, "BTC-USDT", "1m", bad, *[9.0] * 7, "blofin_ws", place.wall())
    ]
    assert place.rows("SELECT * FROM unavailable") == []
    assert found.verification.status is VerificationOutcome.REPAIRED
    again = await verify(place)
    assert (again.verification.status, again.verification.compared) == (
        VerificationOutcome.EQUAL,
        60,
    )


def garbled_price(rows):
    return [[*row[:4], "2.25", *row[5:]] for row in rows]


def garbled_row(rows):
    return [[*row[:1], "-1", *row[2:]] if n == 20 else row for n, row in enumerate(rows)]


def unreadable_row(rows):
    return [["what"] if n == 20 else row for n, row in enumerate(rows)]


def lost_rows(rows):
    return rows[:10] + rows[20:]


def open_row(rows):
    return [[*row[:8], "0"] if n == 20 else row for n, row in enumerate(rows)]


@pytest.mark.parametrize(
    "garble", [garbled_price, garbled_row, unreadable_row, lost_rows, open_row]
)
async def test_one_garbled_answer_is_no_mismatch_and_no_repair(shelf, exchange, garble):
    """It is asked for again, and the second answer agrees with the store."""
    place = shelf()
    before = stored(place)
    exchange.script = [garble]
    found = await verify(place, repair=True)
    assert found.mismatches == []
    told = found.verification
    assert (told.requests, told.compared, told.status) == (2, 60, VerificationOutcome.EQUAL)
    assert stored(place) == before
    assert place.rows("SELECT * FROM replaced_candles") == []


async def test_answers_that_disagree_are_believed_by_nobody(shelf, exchange, end):
    """Each gives another price: it is partial, and nothing is replaced."""
    place = shelf(changed={end - 30 * MINUTE: (9.0,) * 7})
    before = stored(place)
    prices = ["2.0", "2.1", "2.2", "2.3"]
    exchange.script = [
        lambda rows, price=price: [[*row[:4], price, *row[5:]] for row in rows] for price in prices
    ]
    found = await verify(place, repair=True)
    told = found.verification
    # The first spoke of all, and the others of what it made doubtful.
    assert (told.requests, told.unanswered, told.status) == (4, 1, VerificationOutcome.PARTIAL)
    assert told.note == (
        "1 not compared: BloFin's answers did not hold them, were garbled or disagreed"
    )
    assert stored(place) == before


@pytest.mark.parametrize("back", [1, 2, 10, 30, 59, 60])
async def test_what_blofin_does_not_have_is_told_and_kept(shelf, exchange, end, back):
    """Wherever it lies: what is asked for again has rows on both sides."""
    place = shelf(hours=2)
    history = place.tracker.histories["BTC-USDT"]
    exchange.holes["BTC-USDT"] = {end - back * MINUTE}
    targets = [TimeRange(end - HOUR, end)]
    before = stored(place)
    place.wall.ahead_ms = 5 * MINUTE
    history.held = history.held.since(end - HOUR)
    found = await verify(place, repair=True, targets=targets)
    (one,) = found.mismatches
    assert (one.difference.open_time, one.difference.given) == (end - back * MINUTE, None)
    told = found.verification
    assert (told.compared, told.absent, told.status) == (59, 1, VerificationOutcome.DIFFERENT)
    assert told.note == "1 stored that BloFin does not have (kept)"
    assert stored(place) == before


async def test_what_blofin_lacks_at_the_very_edge_is_not_answered(shelf, exchange, end):
    """Nothing is newer, so nothing is proven; and before the listing there are no rows."""
    place = shelf()
    exchange.holes["BTC-USDT"] = {end - MINUTE}
    exchange.listed["BTC-USDT"] = end - 58 * MINUTE
    found = await verify(place, repair=True)
    told = found.verification
    assert (told.compared, told.absent, told.unanswered) == (57, 0, 3)
    assert told.status is VerificationOutcome.PARTIAL
    assert found.mismatches == []


async def test_an_empty_page_answers_nothing(shelf, exchange):
    """It may be that BloFin keeps no candles so old."""
    exchange.listed["BTC-USDT"] = exchange.wall() + HOUR
    place = shelf()
    told = (await verify(place)).verification
    assert (told.requests, told.compared, told.unanswered) == (2, 0, 60)
    assert told.status is VerificationOutcome.PARTIAL


async def test_a_missing_candle_is_counted_apart_even_between_two_pages(shelf, exchange, end):
    """Without --repair it is told, and that is all: a backfill fetches it."""
    exchange.longest = place_size = 20
    gone = [end - n * MINUTE for n in (20, 21, 40)]
    place = shelf(but=gone, limit=place_size)
    found = await verify(place)
    told = found.verification
    assert sorted(found.missing) == sorted(gone)
    assert (told.compared, told.missing, told.added, told.status) == (
        57,
        3,
        0,
        VerificationOutcome.EQUAL,
    )
    assert len(stored(place)) == 57


async def test_a_sample_is_one_page_of_each_stretch(shelf, exchange, end):
    """However short BloFin's pages turn out to be: the number of requests was asked for.

    The first of them began with a row above its stretch, as there seemed to be room.
    """
    exchange.longest = 100
    place = shelf(hours=168)
    targets = [TimeRange(end - n * HOUR - 10 * HOUR, end - n * HOUR) for n in (150, 100, 50)]
    told = (await verify(place, targets=targets, sample=3)).verification
    assert (told.requests, told.compared, told.status) == (3, 299, VerificationOutcome.EQUAL)


async def test_stretches_that_touch_are_a_page_each_too(shelf, exchange, end):
    """Where little is stored and BloFin's pages are short."""
    exchange.longest = 50
    place = shelf(hours=9)
    targets = [TimeRange(end - n * HOUR - 3 * HOUR, end - n * HOUR) for n in (6, 3, 0)]
    told = (await verify(place, targets=targets, sample=3)).verification
    assert (told.requests, told.compared, told.status) == (3, 150, VerificationOutcome.EQUAL)


async def test_stretches_that_one_page_holds_cost_one(shelf, exchange, end):
    """A sample costs no more requests than it needs."""
    place = shelf(hours=9)
    targets = [TimeRange(end - n * HOUR - 3 * HOUR, end - n * HOUR) for n in (6, 3, 0)]
    told = (await verify(place, targets=targets, sample=3)).verification
    assert (told.requests, told.compared, told.status) == (1, 9 * 60, VerificationOutcome.EQUAL)


async def test_when_blofin_is_away_it_fails_and_says_so(shelf, exchange):
    """The next symbol need not be tried; what was compared before is told."""
    place = shelf(hours=48)
    exchange.script = [None, *[Unreachable("cannot reach BloFin")] * 3]
    found = await verify(place)
    told = found.verification
    assert (told.status, told.note, told.compared) == (
        VerificationOutcome.FAILED,
        "cannot reach BloFin",
        1_440,
    )
    assert found.away
    assert place.rows("SELECT status FROM verifications") == [("failed",)]


async def test_a_fault_that_passes_costs_nothing(shelf, exchange):
    """It is asked for again, as in a backfill."""
    exchange.script = [ServerError("oops"), ServerError("oops")]
    told = (await verify(shelf())).verification
    assert (told.status, told.requests) == (VerificationOutcome.EQUAL, 3)


async def test_a_symbol_that_blofin_does_not_know_fails_alone(shelf, exchange):
    """The others are not concerned."""
    exchange.script = [RequestRejected("152014", "Instrument does not exist")]
    found = await verify(shelf())
    assert found.verification.note == "BTC-USDT is not a BloFin instrument"
    assert not found.away


async def test_what_is_cancelled_writes_down_what_it_did(shelf, exchange, end):
    """A repair before a signal is not forgotten."""
    gone = end - 20 * MINUTE
    place = shelf(hours=48, but=[gone])
    fetched = []

    def stop(_symbol, _page, _answer):
        fetched.append(trio.current_time())
        if len(fetched) == 2:
            scope.cancel()

    with trio.CancelScope() as scope:
        await verify(place, repair=True, tell=VerifyProgress(fetched=stop))
    assert scope.cancelled_caught
    assert place.rows("SELECT status, note, added, compared FROM verifications") == [
        ("failed", "stopped before its end", 1, 1_439)
    ]


@pytest.mark.sqlite
async def test_a_locked_database_is_waited_for(locker, shelf, end, nursery):
    """For a while: the page's work is done once it is free."""
    place = shelf(changed={end - 30 * MINUTE: (9.0,) * 7})

    answers = []

    def lock(_symbol, _page, answer):
        answers.append(answer)
        # The second answer leads to the repair.
        if len(answers) == 2:
            locker.execute("BEGIN IMMEDIATE")
            nursery.start_soon(unlock)

    async def unlock():
        await trio.sleep(10)
        locker.execute("ROLLBACK")

    found = await verify(place, repair=True, tell=VerifyProgress(fetched=lock))
    assert place.figure("blofin_store_errors_total", operation="insert") > 1
    assert found.verification.status is VerificationOutcome.REPAIRED


@pytest.mark.sqlite
@pytest.mark.timing(command_s=5)
async def test_a_database_that_stays_locked_ends_it(locker, shelf, end):
    """With what any command says then; nothing is replaced."""
    place = shelf(changed={end - 30 * MINUTE: (9.0,) * 7})
    answers = []

    def lock(_symbol, _page, answer):
        answers.append(answer)
        if len(answers) == 2:
            locker.execute("BEGIN IMMEDIATE")

    with pytest.raises(StoreUnavailable, match="another program keeps it locked"):
        await verify(place, repair=True, tell=VerifyProgress(fetched=lock))
    locker.execute("ROLLBACK")
    assert place.rows("SELECT * FROM replaced_candles") == []


async def test_every_request_is_in_the_ledger(shelf, exchange, end):
    """So the limits hold over all processes, whatever asks."""
    place = shelf(hours=168, changed={end - n * HOUR: (9.0,) * 7 for n in range(1, 160, 3)})
    found = await verify(place, repair=True)
    assert place.rows("SELECT count(*) FROM request_ledger") == [(len(exchange.log),)]
    assert found.verification.requests == len(exchange.log) <= 14
    assert found.verification.repaired == len(range(1, 160, 3))


async def test_figures_appear_once_the_agent_looks(shelf, end):
    """The agent beside it reads the sums at its next reconciling."""
    place = shelf(changed={end - 30 * MINUTE: (9.0,) * 7})
    assert place.figure("blofin_verify_repaired_total", symbol="BTC-USDT") is None
    await verify(place, repair=True)
    await place.reconciler.once()
    get = place.figure
    assert get("blofin_verify_candles_total", symbol="BTC-USDT", result="equal") == 59
    assert get("blofin_verify_candles_total", symbol="BTC-USDT", result="different") == 1
    assert get("blofin_verify_repaired_total", symbol="BTC-USDT") == 1
    assert get("blofin_verify_last_timestamp_seconds", symbol="BTC-USDT") == place.wall() / 1000
    told = place.found.verification
    place.other(
        'INSERT INTO verifications SELECT id + 1, started, finished, symbol, bar, start, "end", '
        "sample, seed, requests, rate_limited, rows_fetched, compared, different, absent, missing, "
        "unanswered, repaired, added, status, note FROM verifications"
    )
    # A server does not tell whether somebody else wrote: it is looked into now and then.
    await trio.sleep(FULL_COMPARE_INTERVAL_S)
    await place.reconciler.once()
    assert get("blofin_verify_repaired_total", symbol="BTC-USDT") == 2
    assert replace(told).repaired == 1
