"""Laws of filling from pages that are not what they seem: empty, stray, short, refused."""

import random

from blofin_agent.domain.backfill_run import RunStatus, RunTrigger
from blofin_agent.domain.bar_set import BarSet
from blofin_agent.domain.candle import DAY, MINUTE, Timeframe
from blofin_agent.domain.errors import RequestRejected
from blofin_agent.domain.time_range import TimeRange


async def fill(place, symbol="BTC-USDT"):
    history = place.tracker.histories[symbol]
    return await place.gap_filler.fill(history, place.tracker.window(), RunTrigger.START)


async def test_an_empty_page_is_an_answer_only_when_it_comes_twice(house, exchange):
    """Once may be a fault; what is empty twice waits for the next pass."""
    place = house(hours=1)
    exchange.script = [lambda _rows: []]
    run = await fill(place)
    assert (run.requests, run.status) == (2, RunStatus.COMPLETE)


async def test_two_empty_pages_end_the_run(house, exchange):
    """And its note says so."""
    place = house(hours=1)
    exchange.script = [lambda _rows: []] * 2
    run = await fill(place)
    assert (run.requests, run.status) == (2, RunStatus.PARTIAL)
    assert "empty page" in run.note


async def test_a_page_of_one_stray_row_is_asked_for_again(house, exchange, wire, end):
    """A row of a year ago says nothing of the window."""
    place = house(hours=1)
    exchange.script = [lambda _rows: [wire(end - 365 * DAY)]]
    run = await fill(place)
    assert (run.requests, run.status) == (2, RunStatus.COMPLETE)


async def test_an_odd_refusal_does_not_shorten_the_pages(house, exchange):
    """Only what may mean the page size makes pages smaller, and only once that has helped."""
    place = house(watched=["BTC-USDT", "ETH-USDT"])
    exchange.script = [RequestRejected("152008", "odd")] * 2
    run = await fill(place)
    assert (run.requests, run.status) == (2, RunStatus.FAILED)
    exchange.script = [RequestRejected("152002", "odd")] * 4
    run = await fill(place)
    assert (run.requests, run.status) == (3, RunStatus.FAILED)
    exchange.script = []
    assert (await fill(place, "ETH-USDT")).requests == 7


async def test_one_odd_refusal_is_asked_about_again(house, exchange):
    """A proxy's 404 or 400, once, costs one request more and nothing else."""
    for code in ("404", "400", "152008"):
        exchange.script = [RequestRejected(code, "odd")]
        place = house()
        run = await fill(place)
        assert (run.requests, run.status, place.page_fetcher.limit) == (
            8,
            RunStatus.COMPLETE,
            1_440,
        )


async def test_a_bad_request_said_twice_may_mean_the_page_size(house, exchange):
    """Then less is asked for, and kept once it has helped."""
    place = house(hours=5)
    exchange.script = [RequestRejected("400", "odd")] * 2
    run = await fill(place)
    assert (run.requests, run.status, place.page_fetcher.limit) == (3, RunStatus.COMPLETE, 300)


async def test_a_short_history_does_not_shorten_the_pages_of_others(house, exchange, end):
    """One symbol has 45 rows and no listing time; the other's week is 7 pages all the same."""
    place = house(watched=["AAA-USDT", "BTC-USDT"])
    exchange.listed["AAA-USDT"] = end - 45 * MINUTE
    await fill(place, "AAA-USDT")
    assert place.page_fetcher.size == 1_440
    assert (await fill(place)).requests == 7


async def test_a_hole_longer_than_a_page_is_proven_by_two_pages(house, exchange, end):
    """The first shows it, the second says the same: then it is not asked for again."""
    exchange.longest = 100
    place = house(hours=24)
    lost = TimeRange(end - 900 * MINUTE, end - 650 * MINUTE)
    exchange.holes["BTC-USDT"] = set(range(lost.start, lost.end, MINUTE))
    history = place.tracker.histories["BTC-USDT"]
    for _ in range(3):
        await fill(place)
    assert history.unavailable(place.tracker.window()) == [lost]
    assert (await fill(place)).requests == 0


async def test_a_row_spoilt_by_chance_comes_in_the_same_run(house, exchange):
    """Each page has three rows in another one's place; the week is whole all the same."""
    chance = random.Random(7)

    def spoil(rows):
        for _ in range(3):
            rows[chance.randrange(len(rows))] = rows[chance.randrange(len(rows))]
        return rows

    for _ in range(8):
        place = house(hours=24)
        place.tracker.histories["BTC-USDT"].held = BarSet(Timeframe.M1)
        exchange.script = [spoil] * 200
        assert (await fill(place)).status is RunStatus.COMPLETE
