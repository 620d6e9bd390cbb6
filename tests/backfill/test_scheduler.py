"""Laws of passes: every symbol in turn, the worst first, again and again."""

import itertools

import pytest
import trio

from blofin_agent.backfill.gap_filler import ProgressCallbacks
from blofin_agent.backfill.scheduler import RETRY_DELAY_S
from blofin_agent.domain.backfill_run import RunStatus, RunTrigger
from blofin_agent.domain.candle import DAY, HOUR, MINUTE
from blofin_agent.domain.errors import RateLimited, Unreachable
from blofin_agent.domain.rate_limit import Suspension
from blofin_agent.store.errors import StoreUnavailable

RUNS = "SELECT symbol, trigger, status, requests FROM gap_fill_runs ORDER BY id"


def order(place):
    """Return the symbols in the order in which they were asked for, each once."""
    return list(dict.fromkeys(name for _, name, _ in place.exchange.log))


async def test_the_worst_symbol_comes_first(house, hold, end):
    """By coverage, ties by name; complete ones are gone over last, at no cost."""
    place = house(hours=10, watched=("D-USDT", "C-USDT", "B-USDT", "A-USDT"))
    window = place.tracker.window()
    for symbol, missing in (("A-USDT", 1), ("B-USDT", 50), ("D-USDT", 0)):
        gone = [end - (5 + n) * MINUTE for n in range(missing)]
        hold(place.tracker.histories[symbol], window, but=gone)
    done = await place.passes.once(window, RunTrigger.PERIODIC)
    assert order(place) == ["C-USDT", "B-USDT", "A-USDT"]
    assert [(run.symbol, run.requests) for run in done.runs] == [
        ("C-USDT", 1),
        ("B-USDT", 1),
        ("A-USDT", 1),
        ("D-USDT", 0),
    ]
    assert done.unsettled == []


@pytest.mark.parametrize("top_up", [True, False])
async def test_symbols_above_the_bar_are_topped_up_unless_that_is_off(house, hold, end, top_up):
    """BACKFILL_TOP_UP=false skips those at 99.5 % and more, and says so; whole ones are whole."""
    place = house(watched=("A-USDT", "B-USDT", "C-USDT"), top_up=top_up)
    window = place.tracker.window()
    hold(place.tracker.histories["A-USDT"], window, but=[end - 9 * MINUTE])
    hold(place.tracker.histories["B-USDT"], window, but=range(end - 100 * MINUTE, end, MINUTE))
    hold(place.tracker.histories["C-USDT"], window)
    await place.passes.once(window, RunTrigger.START)
    assert place.rows(RUNS) == [
        ("B-USDT", "start", "complete", 1),
        ("A-USDT", "start", *(("complete", 1) if top_up else ("skipped", 0))),
        ("C-USDT", "start", "complete", 0),
    ]
    if not top_up:
        assert place.rows("SELECT note FROM gap_fill_runs WHERE status = 'skipped'") == [
            ("coverage is 99.9 %, and BACKFILL_TOP_UP is off",)
        ]


async def test_between_two_symbols_there_is_a_pause_after_one_that_asked(house):
    """500 ms, and none where nothing was asked."""
    place = house(hours=1, watched=("A-USDT", "B-USDT", "C-USDT"), symbol_sleep_s=0.5)
    begun = place.wall()
    await place.passes.once(place.tracker.window(), RunTrigger.START)
    assert [at - begun for at, _, _ in place.exchange.log] == [0, 500, 1_000]
    begun = place.wall()
    await place.passes.once(place.tracker.window(), RunTrigger.PERIODIC)
    assert place.wall() == begun


async def test_a_pass_tells_its_figures(house, exchange, events):
    """Requests, 429s, duration and success are on /metrics, and one line in the log."""
    place = house(hours=24, watched=("A-USDT", "B-USDT"))
    exchange.script = [RateLimited("slow down", 30.0)]
    await place.passes.once(place.tracker.window(), RunTrigger.START)
    now = place.wall() / 1000
    last = "blofin_backfill_last_pass_"
    assert place.figure(last + "requests", symbol="A-USDT") == 2
    assert place.figure(last + "rate_limited", symbol="A-USDT") == 1
    assert place.figure(last + "requests", symbol="B-USDT") == 1
    assert place.figure("blofin_backfill_rate_limited_total", symbol="A-USDT") == 1
    assert place.figure(last + "timestamp_seconds") == now
    assert place.figure("blofin_backfill_last_success_timestamp_seconds") == now
    assert place.figure("blofin_backfill_pass_duration_seconds") == 31
    assert events("info")[-1] == {
        "event": "backfill pass finished",
        "symbols": 2,
        "failed": 0,
        "requests": 3,
        "stored": 2_880,
        "missing": 0,
        "duration_s": 31.0,
    }
    assert {
        "event": "backfill run finished",
        "symbol": "A-USDT",
        "stored": 1_440,
        "requests": 2,
        "coverage": 1.0,
        "missing": 0,
        "note": "rate limited 1 time",
    } in events("info")


async def test_a_pass_with_a_failure_is_no_success(house, exchange, events):
    """The last success stays where it was, and the symbol is named."""
    place = house(hours=1, watched=("A-USDT", "B-USDT"), tries=1)
    exchange.script = [Unreachable("no route")]
    done = await place.passes.once(place.tracker.window(), RunTrigger.START)
    assert done.unsettled == ["A-USDT"]
    assert place.figure("blofin_backfill_last_success_timestamp_seconds") == 0
    assert place.figure("blofin_backfill_last_pass_timestamp_seconds") > 0
    assert {
        "event": "backfill run failed",
        "symbol": "A-USDT",
        "error": "no route",
        "stored": 0,
        "requests": 1,
        "coverage": 0.0,
        "action": "retry in about a minute",
    } in events("warning")
    assert (events("info")[-1]["event"], events("info")[-1]["failed"]) == (
        "backfill pass finished",
        1,
    )


async def test_a_pass_that_is_broken_off_is_told_and_is_no_success(house, exchange, events):
    """What it did until then counts; it is not said to be done."""
    place = house(hours=1, watched=("A-USDT", "B-USDT"))
    exchange.script = [None, RateLimited("slow down", 3_600.0)]
    with trio.move_on_after(600):
        await place.passes.once(place.tracker.window(), RunTrigger.PERIODIC)
    last = "blofin_backfill_last_pass_"
    assert place.figure(last + "requests", symbol="A-USDT") == 1
    assert place.figure(last + "timestamp_seconds") == place.wall() / 1000
    assert place.figure("blofin_backfill_pass_duration_seconds") == 600
    assert place.figure("blofin_backfill_last_success_timestamp_seconds") == 0
    assert "backfill pass finished" not in [one["event"] for one in events("info")]


async def test_passes_go_on_from_start_to_start(house):
    """The first at once as `start`, the next ones every interval as `periodic`."""
    place = house(hours=1)
    with trio.move_on_after(3 * 1_800 + 1):
        await place.passes.run(1_800)
    assert place.rows("SELECT trigger, (started - 1789999995000) / 1000 FROM gap_fill_runs") == [
        ("start", 0),
        ("periodic", 1_800),
        ("periodic", 3_600),
        ("periodic", 5_400),
    ]


async def test_after_a_pass_that_was_too_long_the_next_begins_at_once(house, exchange):
    """A pass of an hour at an interval of half an hour is followed by the next one."""
    place = house(hours=1)
    exchange.script = [RateLimited("slow down", 3_600.0)]
    with trio.move_on_after(3_700):
        await place.passes.run(1_800)
    started = place.rows("SELECT (started - 1789999995000) / 1000 FROM gap_fill_runs")
    assert started == [(0,), (3_601,)]


@pytest.mark.slow("a week of 32 symbols, row by row")
async def test_a_cold_start_of_32_symbols_takes_224_pages_at_the_spacing(house, exchange):
    """A week of minutes each, 250 ms from start to start: 56 s, and no limit in the way."""
    names = [f"S{number}-USDT" for number in range(32)]
    place = house(hours=168, watched=names, spacing_ms=250)
    done = await place.passes.once(place.tracker.window(), RunTrigger.START)
    times = [at for at, _, _ in exchange.log]
    assert len(times) == 32 * 7
    assert {later - earlier for earlier, later in itertools.pairwise(times)} == {250}
    assert [run.status for run in done.runs] == [RunStatus.COMPLETE] * 32


async def test_the_time_left_is_told_by_the_share_of_the_limits_that_is_ours(house, exchange):
    """At a half a large backfill takes twice as long, and it says so."""
    place = house(hours=168, watched=[f"S{number}-USDT" for number in range(300)])
    before = place.passes.eta()
    place.shared_budget.suspension = Suspension(share=0.5, share_since=place.wall())
    assert place.passes.eta() == pytest.approx(2 * before, rel=0.2)


async def test_the_time_left_is_told_by_how_many_agents_share_the_address(house):
    """Each of them has its own symbols to fill, from one budget."""
    place = house(hours=168, watched=[f"S{number}-USDT" for number in range(300)])
    before = place.passes.eta()
    place.shared_budget.neighbours = lambda: 2
    assert place.passes.eta() == pytest.approx(2 * before, rel=0.2)
    assert place.shared_budget.share() == 1


async def test_symbols_that_failed_are_tried_again_sooner(house, exchange):
    """After a minute, then ever less soon, and only they; the full pass keeps its time."""
    place = house(hours=1, watched=("A-USDT", "B-USDT"), tries=1)
    exchange.script = [Unreachable("no route"), None, *[Unreachable("no route")] * 2]
    with trio.move_on_after(1_800 - 1):
        await place.passes.run(1_800)
    times = [at for at, name, _ in exchange.log if name == "A-USDT"]
    waits = [(later - earlier) / 1000 for earlier, later in itertools.pairwise(times)]
    assert len(waits) == 3
    for number, wait in enumerate(waits):
        assert 0.75 * RETRY_DELAY_S * 2**number <= wait <= RETRY_DELAY_S * 2**number
    assert len(place.exchange.requests("B-USDT")) == 1
    assert place.rows(RUNS)[-1] == ("A-USDT", "periodic", "complete", 1)


async def test_a_new_symbol_wakes_the_next_pass(house, nursery):
    """It does not wait half an hour."""
    place = house(hours=1)
    nursery.start_soon(place.passes.run, 1_800)
    await trio.sleep(100)
    place.add("NEW-USDT")
    place.passes.wake()
    await trio.sleep(1)
    assert place.rows("SELECT count(*) FROM gap_fill_runs WHERE symbol = 'NEW-USDT'") == [(1,)]


async def test_a_symbol_taken_out_during_the_pass_is_left_out(house, exchange):
    """It is not asked for, has no run, and waits in no queue."""
    place = house(hours=1, watched=("A-USDT", "B-USDT"), symbol_sleep_s=5)

    async def take_out():
        await trio.sleep(1)
        assert place.gap_filler.queued == {"B-USDT"}
        del place.tracker.histories["B-USDT"]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take_out)
        done = await place.passes.once(place.tracker.window(), RunTrigger.START)
    assert [run.symbol for run in done.runs] == ["A-USDT"]
    assert place.gap_filler.queued == set()


async def test_a_slow_way_to_blofin_holds_no_request_up_that_the_limits_allow(house, exchange):
    """With some symbols at once 250 ms lie between two starts, though an answer takes 450."""
    names = [f"S{number}-USDT" for number in range(8)]
    place = house(hours=168, watched=names, spacing_ms=250, at_once=4)
    exchange.latency_s = 0.45
    done = await place.passes.once(place.tracker.window(), RunTrigger.START)
    times = [at for at, _, _ in exchange.log]
    assert len(times) == 8 * 7
    # The first page goes alone; the last ones, when fewer symbols are left, are not judged.
    assert {later - earlier for earlier, later in itertools.pairwise(times[1:-8])} == {250}
    assert [run.status for run in done.runs] == [RunStatus.COMPLETE] * 8


async def test_of_several_symbols_at_once_one_finds_out_how_long_pages_are(house, exchange):
    """A length that BloFin refuses is asked for once, not by each of them."""
    names = [f"S{number}-USDT" for number in range(4)]
    place = house(hours=10, watched=names, at_once=4)
    exchange.refuse_above, exchange.latency_s = 300, 0.1
    done = await place.passes.once(place.tracker.window(), RunTrigger.START)
    assert len([limit for limit in exchange.limits() if limit > 300]) == 1
    assert [run.status for run in done.runs] == [RunStatus.COMPLETE] * 4


async def test_a_first_page_in_trouble_does_not_hold_the_others_up(house, exchange):
    """They wait for it for some seconds, not for all of its tries."""
    names = [f"S{number}-USDT" for number in range(4)]
    place = house(hours=10, watched=names, at_once=4, tries=8)
    exchange.fails = {"S0-USDT"}
    await place.passes.once(place.tracker.window(), RunTrigger.START)
    others = [at - exchange.log[0][0] for at, name, _ in exchange.log if name != "S0-USDT"]
    assert len(others) == 3
    assert 4_000 < max(others) < 7_000
    assert len(exchange.requests("S0-USDT")) == 8


async def test_of_several_symbols_at_once_the_worst_come_first(house, hold, exchange, end):
    """They begin in the order in which one alone would go over them."""
    names = [f"S{number}-USDT" for number in range(8)]
    place = house(hours=10, watched=names, at_once=3)
    window = place.tracker.window()
    for number, name in enumerate(names):
        hold(
            place.tracker.histories[name],
            window,
            but=range(end - (number + 1) * MINUTE, end, MINUTE),
        )
    exchange.latency_s = 1
    await place.passes.once(window, RunTrigger.START)
    assert [name for _, name, _ in exchange.log] == names[::-1]


async def test_a_store_that_is_away_for_too_long_ends_a_pass_of_several(house, monkeypatch):
    """All of them end, and the one error is told as it is."""
    place = house(hours=1, watched=("A-USDT", "B-USDT", "C-USDT"), at_once=2)

    async def away(*_args, **_kwargs):
        raise StoreUnavailable("it is away")

    monkeypatch.setattr(place.gap_filler, "fill", away)
    with pytest.raises(StoreUnavailable, match="it is away"):
        await place.passes.once(place.tracker.window(), RunTrigger.ONESHOT)
    assert place.figure("blofin_backfill_last_success_timestamp_seconds") == 0


async def test_only_the_symbols_named_are_gone_over(house):
    """And of those only the watched ones."""
    place = house(hours=1, watched=("A-USDT", "B-USDT"))
    done = await place.passes.once(
        place.tracker.window(), RunTrigger.PERIODIC, ["B-USDT", "X-USDT"]
    )
    assert [run.symbol for run in done.runs] == ["B-USDT"]


async def test_the_eta_is_pages_over_what_the_limits_allow(house, hold, end):
    """0 when whole; 500 symbols of 7 pages are 3,500 requests, more than eleven minutes."""
    place = house(watched=[f"S{number}-USDT" for number in range(500)], spacing_ms=250)
    assert place.passes.eta() == pytest.approx(3_500 / 1_425 * 300, rel=0.2)
    first = place.tracker.all()[0]
    place.tracker.histories = {first.symbol: first}
    hold(first, place.tracker.window())
    assert place.passes.eta() == 0
    hold(first, place.tracker.window(), but=[end - MINUTE, end - 2 * DAY])
    assert place.passes.eta() == 0.25


async def test_the_eta_does_not_count_what_is_proven(house, hold, exchange, end):
    """Unavailable minutes need no page until they are due."""
    exchange.holes["BTC-USDT"] = {end - HOUR}
    place = house(hours=4, spacing_ms=250)
    await place.passes.once(place.tracker.window(), RunTrigger.START)
    assert place.tracker.counts()["BTC-USDT"].missing == 1
    assert (
        place.gap_filler.pages(place.tracker.all()[0].gaps(place.tracker.window(), place.wall()), 0)
        == 0
    )


async def test_a_one_shot_pass_keeps_quiet_and_tells_its_progress(house, events):
    """Its command prints for itself."""
    place = house(hours=1)
    told = []
    done = await place.passes.once(
        place.tracker.window(),
        RunTrigger.ONESHOT,
        progress=lambda history: ProgressCallbacks(
            finished=lambda run: told.append((history, run))
        ),
    )
    assert told == [(place.tracker.all()[0], done.runs[0])]
    assert done.runs[0].status is RunStatus.COMPLETE
    assert events("info") == events("warning") == []
