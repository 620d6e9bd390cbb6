"""Laws of the pager: one page until it comes, and what it teaches."""

import pytest

from blofin_agent.domain.backfill_run import BackfillRun, RunTrigger
from blofin_agent.domain.candle import MINUTE
from blofin_agent.domain.errors import Banned, InvalidResponse, RateLimited, RequestTimedOut
from blofin_agent.domain.page_plan import PageRequest


async def fetch(place, page, tries=3):
    history = place.tracker.histories["BTC-USDT"]
    run = BackfillRun("BTC-USDT", "1m", RunTrigger.START, place.wall())
    window = place.tracker.window()
    return run, *await place.page_fetcher.fetch(history, page, page.after, window, run, tries)


async def test_a_page_comes_with_what_was_really_asked(house, end):
    """The limit of the settings caps it."""
    place = house(limit=200)
    run, page, answer = await fetch(place, PageRequest(end, 500))
    assert (page.limit, answer.rows, run.rows_fetched, run.requests) == (200, 200, 200, 1)


async def test_a_page_of_the_known_length_is_asked_for_in_full(house, exchange, end):
    """They may have grown, and the answer shows it."""
    exchange.longest = 300
    place = house()
    await fetch(place, PageRequest(end, 1_440))
    await fetch(place, PageRequest(end - 300 * MINUTE, 1_440))
    assert place.page_fetcher.size == 300
    exchange.longest = 1_440
    await fetch(place, PageRequest(end, 300))
    assert exchange.limits() == [1_440] * 3
    assert place.page_fetcher.size == 1_440


async def test_a_short_page_is_a_short_one_only_once_older_rows_are_known(house, exchange, end):
    """Until an older page came, it may be the end of the symbol's history."""
    exchange.longest = 300
    place = house()
    await fetch(place, PageRequest(end, 1_440))
    assert place.page_fetcher.size == 1_440
    await fetch(place, PageRequest(end - 300 * MINUTE, 1_440))
    assert place.page_fetcher.size == 300
    place.page_fetcher.forget_size()
    assert place.page_fetcher.size == 1_440


async def test_a_short_page_teaches_nothing_when_nothing_older_is_wanted(house, exchange, end):
    """A new listing has few rows; pages are no shorter for it."""
    exchange.listed["BTC-USDT"] = end - 50 * MINUTE
    place = house()
    place.tracker.histories["BTC-USDT"].list_time = end - 50 * MINUTE
    await fetch(place, PageRequest(end, 1_440))
    assert place.page_fetcher.size == 1_440


async def test_a_spoilt_page_teaches_nothing(house, exchange, end):
    """Rows that were lost on the way do not make BloFin's pages shorter."""
    exchange.script = [lambda rows: [*rows[:10], "junk"]]
    place = house()
    await fetch(place, PageRequest(end, 1_440))
    assert place.page_fetcher.size == 1_440


async def test_an_endless_series_of_429s_ends(house, exchange, end):
    """After `tries` of them the error is the caller's; each was waited out by the throttle."""
    exchange.script = [RateLimited("slow down", 2.0)] * 5
    place = house()
    with pytest.raises(RateLimited):
        await fetch(place, PageRequest(end, 10))
    assert len(exchange.log) == 3
    assert place.figure("blofin_backfill_rate_limited_total", symbol="BTC-USDT") == 3


async def test_a_ban_is_not_counted_as_rate_limited(house, exchange, end):
    """403 is something else than 429."""
    exchange.script = [Banned("firewall", 2.0)]
    place = house()
    run, _, _ = await fetch(place, PageRequest(end, 10))
    assert (run.requests, run.rate_limited) == (2, 0)


@pytest.mark.parametrize("error", [RequestTimedOut("no answer"), InvalidResponse("garbage")])
async def test_failures_of_the_way_are_tried_again(house, exchange, end, error):
    """`tries` counts them; the last one is raised as it is."""
    exchange.script = [error, error]
    place = house()
    run, _, answer = await fetch(place, PageRequest(end, 10))
    assert (run.requests, answer.rows) == (3, 10)
    exchange.script = [error] * 3
    with pytest.raises(type(error)):
        await fetch(place, PageRequest(end, 10))


async def test_a_flood_of_bad_rows_is_one_line(house, exchange, end, events):
    """All are counted by reason, one is shown a minute."""
    exchange.script = [lambda rows: [*rows, "junk", "trash"]] * 3
    place = house()
    for _ in range(3):
        await fetch(place, PageRequest(end, 10))
    assert place.figure("blofin_rows_rejected_total", feed="rest", reason="shape") == 6
    (told,) = events("warning")
    assert told.pop("example") == '"junk"'
    assert told == {
        "event": "rows rejected",
        "symbol": "BTC-USDT",
        "feed": "rest",
        "reason": "shape",
        "count": 2,
    }


async def test_the_open_candle_is_left_out_without_a_word(house, exchange, end, events):
    """`confirm` "0" is no fault."""
    place = house()
    _, _, answer = await fetch(place, PageRequest(end + 2 * MINUTE, 3))
    assert [row.reason for row in answer.bad] == ["open"]
    assert len(answer.candles) == 2
    assert events("warning") == []
    assert place.figure("blofin_rows_rejected_total", feed="rest", reason="open") == 1


def strange(*bars):
    """Return what makes these rows of a page, the newest being 0, those of a dearer symbol."""

    def change(rows):
        for bar in bars:
            rows[bar] = [rows[bar][0], "250", "300", "100", "200", *rows[bar][5:]]
        return rows

    return change


async def test_a_page_in_which_the_price_leaps_is_asked_for_twice(house, exchange, end):
    """The second answer counts when it has no leap..."""
    place = house()
    exchange.script = [strange(3, 4)]
    run, _, answer = await fetch(place, PageRequest(end, 10))
    assert run.requests == 2
    assert {one.close for one in answer.candles} == {2.0}
    assert answer.clean
    assert place.figure("blofin_rows_rejected_total", feed="rest", reason="doubtful") == 2


async def test_a_leap_that_both_answers_show_is_believed(house, exchange, end):
    """...or says the same: then it was a real one."""
    place = house()
    exchange.script = [strange(3, 4), strange(3, 4)]
    run, _, answer = await fetch(place, PageRequest(end, 10))
    assert run.requests == 2
    assert [one.close for one in answer.candles].count(200.0) == 2
    assert answer.clean
    assert place.figure("blofin_rows_rejected_total", feed="rest", reason="doubtful") == 0


async def test_of_two_answers_that_leap_elsewhere_only_the_common_rows_are_taken(
    house, exchange, end
):
    place = house()
    exchange.script = [strange(3), strange(5)]
    _, _, answer = await fetch(place, PageRequest(end, 10))
    assert len(answer.candles) == 8
    assert {one.close for one in answer.candles} == {2.0}
    assert not answer.clean


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda _rows: [], "empty"),
        (lambda rows: rows[::-1], "unordered"),
        (lambda rows: rows[3:], "starts_late"),
        (lambda rows: rows, None),
    ],
)
async def test_an_odd_page_is_counted_by_what_is_odd(house, exchange, end, change, kind):
    place = house()
    exchange.script = [change]
    await fetch(place, PageRequest(end, 10))
    kinds = ("empty", "unordered", "starts_late")
    counted = [place.figure("blofin_oddities_total", feed="rest", kind=one) for one in kinds]
    assert counted == [float(one == kind) for one in kinds]
