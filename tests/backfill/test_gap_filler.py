"""Laws of filling: gaps -> plan -> pages -> writer -> gap_fill_runs."""

import random

import pytest
import trio

from blofin_agent.backfill.gap_filler import ProgressCallbacks
from blofin_agent.domain.backfill_run import RunStatus, RunTrigger
from blofin_agent.domain.candle import HOUR, MINUTE
from blofin_agent.domain.errors import RateLimited, ServerError, Unreachable
from blofin_agent.domain.time_range import TimeRange

WEEK = 7 * 24 * 60


async def fill(place, symbol="BTC-USDT", **how):
    history = place.tracker.histories[symbol]
    return await place.gap_filler.fill(history, place.tracker.window(), RunTrigger.START, **how)


@pytest.mark.parametrize(
    ("longest", "learning", "fewest"),
    [(1_440, 7, 7), (500, 21, 21), (300, 34, 34), (100, 101, 101)],
)
async def test_a_week_costs_the_fewest_pages_at_the_size_blofin_gives(
    house, exchange, longest, learning, fewest
):
    """10,080 minutes are 7 pages of 1440 and 34 of 300, silently shortened pages included."""
    exchange.longest = longest
    place = house()
    run = await fill(place)
    assert (run.requests, run.rows_inserted, run.missing_after) == (learning, WEEK, 0)
    assert place.gap_filler.pages([place.tracker.window()], place.tracker.window().end) == fewest
    assert run.status is RunStatus.COMPLETE
    assert run.note == ""


async def test_a_complete_store_costs_no_request(house, exchange, hold):
    """Nothing missing, nothing asked; the run is written down all the same."""
    place = house()
    hold(place.tracker.histories["BTC-USDT"], place.tracker.window())
    run = await fill(place)
    assert (run.requests, run.gaps_found, run.first_gap, run.last_gap) == (0, 0, None, None)
    assert exchange.log == []
    assert place.rows("SELECT status, requests FROM gap_fill_runs") == [("complete", 0)]


async def test_a_run_is_written_down_in_full(house, exchange, hold, end):
    """Every column of gap_fill_runs says what happened."""
    place = house(hours=1)
    gap = [end - 50 * MINUTE, end - 20 * MINUTE, end - 19 * MINUTE]
    hold(place.tracker.histories["BTC-USDT"], place.tracker.window(), but=gap)
    exchange.script = [RateLimited("slow down", 7.0)]
    started = place.wall()
    run = await fill(place)
    columns = (
        "started, finished, symbol, bar, trigger, missing_before, missing_after, gaps_found,"
        "requests, rate_limited, rows_fetched, rows_inserted, first_gap, last_gap,"
        "coverage_before, coverage_after, status, note"
    )
    assert place.rows(f"SELECT {columns} FROM gap_fill_runs") == [
        (
            started,
            started + 8_000,
            "BTC-USDT",
            "1m",
            "start",
            3,
            0,
            2,
            2,
            1,
            exchange.limits()[-1],
            3,
            gap[0],
            gap[-1],
            57 / 60,
            1.0,
            "complete",
            "rate limited 1 time",
        )
    ]
    assert run.finished == started + 8_000


@pytest.mark.parametrize(("above", "asked"), [(1_000, 300), (299, 100)])
async def test_a_refused_page_size_falls_back_to_300_then_100(
    house, exchange, events, above, asked
):
    """The smaller size is kept from then on, and the run is complete."""
    exchange.refuse_above = above
    place = house(hours=24)
    run = await fill(place)
    assert run.status is RunStatus.COMPLETE
    assert set(exchange.limits()[2:]) <= set(range(1, asked + 1))
    assert place.page_fetcher.limit == asked
    assert events("warning") == [
        {
            "event": "page size rejected by BloFin",
            "page_rows": asked,
            "action": "request no longer pages from now on",
        }
    ]


async def test_a_refusal_of_the_least_page_fails_the_run(house, exchange):
    """Below 100 rows nothing smaller is tried."""
    exchange.refuse_above = 50
    place = house(hours=10)
    run = await fill(place)
    assert (run.status, run.requests) == (RunStatus.FAILED, 3)
    assert run.note == "BloFin refused the request: Parameter limit error (152002)"


async def test_an_unknown_instrument_fails_at_once_and_is_named(house, exchange):
    """152014 is final: no other page size is tried."""
    place = house()
    del exchange.listed["BTC-USDT"]
    run = await fill(place)
    assert (run.status, run.requests) == (RunStatus.FAILED, 1)
    assert run.note == "BTC-USDT is not a BloFin instrument"
    assert place.rows("SELECT status, note FROM gap_fill_runs") == [("failed", run.note)]


async def test_spoilt_rows_are_asked_for_again_in_the_same_run(house, exchange, events):
    """A bad row costs no good one, and a second page brings the sound row."""
    place = house(hours=1)
    exchange.script = [lambda rows: [[*rows[0][:1], "nonsense", *rows[0][2:]], *rows[1:]]]
    run = await fill(place)
    assert (run.requests, run.rows_inserted, run.status) == (2, 60, RunStatus.COMPLETE)
    assert place.figure("blofin_rows_rejected_total", feed="rest", reason="shape") == 1
    told = events("warning")[0]
    assert (told["event"], told["feed"], told["reason"]) == ("rows rejected", "rest", "shape")
    assert (told["symbol"], told["count"]) == ("BTC-USDT", 1)
    assert "nonsense" in told["example"]


async def test_rows_that_stay_spoilt_end_the_run_as_partial(house, exchange):
    """After three rounds the run ends; the row proves nothing and is asked for next time."""
    place = house(hours=1)
    exchange.script = [lambda rows: [[rows[0][0], "-1", *rows[0][2:]], *rows[1:]]] * 9
    run = await fill(place)
    assert (run.requests, run.rows_inserted, run.status) == (3, 59, RunStatus.PARTIAL)
    assert run.note.startswith("1 not given (")
    assert place.rows("SELECT * FROM unavailable") == []
    history = place.tracker.histories["BTC-USDT"]
    assert len(history.gaps(place.tracker.window(), place.wall())) == 1


async def test_a_hole_inside_a_page_is_proven_stored_and_left_alone_for_an_hour(
    house, exchange, end
):
    """Rows on both sides prove it; it is asked for again when its check is due, not before."""
    hole = end - 30 * MINUTE
    exchange.holes["BTC-USDT"] = {hole}
    place = house(hours=2)
    run = await fill(place)
    assert (run.requests, run.status) == (1, RunStatus.PARTIAL)
    assert run.note.startswith("1 unavailable: BloFin has no such candles (")
    stored = "SELECT symbol, bar, start, end, checks, next_check - proven_at FROM unavailable"
    assert place.rows(stored) == [("BTC-USDT", "1m", hole, hole + MINUTE, 1, HOUR)]
    history = place.tracker.histories["BTC-USDT"]
    window = place.tracker.window()
    assert history.count(window).unavailable == 1
    await fill(place)
    assert len(exchange.log) == 1
    place.wall.ahead_ms = HOUR
    await fill(place)
    assert place.rows("SELECT checks, next_check - proven_at FROM unavailable") == [(2, 7 * HOUR)]


async def test_a_late_row_erases_its_proof(house, exchange, end):
    """What BloFin has after all is stored and no longer called unavailable."""
    exchange.holes["BTC-USDT"] = {end - 30 * MINUTE}
    place = house(hours=2)
    await fill(place)
    exchange.holes.clear()
    place.wall.ahead_ms = HOUR
    run = await fill(place)
    assert run.missing_after == 0
    assert place.rows("SELECT * FROM unavailable") == []
    assert list(place.tracker.histories["BTC-USDT"].proofs) == []


async def test_the_edges_of_pages_prove_nothing(house, exchange, end):
    """Missing bars at the window's new end, with no row above them, are not proven."""
    exchange.holes["BTC-USDT"] = {end - MINUTE}
    place = house(hours=1)
    exchange.script = [lambda rows: [row for row in rows if int(row[0]) < end - MINUTE]]
    run = await fill(place)
    assert run.status is RunStatus.PARTIAL
    assert "which proves nothing yet: asked for again" in run.note
    assert place.rows("SELECT * FROM unavailable") == []


async def test_a_symbol_that_stopped_is_said_to_have_no_newer_candles(house, exchange, end, hold):
    """Not to be too old for BloFin: whoever reads that would shorten the lookback for nothing."""
    place = house(hours=1)
    history = place.tracker.histories["BTC-USDT"]
    stopped = {end - minute * MINUTE for minute in range(1, 31)}
    hold(history, place.tracker.window(), but=stopped)
    exchange.script = [lambda _rows: []] * 2
    run = await fill(place)
    assert (run.status, run.missing_after) == (RunStatus.PARTIAL, 30)
    assert run.note.startswith("30 not given")
    assert "BloFin has no newer candles so far" in run.note
    assert "empty page" not in run.note


async def test_empty_pages_prove_nothing(house, exchange):
    """Twice empty where rows must exist: the run ends as partial, with nothing proven."""
    place = house(hours=1)
    place.tracker.histories["BTC-USDT"].list_time = 1
    exchange.script = [lambda _rows: []] * 2
    run = await fill(place)
    assert (run.requests, run.status) == (2, RunStatus.PARTIAL)
    assert "BloFin sent an empty page: it may not keep candles so old" in run.note
    assert place.rows("SELECT * FROM unavailable") == []


async def test_the_listing_time_bounds_what_is_expected_and_asked_for(house, exchange, end):
    """A symbol that is 100 minutes old expects 100 candles and costs one short page."""
    place = house(watched=())
    listed = end - 100 * MINUTE
    exchange.listed["NEW-USDT"] = listed
    history = place.add("NEW-USDT", list_time=listed)
    run = await fill(place, "NEW-USDT")
    assert (run.missing_before, run.missing_after, run.requests) == (100, 0, 1)
    assert exchange.limits()[0] <= 102
    assert history.count(place.tracker.window()).expected == 100


async def test_failures_are_tried_again_and_limited_by_tries(house, exchange, wall):
    """Each further try waits longer; after `tries` the run has failed with the reason."""
    place = house(hours=1, tries=3)
    exchange.script = [Unreachable("no route"), ServerError("HTTP 500"), Unreachable("no route")]
    run = await fill(place)
    assert (run.requests, run.status, run.note) == (3, RunStatus.FAILED, "no route")
    first, second, third = (at for at, _, _ in exchange.log)
    assert 750 <= second - first <= 1_000
    assert 1_500 <= third - second <= 2_000
    exchange.script = [Unreachable("no route")] * 2
    assert (await fill(place)).status is RunStatus.COMPLETE


async def test_tries_can_be_given_for_one_run(house, exchange):
    """Healing asks once and leaves the rest to a later turn."""
    place = house(hours=1, tries=8)
    exchange.script = [ServerError("HTTP 502")] * 8
    run = await fill(place, tries=1)
    assert (run.requests, run.status) == (1, RunStatus.FAILED)


async def test_what_came_before_a_failure_is_kept_and_counted(house, exchange):
    """A run that fails on its second page has stored the first."""
    place = house(hours=48, tries=1)
    exchange.script = [None, ServerError("HTTP 500")]
    run = await fill(place)
    assert (run.status, run.rows_inserted, run.missing_after) == (RunStatus.FAILED, 1_440, 1_440)
    assert place.rows("SELECT count(*) FROM candles") == [(1_440,)]


async def test_pages_are_learned_longer_again(house, exchange):
    """When BloFin's pages grow back, the next runs use that."""
    exchange.longest = 300
    place = house(hours=24)
    await fill(place)
    assert place.page_fetcher.size == 300
    exchange.longest = 1_440
    place.other("DELETE FROM candles")
    history = place.tracker.histories["BTC-USDT"]
    history.held = history.held.since(place.wall())
    run = await fill(place)
    assert run.requests == 1
    assert place.page_fetcher.size > 1_400


async def test_stored_candles_are_the_wires_own(house, exchange, end):
    """All eight columns and the source reach the table unchanged."""
    place = house(hours=1)
    await fill(place)
    row = place.rows("SELECT * FROM candles ORDER BY open_time DESC LIMIT 1")
    assert row == [
        ("BTC-USDT", "1m", end - MINUTE, 2.5, 3.0, 1.0, 2.0, 10.0, 0.5, 20.0, "historical_fill")
    ]


async def test_progress_is_told_in_order(house, exchange):
    """Planned with the number of pages, fetched for each page, finished with the run."""
    told: list[object] = []
    progress = ProgressCallbacks(
        planned=lambda _run, pages: told.append(pages),
        fetched=lambda _run, page, answer: told.append((page.limit, answer.rows)),
        finished=lambda run: told.append(run.status),
    )
    exchange.longest = 700
    place = house(hours=24)
    await fill(place, progress=progress)
    assert told[0] == 1
    assert told[1] == (1_440, 700)
    assert told[-1] is RunStatus.COMPLETE


async def test_runs_of_one_symbol_come_one_after_another(house, exchange, nursery):
    """A second run for the symbol waits, then finds nothing to do."""
    place = house(hours=24)
    exchange.script = [RateLimited("slow down", 5.0)]
    assert not place.gap_filler.busy("BTC-USDT")
    runs = []

    async def one():
        runs.append(await fill(place))

    async with trio.open_nursery() as both:
        both.start_soon(one)
        both.start_soon(one)
        await trio.sleep(1)
        assert place.gap_filler.busy("BTC-USDT")
    assert [run.requests for run in runs] == [2, 0]


async def test_a_skipped_symbol_is_written_down(house, exchange):
    """Skipping costs no request and leaves a row that says why."""
    place = house(hours=1)
    history = place.tracker.histories["BTC-USDT"]
    told = []
    progress = ProgressCallbacks(finished=told.append)
    run = await place.gap_filler.skip(
        history, place.tracker.window(), RunTrigger.PERIODIC, "because", progress
    )
    assert told == [run]
    assert exchange.log == []
    assert place.rows(
        "SELECT status, note, missing_before, missing_after, trigger FROM gap_fill_runs"
    ) == [("skipped", "because", 60, 60, "periodic")]


async def test_live_candles_that_came_meanwhile_are_not_inserted_twice(
    house, exchange, candle, end
):
    """The page's row of a bar that is held is left out; a stored one is never overwritten."""
    place = house(hours=1)
    place.writer.try_enqueue("BTC-USDT", candle(end - MINUTE))
    await trio.sleep(1)
    run = await fill(place)
    assert run.rows_inserted == 59
    assert place.rows("SELECT source, count(*) FROM candles GROUP BY source ORDER BY 1") == [
        ("blofin_ws", 1),
        ("historical_fill", 59),
    ]


async def test_a_window_that_starts_at_the_listing_proves_nothing_below_it(house, exchange, end):
    """Nothing is missing before a symbol was listed."""
    place = house(watched=())
    history = place.add("NEW-USDT", list_time=end - 30_000)
    window = place.tracker.window()
    assert history.expected(window) == TimeRange(end, end)
    assert (await fill(place, "NEW-USDT")).requests == 0


async def test_a_run_that_cannot_be_written_down_is_still_done(locker, house, hold):
    """While the database is away nothing is raised; the trouble is told."""
    place = house(hours=1)
    hold(place.tracker.histories["BTC-USDT"], place.tracker.window())
    locker.execute("BEGIN EXCLUSIVE")
    run = await fill(place)
    assert run.status is RunStatus.COMPLETE
    assert place.metrics.database_outage
    assert place.figure("blofin_store_errors_total", operation="run") == 1
    locker.execute("ROLLBACK")


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens_the_store_ends_with_all_that_exists(
    house, exchange, hold, end, seed
):
    """Any holes, page sizes, gaps and faults: each row once, nothing made up, proofs only of holes.

    Memory holds exactly what the database does, and what is called unavailable does not exist.
    """
    chance = random.Random(seed)
    times = range(end - 24 * HOUR, end, MINUTE)
    missing = set(chance.sample(times, chance.choice((0, 3, 60))))
    hole = chance.choice(times)
    missing |= set(range(hole, hole + chance.choice((1, 40)) * MINUTE, MINUTE))
    exchange.holes["BTC-USDT"] = missing
    exchange.longest = chance.choice((70, 300, 1_440))
    faults = [
        None,
        Unreachable("no route"),
        ServerError("HTTP 502"),
        RateLimited("slow down", 3.0),
        lambda _rows: [],
        lambda rows: [*rows[: len(rows) // 2], ["junk"]],
        lambda rows: [[row[0], "nan", *row[2:]] if chance.random() < 0.1 else row for row in rows],
        lambda rows: rows[::-1],
        lambda rows: rows + rows[:3],
    ]
    exchange.script = [chance.choice(faults) for _ in range(25)]
    place = house(hours=24, tries=4)
    history = place.tracker.histories["BTC-USDT"]
    window = place.tracker.window()
    for _ in range(40):
        await place.gap_filler.fill(history, window, RunTrigger.PERIODIC)
    stored = [time for (time,) in place.rows("SELECT open_time FROM candles ORDER BY 1")]
    assert stored == [time for time in times if time not in missing]
    assert history.held.count(window) == len(stored)
    proven = place.rows('SELECT start, "end" FROM unavailable')
    assert {at for one in proven for at in range(*one, MINUTE)} <= missing
    exists = set(times) - missing
    assert history.count(window).missing == len(times) - len(exists)
