"""Laws of the throttle: never past BloFin's limits, over every process and every restart."""

import shutil
import sqlite3
from contextlib import closing
from functools import partial

import pytest
import structlog
import trio
from trio.testing import wait_all_tasks_blocked

from blofin_agent.domain.errors import (
    Banned,
    InvalidResponse,
    RateLimited,
    RequestRejected,
    RequestTimedOut,
    ServerError,
    Unreachable,
)
from blofin_agent.domain.rate_limit import CARE_MS, LIMITS, SLACK_MS
from blofin_agent.ratelimit.limiter import MAX_CONCURRENT_REQUESTS, RateLimiter, _Ahead
from blofin_agent.runtime.format import iso_text
from blofin_agent.store.database import open_store


def asking(place, *answers):
    """Return a question that notes when it is asked, and answers from a script."""
    script = list(answers)
    place.asked = []

    async def question():
        place.asked.append(place.wall())
        await trio.lowlevel.checkpoint()
        event = script.pop(0) if script else "fine"
        if isinstance(event, Exception):
            raise event
        return event

    return question


def worst(times, seconds):
    """Return the most that any window of so many seconds holds."""
    return max(sum(at - seconds * 1000 < other <= at for other in times) for at in times)


def busy(place, times):
    """Enter requests of another process in the ledger."""
    with closing(sqlite3.connect(place.store.where)) as connection, connection:
        connection.executemany(
            "INSERT INTO request_ledger (started, endpoint) VALUES (?, 'candles')",
            [(time,) for time in times],
        )


async def test_requests_start_no_closer_than_the_setting_says(house):
    """250 ms between two starts, exactly."""
    place = house(spacing_ms=250)
    question = asking(place)
    for _ in range(4):
        assert await place.rate_limiter.request("candles", question) == "fine"
    assert [at - place.asked[0] for at in place.asked] == [0, 250, 500, 750]


async def crowd(place, question, size):
    """Let so many ask while somebody else has the turn, and wait for their answers."""
    async with trio.open_nursery() as nursery, place.rate_limiter._turn:
        for _ in range(size):
            nursery.start_soon(place.rate_limiter.request, "candles", question)
        await wait_all_tasks_blocked()


def let_go_together(place):
    """Count the transactions in which requests are let go, by how many each entered."""
    entered, let_go = [], place.shared_budget.admit

    async def counted(*args):
        grant = await let_go(*args)
        entered.append(grant.entered)
        return grant

    place.shared_budget.admit = counted
    return entered


async def test_those_who_wait_together_are_let_go_together(house):
    """One transaction of the ledger for all of them, each entered once, where answers are quick."""
    place = house()
    question, entered = asking(place), let_go_together(place)
    await place.rate_limiter.request("candles", question)
    await crowd(place, question, 6)
    assert entered == [1, 6]
    assert len(place.asked) == 7
    assert place.rows("SELECT count(*) FROM request_ledger") == [(7,)]


async def test_where_answers_take_their_time_no_more_are_let_go_than_can_go_now(house):
    """A request that waits for the answer to another one would be entered too early."""
    place, entered = house(), None

    async def question():
        await trio.sleep(0.05)

    entered = let_go_together(place)
    await crowd(place, question, 6)
    assert entered == [2, 2, 2]
    assert place.rows("SELECT count(*) FROM request_ledger") == [(6,)]


async def test_a_spacing_lets_one_go_at_a_time(house):
    """However many wait."""
    place = house(spacing_ms=100)
    question, entered = asking(place), let_go_together(place)
    await crowd(place, question, 3)
    assert [one for one in entered if one] == [1, 1, 1]
    assert [at - place.asked[0] for at in place.asked] == [0, 100, 200]


async def test_what_was_let_go_and_not_sent_is_not_sent_later(house):
    """Its time in the ledger is over: who asks then asks the ledger; the lost one still counts."""
    place = house()
    question, entered = asking(place), let_go_together(place)
    grant = await place.shared_budget.admit(["candles"] * 3, 0)
    place.rate_limiter._ahead = _Ahead(grant, 2, trio.current_time())
    await trio.sleep(0.05)
    await place.rate_limiter.request("candles", question)
    assert entered == [3]
    await trio.sleep(0.1)
    await place.rate_limiter.request("candles", question)
    assert entered == [3, 1]
    assert place.rows("SELECT count(*) FROM request_ledger") == [(4,)]


async def test_a_429_holds_back_those_that_were_let_go_with_the_one_refused(house):
    """What is still in hand is not sent: the suspension began since."""
    place = house()
    question = asking(place, RateLimited("slow down", 30.0))
    async with trio.open_nursery() as nursery:

        async def one():
            try:
                await place.rate_limiter.request("candles", question)
            except RateLimited:
                # Nobody else was sent before the refusal was heard.
                assert len(place.asked) == 1

        async with place.rate_limiter._turn:
            nursery.start_soon(one)
            await wait_all_tasks_blocked()
            grant = await place.shared_budget.admit(["candles"] * 2, 0)
            place.rate_limiter._ahead = _Ahead(grant, grant.entered, trio.current_time())
        await trio.sleep(1)
        nursery.start_soon(one)
    assert [at - place.asked[0] for at in place.asked] == [0, 31_000]


async def test_no_more_than_two_are_under_way_at_once(house):
    """So no more than one further reaches BloFin when a suspension has begun."""
    place = house()
    under_way, most = 0, 0

    async def question():
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await trio.sleep(1)
        under_way -= 1

    async with trio.open_nursery() as nursery:
        for _ in range(7):
            nursery.start_soon(place.rate_limiter.request, "candles", question)
    assert most == MAX_CONCURRENT_REQUESTS == 2


async def test_many_at_once_are_asked_one_after_another_in_order(house):
    """First come, first served, whoever asks."""
    place = house(spacing_ms=100)
    order = []

    async def one(number):
        async def question():
            order.append((number, place.wall()))

        await place.rate_limiter.request("candles", question)

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(one, number)
            await trio.sleep(0.001)
    assert [number for number, _ in order] == [0, 1, 2, 3, 4]
    assert [at - order[0][1] for _, at in order] == [0, 100, 200, 300, 400]


async def test_requests_of_others_on_the_store_count(house):
    """With 475 requests in the last minute the next waits until the first of them is past."""
    place = house()
    first = place.wall() - 40_000
    busy(place, [first + 10 * number for number in range(475)])
    question = asking(place)
    await place.rate_limiter.request("candles", question)
    assert place.asked == [first + 60_000 + SLACK_MS]
    assert place.shared_budget.used() == {"60s": 475, "300s": 476}


async def test_no_window_ever_holds_more_than_its_limit(house):
    """1,200 questions with others at work stay below both limits at every moment."""
    place = house()
    now = place.wall()
    others = [now - 290_000 + 1_000 * number for number in range(280)]
    busy(place, others)
    question = asking(place)
    for _ in range(600):
        await place.rate_limiter.request("candles", question)
    times = others + place.asked
    for limit in LIMITS:
        assert worst(times, limit.seconds) <= limit.requests


async def test_two_throttles_on_one_store_share_one_budget(house, exchange, events):
    """Together they are never past a limit, though each asks as fast as it may."""
    place = house()
    other_store = open_store(f"sqlite:///{place.store.where}")
    place.wall.limiters.append(other_store.limiter)
    other = RateLimiter(
        exchange, other_store, place.metrics, place.wall, place.spacing_ms, place.trouble
    )
    question = asking(place)

    async def many(rate_limiter):
        for _ in range(350):
            await rate_limiter.request("candles", question)

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(many, place.rate_limiter)
            nursery.start_soon(many, other)
    finally:
        other_store.close()
    assert len(place.asked) == 700
    assert worst(place.asked, 60) <= LIMITS[0].requests
    assert place.asked[-1] - place.asked[0] >= 60_000


@pytest.mark.parametrize(
    ("error", "seconds", "kind"),
    [
        (RateLimited("too many"), 300, "rate_limited"),
        (RateLimited("too many", 12.5), 12.5, "rate_limited"),
        (Banned("firewall"), 300, "banned"),
    ],
)
async def test_429_and_403_stop_every_request_until_they_are_over(
    house, events, error, seconds, kind
):
    """The next question waits the suspension out; its answer ends it."""
    place = house()
    question = asking(place, error)
    began = place.wall()
    with pytest.raises(type(error)):
        await place.rate_limiter.request("candles", question)
    over = began + int(seconds * 1000) + CARE_MS
    assert place.shared_budget.suspended_until() == over
    assert place.figure("blofin_api_suspended_until_timestamp_seconds") == over / 1000
    assert events("warning")[0] == {
        "event": "requests paused",
        "error": str(error),
        "until": iso_text(over),
        **({} if error.retry_after is None else {"retry_after_s": error.retry_after}),
        "action": "send one test request then; candles still come over the websocket",
    }
    await place.rate_limiter.request("candles", question)
    assert place.asked == [began, over]
    assert place.shared_budget.suspended_until() == 0
    assert events("info") == [{"event": "suspension ended, requests resumed"}]
    assert place.figure("blofin_api_requests_total", endpoint="candles", outcome=kind) == 1
    assert place.figure("blofin_api_requests_total", endpoint="candles", outcome="ok") == 1


async def test_after_a_suspension_one_probe_goes_alone(house):
    """Others wait for its answer; when that is another 429, none of them goes."""
    place = house()
    gate = trio.Event()
    asked = []

    async def slow():
        asked.append(place.wall())
        await gate.wait()

    with pytest.raises(RateLimited):
        await place.rate_limiter.request("candles", asking(place, RateLimited("too many", 10.0)))
    over = place.wall() + 10_000 + CARE_MS
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(place.rate_limiter.request, "candles", slow)
        await trio.sleep(40)
        assert asked == [over]
        gate.set()
        await trio.sleep(30)
    assert len(asked) == 3


async def test_a_suspension_survives_reopening_the_store(house, tmp_path, wall):
    """A new process on the same store knows when the suspension ends."""
    place = house()
    with pytest.raises(Banned):
        await place.rate_limiter.request("candles", asking(place, Banned("firewall")))
    copy = shutil.copy(place.store.where, tmp_path / "copy.db")
    for tail in ("-wal", "-shm"):
        shutil.copy(place.store.where + tail, str(copy) + tail)
    again = open_store(f"sqlite:///{copy}")
    wall.limiters.append(again.limiter)
    try:
        rate_limiter = RateLimiter(place.exchange, again, place.metrics, wall, 0, place.trouble)
        await rate_limiter.shared_budget.refresh()
        assert rate_limiter.shared_budget.suspended_until() == place.shared_budget.suspended_until()
        assert rate_limiter.shared_budget.used() == {"60s": 1, "300s": 1}
        question = asking(place)
        await rate_limiter.request("candles", question)
        assert place.asked == [place.shared_budget.suspension.until]
    finally:
        again.close()


@pytest.mark.parametrize("error", [RequestRejected("152002", "no"), InvalidResponse("garbage")])
async def test_a_no_is_an_answer_too(house, error, events):
    """What BloFin answers, be it nonsense, shows that it is reached, and ends a suspension."""
    place = house()
    question = asking(place, RateLimited("too many", 5.0), error)
    with pytest.raises(RateLimited):
        await place.rate_limiter.request("candles", question)
    with pytest.raises(type(error)):
        await place.rate_limiter.request("candles", question)
    assert not place.shared_budget.suspension.strikes
    assert not place.trouble


@pytest.mark.parametrize(
    "error", [Unreachable("no route"), RequestTimedOut("no answer"), ServerError("HTTP 502")]
)
async def test_an_outage_is_told_once_and_its_end_once(house, error, events):
    """Three failures are one line, and the first answer another."""
    place = house()
    question = asking(place, error, error, error)
    for _ in range(3):
        with pytest.raises(type(error)):
            await place.rate_limiter.request("candles", question)
    await place.rate_limiter.request("candles", question)
    assert events("warning") == [
        {"event": "it is away", "error": str(error), "source": "REST", "action": "it goes on"}
    ]
    assert events("info") == [{"event": "it is back"}]
    assert place.figure("blofin_api_requests_total", endpoint="candles", outcome=error.outcome) == 3


async def test_an_outage_does_not_end_a_suspension(house):
    """A probe that met no BloFin proves nothing."""
    place = house()
    question = asking(place, RateLimited("too many", 5.0), Unreachable("no route"))
    for error in (RateLimited, Unreachable):
        with pytest.raises(error):
            await place.rate_limiter.request("candles", question)
    assert place.shared_budget.suspension.strikes == 1
    await place.rate_limiter.request("candles", question)
    assert place.asked[2] - place.asked[1] == 60_000


async def test_without_the_store_nothing_is_sent(locker, house, events):
    """While the budget cannot be read no request goes; once it can, it does."""
    place = house()
    locker.execute("BEGIN EXCLUSIVE")
    question = asking(place)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(place.rate_limiter.request, "candles", question)
        await trio.sleep(30)
        assert place.asked == []
        assert place.figure("blofin_store_up") == 0
        locker.execute("ROLLBACK")
    assert len(place.asked) == 1
    assert place.figure("blofin_store_up") == 1
    assert place.figure("blofin_store_errors_total", operation="budget") >= 10
    assert [(one["event"], one["source"]) for one in events("warning")] == [
        ("database unavailable", "budget")
    ]
    assert events("info") == [{"event": "database available again"}]


async def test_a_suspension_holds_although_the_store_could_not_take_it(locker, house):
    """It is kept in memory, and entered for the others before the next request is let go."""
    place = house()

    async def refused_behind_a_lock():
        locker.execute("BEGIN EXCLUSIVE")
        raise RateLimited("too many", 20.0)

    began = place.wall()
    with pytest.raises(RateLimited):
        await place.rate_limiter.request("candles", refused_behind_a_lock)
    locker.execute("ROLLBACK")
    assert place.shared_budget.suspended_until() == began + 20_000 + CARE_MS
    await place.shared_budget.refresh()
    assert place.shared_budget.suspended_until() == began + 20_000 + CARE_MS
    question = asking(place)
    await place.rate_limiter.request("candles", question)
    assert place.asked == [began + 20_000 + CARE_MS]
    assert place.rows("SELECT until, strikes FROM suspension") == [(0, 0)]


async def test_a_suspension_ends_although_the_store_is_away(locker, house):
    """An answer ends it in memory; for the store, patience with the probe does."""
    place = house()

    async def answered_behind_a_lock():
        locker.execute("BEGIN EXCLUSIVE")

    with pytest.raises(RateLimited):
        await place.rate_limiter.request("candles", asking(place, RateLimited("too many", 20.0)))
    await place.rate_limiter.request("candles", answered_behind_a_lock)
    assert not place.shared_budget.suspension.strikes
    locker.execute("ROLLBACK")
    before = place.wall()
    question = asking(place)
    await place.rate_limiter.request("candles", question)
    assert place.asked == [before + 60_000]


async def test_an_unexpected_error_of_a_question_is_raised_as_it_is(house):
    """A bug is no outage: it goes to the top."""
    place = house()
    with pytest.raises(ZeroDivisionError):
        await place.rate_limiter.request("candles", asking(place, ZeroDivisionError()))


async def test_two_429s_at_once_are_one_suspension_and_one_line(house, events):
    """The second request was under way already: it does not make it longer."""
    place = house()

    async def slow():
        await trio.sleep(5)
        raise RateLimited("too many", 60.0)

    async def one():
        with pytest.raises(RateLimited):
            await place.rate_limiter.request("candles", slow)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one)
        nursery.start_soon(one)
    assert place.shared_budget.suspension.strikes == 1
    assert place.shared_budget.share() == 0.5
    assert [one["event"] for one in events("warning")].count("requests paused") == 1


async def test_an_answer_to_an_older_request_does_not_end_a_suspension(house, events):
    """It was let go before BloFin said stop."""
    place = house()

    async def slow():
        await trio.sleep(20)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(place.rate_limiter.request, "candles", slow)
        await trio.sleep(1)
        with pytest.raises(RateLimited):
            await place.rate_limiter.request(
                "candles", asking(place, RateLimited("too many", 60.0))
            )
    assert place.shared_budget.suspended_until() == place.wall() + 41_000 + CARE_MS
    assert events("info") == []


async def test_the_spacing_counts_from_when_the_wire_was_reached(house, exchange):
    """A request that was long in connecting does not let the next one follow on its heels."""
    place = house(spacing_ms=250)
    asked = []

    async def late():
        await trio.sleep(2)
        asked.append(place.wall())
        exchange.last_sent = trio.current_time()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(place.rate_limiter.request, "candles", late)
        await trio.sleep(2.1)
        await place.rate_limiter.request("candles", asking(place))
    assert place.asked[0] - asked[0] == 250


# -- what was let go is not sent any more ---------------------------------------------------------


async def test_a_request_that_waits_for_the_wire_does_not_go_once_there_was_a_429(house, exchange):
    """The ledger had let it go; it is asked again when the suspension is over."""
    place = house(spacing_ms=250)
    asked = []

    async def refused():
        asked.append(place.wall())
        await trio.sleep(1)
        exchange.last_sent = trio.current_time()
        await trio.sleep(0.1)
        raise RateLimited("too many", 20.0)

    async def second():
        await trio.sleep(1.05)
        await place.rate_limiter.request("candles", asking(place))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(second)
        with pytest.raises(RateLimited):
            await place.rate_limiter.request("candles", refused)
        over = place.shared_budget.suspended_until()
    assert over > asked[0] + 20_000
    assert place.asked == [over]


async def test_a_429_holds_before_the_database_has_taken_it(house):
    """While another transaction keeps the store busy, what waits behind it is not sent either."""
    place = house()
    began = place.wall()
    long_transaction = object()

    async def refused():
        nursery.start_soon(place.rate_limiter.request, "candles", asking(place))
        await place.store.limiter.acquire_on_behalf_of(long_transaction)
        await wait_all_tasks_blocked()
        nursery.start_soon(release)
        raise RateLimited("too many", 20.0)

    async def release():
        while not place.shared_budget.suspension.strikes:
            await trio.lowlevel.checkpoint()
        place.store.limiter.release_on_behalf_of(long_transaction)

    async def ask():
        with pytest.raises(RateLimited):
            await place.rate_limiter.request("candles", refused)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
    assert place.rows("SELECT count(*) FROM request_ledger") == [(3,)]
    assert place.asked == [began + 20_000 + CARE_MS]


async def test_of_two_suspensions_that_the_store_could_not_take_the_longer_holds(locker, house):
    """The second one, of a request under way, is not all that is entered afterwards."""
    place = house()
    began = place.wall()

    async def question(error):
        await trio.sleep(1)
        if not locker.in_transaction:
            locker.execute("BEGIN EXCLUSIVE")
        raise error

    async def ask(error):
        with pytest.raises(type(error)):
            await place.rate_limiter.request("candles", partial(question, error))

    async with trio.open_nursery() as nursery:
        for error in (Banned("firewall", 100.0), RateLimited("too many", 5.0)):
            nursery.start_soon(ask, error)
    locker.execute("ROLLBACK")
    await place.rate_limiter.request("candles", asking(place))
    assert place.asked == [began + 101_000 + CARE_MS]


async def test_a_ban_stays_one_when_a_429_was_under_way(house):
    """It holds for the websocket all the same."""
    place = house()

    async def late():
        await trio.sleep(5)
        raise RateLimited("too many", 1.0)

    async def ask(question, error):
        with pytest.raises(error):
            await place.rate_limiter.request("candles", question)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, late, RateLimited)
        await trio.sleep(1)
        nursery.start_soon(ask, asking(place, Banned("firewall")), Banned)
    assert place.shared_budget.suspension.banned


# -- others on the same address -------------------------------------------------------------------


async def test_a_429_within_our_limits_halves_them_and_they_come_back_slowly(house, events):
    """It is told once, in words; so is the end. /metrics follows all the way."""
    place = house()
    question = asking(place, RateLimited("too many"))
    with pytest.raises(RateLimited):
        await place.rate_limiter.request("candles", question)
    assert place.figure("blofin_rate_budget_share") == 0.5
    assert place.figure("blofin_rate_budget_limit", window="60s") == 237
    assert place.figure("blofin_rate_budget_limit", window="300s") == 712
    (told,) = [one for one in events("warning") if one["event"] == "rate limit lowered"]
    assert told["limit_fraction"] == 0.5
    assert told["limits"] == "237 requests in 60 s and 712 in 300 s"
    assert "another program may use the same IP address" in told["cause"]
    assert told["action"] == "raise the limit by 10 % every 15 minutes without a 429"
    for _ in range(300):
        await place.rate_limiter.request("candles", question)
    assert worst(place.asked[1:], 60) == 237
    began = place.asked[1]
    await trio.sleep((began + 900_000 - place.wall()) / 1000 + 1)
    assert place.figure("blofin_rate_budget_share") == 0.6
    await trio.sleep(4 * 900)
    assert place.figure("blofin_rate_budget_limit", window="60s") == 475
    await place.rate_limiter.request("candles", question)
    assert events("info")[-1] == {
        "event": "rate limit restored",
        "limit_fraction": 1.0,
        "limits": "475 requests in 60 s and 1425 in 300 s",
    }
    assert [one["event"] for one in events("warning")].count("rate limit lowered") == 1


async def test_a_429_at_our_own_limit_does_not_lower_it(house, events):
    """Then nobody else need have used the address."""
    place = house()
    busy(place, [place.wall() - 10_000 + number for number in range(474)])
    with pytest.raises(RateLimited):
        await place.rate_limiter.request("candles", asking(place, RateLimited("too many", 5.0)))
    assert place.shared_budget.share() == 1
    assert [one["event"] for one in events("warning")] == ["requests paused"]


async def test_a_ban_does_not_lower_the_limits(house):
    """It is the firewall's, and no matter of how many."""
    place = house()
    with pytest.raises(Banned):
        await place.rate_limiter.request("candles", asking(place, Banned("firewall")))
    assert place.shared_budget.share() == 1


async def test_the_share_survives_a_restart_and_holds_for_every_process(house):
    """A process that starts says so, and keeps to it."""
    place = house()
    with pytest.raises(RateLimited):
        await place.rate_limiter.request("candles", asking(place, RateLimited("too many", 5.0)))
    other = RateLimiter(place.exchange, place.store, place.metrics, place.wall, 0, place.trouble)
    question = asking(place)
    with structlog.testing.capture_logs() as entries:
        for _ in range(240):
            await other.request("candles", question)
    assert worst(place.asked, 60) == 237
    assert [one["event"] for one in entries].count("rate limit lowered") == 1


# -- a clock that is set --------------------------------------------------------------------------

STEPS = [86_400_000, 3_600_000, 120_000, 700, -700, -120_000, -3_600_000, -86_400_000]


def true_time(place):
    """Return the time (ms) that nobody set."""
    return place.wall() - place.wall.ahead_ms


@pytest.mark.parametrize("step", STEPS)
async def test_a_step_of_the_clock_neither_passes_a_limit_nor_stops_the_agent(house, step):
    """475 requests, the clock is set, and the next ones go when they would have gone anyway."""
    place = house()
    asked = []

    async def question():
        asked.append(true_time(place))

    for number in range(600):
        if number == 300:
            place.wall.ahead_ms += step
        await place.rate_limiter.request("candles", question)
    assert worst(asked, 60) <= LIMITS[0].requests
    # At worst it asks the ledger five seconds later than it might have.
    assert asked[-1] - asked[0] <= 61_000 + 5_000


@pytest.mark.parametrize("step", STEPS)
async def test_a_step_of_the_clock_does_not_change_when_a_suspension_ends(house, step):
    """The probe goes when it would have gone, and its answer counts."""
    place = house()
    asked = []

    async def question():
        asked.append(true_time(place))
        if len(asked) == 1:
            raise RateLimited("too many", 100.0)

    async def set_clock():
        await trio.sleep(50)
        place.wall.ahead_ms += step

    with pytest.raises(RateLimited):
        await place.rate_limiter.request("candles", question)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(set_clock)
        await place.rate_limiter.request("candles", question)
    assert 100_000 <= asked[1] - asked[0] <= 100_000 + CARE_MS + 5_000
    assert not place.shared_budget.suspension.strikes


@pytest.mark.parametrize("step", STEPS)
async def test_a_step_of_the_clock_while_the_probe_is_under_way_sends_no_second_one(house, step):
    """Nor does it keep its answer from ending the suspension."""
    place = house()
    asked = []

    async def slow():
        asked.append(true_time(place))
        if len(asked) == 1:
            raise RateLimited("too many", 10.0)
        if len(asked) == 2:
            await trio.sleep(5)
            place.wall.ahead_ms += step
            await trio.sleep(10)

    with pytest.raises(RateLimited):
        await place.rate_limiter.request("candles", slow)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(place.rate_limiter.request, "candles", slow)
    probe = asked[1]
    assert asked[2] - probe >= 15_000
    assert asked[-1] - probe <= 25_000
    assert not place.shared_budget.suspension.strikes


@pytest.mark.parametrize("step", STEPS)
async def test_a_process_that_starts_after_a_step_is_told_what_the_others_know(house, step):
    """The agent puts the ledger right within seconds; a one-shot that starts then keeps to it."""
    place = house()
    asked = []

    async def question():
        asked.append(true_time(place))

    for _ in range(475):
        await place.rate_limiter.request("candles", question)
    place.wall.ahead_ms += step
    await place.reconciler.once()
    other = RateLimiter(place.exchange, place.store, place.metrics, place.wall, 0, place.trouble)
    await other.request("candles", question)
    assert 60_000 <= asked[-1] - asked[0] <= 61_000 + 5_000


@pytest.mark.timing(file_return_s=0)
async def test_a_database_that_was_replaced_is_told_before_a_new_process_asks(house, tmp_path):
    """The agent that lives restores the ledger with its next look, once it has made a new one."""
    place = house()
    question = asking(place)
    for _ in range(475):
        await place.rate_limiter.request("candles", question)
    with pytest.raises(RateLimited):
        await place.rate_limiter.request("candles", asking(place, RateLimited("too many", 30.0)))
    until = place.shared_budget.suspended_until()
    for tail in ("", "-wal", "-shm"):
        (tmp_path / f"blofin.db{tail}").unlink()
    await place.reconciler.once()
    assert place.rows("SELECT count(*) FROM request_ledger") == [(476,)]
    assert place.rows("SELECT until FROM suspension") == [(until,)]
    await place.reconciler.once()
    assert place.rows("SELECT count(*) FROM request_ledger") == [(476,)]


async def test_a_connection_waits_for_the_database_where_others_share_the_address(house, locker):
    """Nobody knows then when the others connect. An agent that is alone need not wait."""
    place = house()
    locker.execute("BEGIN IMMEDIATE")
    with trio.fail_after(1):
        await place.shared_budget.take_turn(1.25)
    place.shared_budget.neighbours = lambda: 2
    with trio.move_on_after(600) as waiting:
        await place.shared_budget.take_turn(1.25)
    assert waiting.cancelled_caught
    locker.execute("ROLLBACK")
    with trio.fail_after(1):
        await place.shared_budget.take_turn(1.25)
