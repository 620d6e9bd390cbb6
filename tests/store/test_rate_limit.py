"""Laws of the rate budget in the store: one for all processes, over restarts and new files."""

import random
import threading
import time
from contextlib import closing
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blofin_agent.domain.candle import DAY, HOUR, MINUTE
from blofin_agent.domain.clock_correction import ClockCorrection, WallAndMonotonic
from blofin_agent.domain.rate_limit import (
    HORIZON_MS,
    LIMITS,
    SLACK_MS,
    RateLimitResponse,
    Suspension,
)
from blofin_agent.store import migrate
from blofin_agent.store.database import open_store
from blofin_agent.store.tables import rate_limit
from blofin_agent.store.tables.rate_limit import LocalBudget

T = 1_790_000_000_000


def write(store, work, *args):
    with store.engine.begin() as connection:
        return work(connection, *args)


def at(wall):
    """Return a moment of a process whose clock was never set."""
    return WallAndMonotonic(wall, wall)


def let_go(store, wall, spacing=0, known=LocalBudget()):  # noqa: B008 - it is frozen
    return write(store, rate_limit.admit, ["candles"], spacing, known, at(wall))


def look(store, wall=T):
    return write(store, rate_limit.read_budget, LocalBudget(), at(wall))


def stop(store, wall, *, under=0, banned=False, known=LocalBudget()):  # noqa: B008 - it is frozen
    refusal = RateLimitResponse(under, "stop", banned, None)
    return write(store, rate_limit.suspend, refusal, known, at(wall)).suspension


def test_a_request_is_entered_only_when_it_may_go(store, rows):
    """Otherwise the answer says when to ask again, and nothing is written."""
    assert let_go(store, T, 250).at == T
    grant = let_go(store, T + 100, 250)
    assert (grant.entered, grant.at, grant.view.starts) == (False, T + 250, [T])
    assert rows("SELECT started, endpoint FROM request_ledger") == [(T, "candles")]
    assert let_go(store, T + 250, 250).view.starts == [T, T + 250]


def many(store, wall, count, spacing=0):
    return write(store, rate_limit.admit, ["candles"] * count, spacing, LocalBudget(), at(wall))


def test_as_many_as_may_go_are_entered_together(store, rows):
    """Up to the limit, not one more; with a spacing one alone, as after a suspension."""
    most = LIMITS[0].requests
    assert many(store, T, most - 2).entered == most - 2
    assert many(store, T + 10, 5).entered == 2
    full = many(store, T + 20, 5)
    assert (full.entered, full.at) == (0, T + 61_000)
    assert rows("SELECT started, count(*) FROM request_ledger GROUP BY 1 ORDER BY 1") == [
        (T, most - 2),
        (T + 10, 2),
    ]
    assert many(store, T + 61_000, 5, spacing=250).entered == 1
    state = stop(store, T + 62_000)
    probe = many(store, state.until, 5)
    assert (probe.entered, probe.under) == (1, 1)
    assert many(store, state.until + 1, 5).entered == 0


def test_old_entries_are_cleaned_away(store, rows):
    """The ledger does not grow for ever."""
    for minute in range(20):
        let_go(store, T + minute * MINUTE)
    oldest = rows("SELECT min(started) FROM request_ledger")[0][0]
    assert oldest > T + 19 * MINUTE - HORIZON_MS - 1


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.slow("900 transactions")
def test_two_processes_on_one_database_share_one_budget(reopened, seed):
    """Whoever asks, whenever: no window of the ledger ever holds more than its limit."""
    chance = random.Random(seed)
    stores = [reopened(), reopened()]
    now, went = T, []
    for _ in range(900):
        grant = let_go(chance.choice(stores), now)
        if grant.entered:
            went.append(now)
            now += chance.choice((0, 0, 1, 40))
        else:
            now = chance.choice((now + 1_000, grant.at))
    assert len(went) > 480
    for limit in LIMITS:
        span = limit.seconds * 1000 + SLACK_MS
        for index, later in enumerate(went[limit.requests :]):
            assert later - went[index] >= span


def test_each_address_has_a_budget_of_its_own(store, rows):
    """Its requests, its suspension, and what was sent before addresses were told apart."""
    most = LIMITS[0].requests
    one, two = LocalBudget(egress="203.0.113.1"), LocalBudget(egress="203.0.113.2")
    assert write(store, rate_limit.admit, ["x"] * 999, 0, one, at(T)).entered == most
    assert not let_go(store, T, known=one).entered
    assert let_go(store, T, known=two).view.starts == [T]
    assert look(store).starts == []
    until = stop(store, T + 1, known=two).until
    assert until > T + 61_000
    assert let_go(store, T + 61_000, known=one).entered
    assert let_go(store, T + 61_000, known=two).at == until
    assert rows("SELECT egress, strikes FROM suspension ORDER BY 1") == [
        ("", 0),
        ("203.0.113.1", 0),
        ("203.0.113.2", 1),
    ]


def test_those_who_ask_at_once_have_one_budget(reopened, rows):
    """Whoever comes second waits for the first, also when nobody asked from there before."""
    stores = [reopened() for _ in range(4)]
    ready, went = threading.Barrier(len(stores)), []

    def agent(store, now):
        ready.wait(20)
        with store.engine.begin() as connection:
            grant = rate_limit.admit(connection, ["x"] * 200, 0, LocalBudget(egress="new"), at(now))
            went.append(grant.entered)
            time.sleep(0.05)

    for now in (T, T + 61_000):
        threads = [threading.Thread(target=agent, args=(store, now)) for store in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(went) == LIMITS[0].requests
        went.clear()
    assert rows("SELECT count(*) FROM suspension WHERE egress = 'new'") == [(1,)]


def test_a_share_of_the_limits_holds_for_every_process(store, reopened):
    """A 429 that one did not cause halves what all may do, after the probe and after a restart."""
    let_go(store, T)
    over = stop(store, T + 1).until
    assert let_go(store, over).under == 1
    write(store, rate_limit.record_response, 1, LocalBudget(), at(over))
    others = [reopened(), reopened()]
    went = [let_go(others[number % 2], over + 1 + number).entered for number in range(300)]
    assert sum(went) == 237 - 1
    assert look(reopened()).suspension.share_at(over + 4 * 900_000) == 0.9


def test_a_suspension_holds_for_every_process_and_survives_reopening(store, reopened):
    """Then one probe, and nobody else until it is answered or a minute has passed."""
    other = reopened()
    let_go(store, T)
    state = stop(store, T + 50)
    assert (state.until, state.strikes) == (T + 50 + 301_000, 1)
    assert let_go(other, T + 60).at == state.until
    third = reopened()
    assert look(third, T + 60).suspension == state
    probe = let_go(third, state.until)
    assert (probe.at, probe.view.suspension.probe) == (state.until, state.until)
    assert let_go(other, state.until + 1).at == state.until + MINUTE
    ended = write(
        third, rate_limit.record_response, probe.under, LocalBudget(), at(state.until + 2)
    )
    assert not ended.suspension.strikes
    assert let_go(other, state.until + 2).entered


def test_an_answer_to_an_older_request_ends_nothing(store):
    """What was under way when the suspension began proves nothing."""
    stop(store, T, banned=True)
    assert (
        write(store, rate_limit.record_response, 0, LocalBudget(), at(T + 1)).suspension.strikes
        == 1
    )
    state = look(store).suspension
    assert (state.banned, state.reason, state.until) == (True, "stop", T + 301_000)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(waits=st.lists(st.integers(0, 30_000), min_size=1, max_size=40), spacing=st.integers(0, 999))
def test_starts_are_never_closer_than_the_spacing(store, waits, spacing):
    """However the clock moves on between the questions."""
    write(store, lambda db: db.exec_driver_sql("DELETE FROM request_ledger"))
    now, went = T, []
    for wait in waits:
        now += wait
        grant = let_go(store, now, spacing)
        if grant.entered:
            went.append(now)
        else:
            assert grant.at - now <= spacing
    assert went[0] == T + waits[0]
    assert all(later - earlier >= spacing for earlier, later in pairwise(went))


def test_a_new_database_is_told_of_the_budget(store, rows, tmp_path):
    """What was sent and what is suspended still counts; nothing is entered twice."""
    old = open_store(f"sqlite:///{tmp_path / 'old.db'}")
    let_go(old, T)
    first = let_go(old, T + 10).view.clock_correction
    second = look(old, T + 20).clock_correction
    old.close()
    state = Suspension(until=T + HOUR, strikes=2, reason="429", noted=T)
    for clock_correction in (first, second, first):
        view = write(
            store,
            rate_limit.reconcile_budget,
            LocalBudget(clock_correction, state, elsewhere=True),
            at(T + 20),
        )
        assert view.starts == [T, T + 10]
        assert view.suspension == state
    assert rows("SELECT started FROM request_ledger ORDER BY id") == [(T,), (T + 10,)]
    assert look(store, T + 20).suspension == state


def test_a_ledger_from_the_future_is_put_right(store, rows):
    """The clock was set back a day: its entries count from now on, and then no more."""
    for number in range(475):
        let_go(store, T + DAY + number)
    stop(store, T + DAY + 500, banned=True)
    grant = let_go(store, T)
    assert (grant.entered, grant.at) == (False, T + 301_000)
    assert rows("SELECT DISTINCT started FROM request_ledger") == [(T,)]
    assert rows("SELECT until, noted FROM suspension") == [(T + 301_000, T)]
    assert let_go(store, T + 301_000).entered


def test_what_a_process_knows_better_is_written_down(store):
    """The clock was set forward: one that starts now counts what it would have thought old."""
    clock_correction = ClockCorrection()
    for number in range(475):
        grant = write(
            store,
            rate_limit.admit,
            "x",
            0,
            LocalBudget(clock_correction),
            WallAndMonotonic(T + number, number),
        )
        clock_correction = grant.view.clock_correction
    assert let_go(store, T + DAY).entered
    write(
        store,
        rate_limit.reconcile_budget,
        LocalBudget(clock_correction),
        WallAndMonotonic(T + DAY, 1_000),
    )
    grant = let_go(store, T + DAY)
    assert (grant.entered, grant.at) == (False, T + DAY - 999 + 61_000)


def test_a_database_of_before_is_upgraded_with_its_suspension_and_its_ledger(old, sql):
    """Nothing is lost, nothing else is changed, and the whole of the limits is ours."""
    url = old("0003")
    sql(
        url,
        "UPDATE suspension SET until = :until, strikes = 2, probe = 5, banned = true, "
        "reason = 'why'",
        until=T + HOUR,
    )
    sql(url, "INSERT INTO request_ledger (started, endpoint) VALUES (:at, 'candles')", at=T)
    sql(url, "INSERT INTO instruments VALUES ('A', 7, 'live', 8)")
    with closing(open_store(url)) as store:
        view = look(store, T + 5)
        assert view.starts == [T]
        assert view.suspension == Suspension(T + HOUR, 2, 5, True, "why", 0, 1.0, 0)
        assert let_go(store, T + 5).at == T + HOUR
        assert let_go(store, T + HOUR).entered
    assert sql(url, "SELECT version_num FROM alembic_version") == [(migrate.HEAD,)]
    assert sql(url, "SELECT * FROM instruments") == [("A", 7, "live", 8)]


def test_websocket_connections_of_an_address_take_turns(store, reopened):
    """Whichever process asks; those of another address wait for nobody."""
    other = reopened()
    turns = [
        write(one, rate_limit.connect_at, "here", T, 1_250) for one in (store, other, store, other)
    ]
    assert turns == [T, T + 1_250, T + 2_500, T + 3_750]
    assert write(other, rate_limit.connect_at, "there", T, 1_250) == T
    assert write(store, rate_limit.connect_at, "here", T + 60_000, 1_250) == T + 60_000


def test_a_turn_that_a_clock_gone_wrong_took_keeps_nobody_waiting(store):
    """So far ahead nobody waits; but for the turn before one does, though it be minutes."""
    write(store, rate_limit.connect_at, "here", T + DAY, 1_250)
    assert write(store, rate_limit.connect_at, "here", T, 1_250) == T
    turns = [write(store, rate_limit.connect_at, "here", T, 1_250) for _ in range(150)]
    assert turns[-1] == T + 150 * 1_250
