"""Laws of healing: fresh holes are filled soon, together, and on half of the budget."""

import itertools
from collections import Counter

import pytest
import trio

from blofin_agent.backfill.recent_gap_filler import RECENT_WINDOW_MS
from blofin_agent.domain.backfill_run import RunTrigger
from blofin_agent.domain.candle import MINUTE
from blofin_agent.domain.errors import InvalidResponse, Unreachable
from blofin_agent.domain.rate_limit import LIMITS
from blofin_agent.domain.time_range import TimeRange

RUNS = "SELECT status, requests, rows_inserted FROM gap_fill_runs WHERE trigger = 'heal'"


def whole(place, hold, *, but=()):
    for history in place.tracker.all():
        hold(history, place.tracker.window(), but=but)


async def heal(place, seconds):
    with trio.move_on_after(seconds):
        await place.healer().run()


async def test_a_fresh_hole_is_filled_within_seconds(house, exchange, hold, end):
    """One request of a few rows; the run is written down as `heal`."""
    place = house()
    whole(place, hold, but=[end - 10 * MINUTE])
    await heal(place, 8)
    assert place.rows(RUNS) == [("complete", 1, 1)]
    assert max(exchange.limits()) <= 12


async def test_no_hole_no_request(house, exchange, hold):
    """A whole symbol costs nothing."""
    place = house()
    whole(place, hold)
    await heal(place, 40)
    assert exchange.log == []


async def test_old_holes_are_the_passes_work(house, exchange, hold, end):
    """A hole of more than an hour ago is left alone."""
    place = house()
    whole(place, hold, but=[end - RECENT_WINDOW_MS - MINUTE])
    await heal(place, 20)
    assert exchange.log == []


async def test_holes_of_one_bad_minute_are_fetched_together(house, exchange, hold, end):
    """Neighbouring holes are one page, not one each."""
    place = house()
    whole(place, hold, but=[end - n * MINUTE for n in (3, 5, 8, 20, 40)])
    await heal(place, 8)
    assert place.rows(RUNS) == [("complete", 1, 5)]


async def test_a_symbol_is_healed_at_most_once_a_minute(house, exchange, hold):
    """With no push ever complete, each minute is fetched, about once a minute."""
    place = house()
    whole(place, hold)
    await heal(place, 20 * 60)
    times = [at for at, _, _ in exchange.log]
    assert all(later - earlier >= 37_500 for earlier, later in itertools.pairwise(times))
    assert len(times) <= 22
    window = place.tracker.window()
    assert place.tracker.histories["BTC-USDT"].count(window).missing <= 2


@pytest.mark.parametrize("share", [1, 0.5])
@pytest.mark.slow("200 symbols in virtual time")
async def test_healing_never_takes_more_than_half_of_the_budget(house, exchange, hold, end, share):
    """200 symbols with holes all the time: below half of each limit in force, in every window.

    With half of the limits 100 are as many.
    """
    names = [f"S{number}-USDT" for number in range(round(200 * share))]
    place = house(watched=names)
    place.other(f"UPDATE suspension SET share = {share}, share_since = {place.wall()}")
    await place.shared_budget.refresh()
    whole(place, hold, but=[end - 5 * MINUTE])
    await heal(place, 310)
    times = [at for at, _, _ in exchange.log]
    for limit in LIMITS:
        most = max(sum(at - limit.seconds * 1000 < other <= at for other in times) for at in times)
        assert most <= limit.requests * share / 2 + 1
    assert len(times) >= len(names)
    first = Counter(name for _, name, _ in exchange.log[: len(names)])
    assert set(first.values()) == {1}


@pytest.mark.slow("200 symbols in virtual time")
async def test_a_pass_does_not_fall_into_step_with_healing(house, exchange, hold, end):
    """200 symbols with an old hole and a fresh one: the pass keeps its own pace, and asks once."""
    place = house(watched=[f"S{number}-USDT" for number in range(200)])
    whole(place, hold, but=[end - 600 * MINUTE])
    healer = place.healer()
    place.gap_filler.queued |= set(place.tracker.histories)
    await trio.sleep(60)
    begun = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(healer.run)
        await place.passes.once(place.tracker.window(), RunTrigger.START)
        assert trio.current_time() - begun < 10
        nursery.cancel_scope.cancel()
    assert len(exchange.log) < 230


async def test_while_a_pass_is_to_come_only_what_is_newer_than_it_is_healed(
    house, exchange, hold, end
):
    """A queued symbol's old gaps are left to the pass; the minutes since are not."""
    place = house()
    place.gap_filler.queued.add("BTC-USDT")
    healer = place.healer()
    place.exchange.log.clear()
    with trio.move_on_after(3 * 60):
        await healer.run()
    asked = place.exchange.requests()
    assert asked
    held = place.tracker.histories["BTC-USDT"].held
    assert held.count(TimeRange(end - RECENT_WINDOW_MS, end - 2 * MINUTE)) == 0
    assert held.has(end)


async def test_a_hole_that_rest_does_not_give_is_tried_less_and_less_often(
    house, exchange, hold, end
):
    """From about a minute up to ten; new holes of the symbol would not wait for it."""
    place = house()
    ahead = TimeRange(place.tracker.window().start, end + 2 * RECENT_WINDOW_MS)
    hold(place.tracker.histories["BTC-USDT"], ahead, but=[end - 5 * MINUTE])
    exchange.script = [InvalidResponse("garbage")] * 100
    await heal(place, 50 * 60)
    times = [at for at, _, _ in exchange.log]
    waits = [(later - earlier) / 1000 for earlier, later in itertools.pairwise(times)]
    assert 37.5 <= waits[0] <= 60
    assert max(waits) >= 300
    assert len(times) <= 14


async def test_a_symbol_that_is_back_is_healed_at_once(house, exchange, hold, end):
    """It stopped for half an hour; with its first live candle the hole is asked for again."""
    place = house()
    whole(place, hold)
    history = place.tracker.histories["BTC-USDT"]
    exchange.holes["BTC-USDT"] = set(range(end, end + 90 * MINUTE, MINUTE))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(place.healer().run)
        await trio.sleep(30 * 60 + 20)
        exchange.holes.clear()
        newest = place.tracker.bar.floor(place.wall()) - MINUTE
        history.hold(newest + minute * MINUTE for minute in range(10))
        assert history.count(place.tracker.window()).missing >= 28
        await trio.sleep(60)
        assert history.count(place.tracker.window()).missing == 0
        nursery.cancel_scope.cancel()


@pytest.mark.slow("200 symbols in virtual time")
async def test_while_blofin_is_away_one_symbol_at_a_time_knocks(house, exchange, hold, end):
    """100 symbols with holes are not 100 requests a minute; once it is back, all are healed."""
    names = [f"S{number}-USDT" for number in range(100)]
    place = house(watched=names)
    whole(place, hold, but=[end - 5 * MINUTE])
    exchange.script = [Unreachable("no route")] * 30
    await heal(place, 299)
    times = [at for at, _, _ in exchange.log[:30]]
    assert all(later - earlier >= 10_000 for earlier, later in itertools.pairwise(times))
    await heal(place, 300)
    assert all(history.held.has(end - 5 * MINUTE) for history in place.tracker.all())


async def test_after_success_the_patience_is_the_first_again(house, exchange, hold):
    """An outage of an hour leaves no lasting slowness."""
    place = house()
    whole(place, hold)
    exchange.script = [Unreachable("no route")] * 6
    await heal(place, 90 * 60)
    times = [at for at, _, _ in exchange.log]
    assert times[-1] - times[-2] <= 62_000


async def test_a_symbol_under_way_in_a_pass_is_left_alone(house, exchange, hold, end):
    """Healing takes another symbol meanwhile."""
    place = house(watched=("BTC-USDT", "ETH-USDT"))
    whole(place, hold, but=[end - 5 * MINUTE])
    place.gap_filler._busy["BTC-USDT"] = trio.Lock()
    async with place.gap_filler._busy["BTC-USDT"]:
        await heal(place, 10)
    assert {name for _, name, _ in exchange.log} == {"ETH-USDT"}


async def test_proven_holes_are_not_asked_for_before_their_check(house, exchange, hold, end):
    """What BloFin was seen not to have costs one request, not one a minute."""
    hole = end - 5 * MINUTE
    exchange.holes["BTC-USDT"] = {hole}
    place = house()
    whole(place, hold, but=[hole])
    await heal(place, 40)
    assert len(exchange.log) == 1
    assert place.rows("SELECT start FROM unavailable") == [(hole,)]
