"""Laws of what is remembered beside candles and runs: proofs, instruments, the rate budget."""

import random
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blofin_agent.core.answers import Instrument
from blofin_agent.core.budget import HORIZON, LIMITS, SLACK, Suspension
from blofin_agent.core.candle import HOUR, MINUTE, Bar
from blofin_agent.core.coverage import Span
from blofin_agent.core.proof import Proof
from blofin_agent.store import ledger
from blofin_agent.store.engine import open_store

T = 1_790_000_000_000


def write(store, work, *args, **named):
    with store.engine.begin() as connection:
        return work(connection, *args, **named)


def rows(store, query):
    return store.read_here(lambda db: [tuple(row) for row in db.exec_driver_sql(query)])


@pytest.fixture
def reopened(database):
    """Return a function that gives the store anew, as another process would have it."""
    opened = []

    def reopen():
        opened.append(open_store(database))
        return opened[-1]

    yield reopen
    for store in opened:
        store.close()


def proof(start, end, checks=1):
    return Proof(Span(T + start * MINUTE, T + end * MINUTE), T, checks, T + HOUR)


def test_proofs_come_back_by_symbol_oldest_first(store, reopened):
    """Of the bar asked for, after a restart too."""
    write(store, ledger.save_proofs, "A", Bar.M1, [proof(5, 6), proof(1, 3, 4)], 0)
    write(store, ledger.save_proofs, "B", Bar.M1, [proof(2, 3)], 0)
    write(store, ledger.save_proofs, "A", Bar.M5, [proof(0, 5)], 0)
    found = reopened().read_here(lambda db: ledger.load_proofs(db, Bar.M1, 0))
    assert found == {"A": [proof(1, 3, 4), proof(5, 6)], "B": [proof(2, 3)]}


def test_saving_replaces_only_what_ends_after_the_windows_start(store):
    """Proofs that left the window stay written down."""
    write(store, ledger.save_proofs, "A", Bar.M1, [proof(1, 3), proof(5, 6)], 0)
    write(store, ledger.save_proofs, "A", Bar.M1, [proof(7, 8)], T + 4 * MINUTE)
    whole = store.read_here(lambda db: ledger.load_proofs(db, Bar.M1, 0))
    assert whole == {"A": [proof(1, 3), proof(7, 8)]}
    late = store.read_here(lambda db: ledger.load_proofs(db, Bar.M1, T + 3 * MINUTE))
    assert late == {"A": [proof(7, 8)]}
    write(store, ledger.save_proofs, "A", Bar.M1, [proof(1, 3)], T + 4 * MINUTE)
    assert store.read_here(lambda db: ledger.load_proofs(db, Bar.M1, 0)) == {"A": [proof(1, 3)]}


def test_instruments_are_replaced_as_a_whole(store, reopened):
    """An empty list changes nothing; a repeated symbol counts once; never read is 0."""
    assert store.read_here(ledger.load_instruments) == ({}, 0)
    first = [Instrument("A", 5, "live"), Instrument("B", None, "suspend")]
    write(store, ledger.save_instruments, first, T)
    write(store, ledger.save_instruments, [], T + 1)
    assert reopened().read_here(ledger.load_instruments) == ({one.symbol: one for one in first}, T)
    second = [Instrument("C", 7, "live"), Instrument("C", 8, "live")]
    write(store, ledger.save_instruments, second, T + 2)
    assert store.read_here(ledger.load_instruments) == ({"C": second[1]}, T + 2)


def test_a_heartbeat_is_one_row_a_service(store):
    """The newest counts."""
    assert store.read_here(lambda db: ledger.last_beat(db, "agent")) is None
    write(store, ledger.beat, "agent", 1, 2, "pid 1")
    write(store, ledger.beat, "agent", 1, 3, "pid 1")
    assert store.read_here(lambda db: ledger.last_beat(db, "agent")) == 3
    assert rows(store, "SELECT * FROM service_heartbeats") == [("agent", 1, 3, "pid 1")]


# -- the rate budget ------------------------------------------------------------------------------


def test_a_request_is_entered_only_when_it_may_go(store):
    """Otherwise the answer says when to ask again, and nothing is written."""
    assert write(store, ledger.let_go, "candles", T, 250).at == T
    grant = write(store, ledger.let_go, "candles", T + 100, 250)
    assert (grant.at, grant.starts) == (T + 250, [T])
    assert rows(store, "SELECT started, endpoint FROM request_ledger") == [(T, "candles")]
    assert write(store, ledger.let_go, "candles", T + 250, 250).starts == [T, T + 250]


def test_old_entries_are_cleaned_away(store):
    """The ledger does not grow for ever."""
    for minute in range(20):
        write(store, ledger.let_go, "candles", T + minute * MINUTE, 0)
    oldest = rows(store, "SELECT min(started) FROM request_ledger")[0][0]
    assert oldest > T + 19 * MINUTE - HORIZON - 1


@pytest.mark.parametrize("seed", range(3))
def test_two_processes_on_one_file_share_one_budget(reopened, seed):
    """Whoever asks, whenever: no window of the ledger ever holds more than its limit."""
    chance = random.Random(seed)
    stores = [reopened(), reopened()]
    now, let_go = T, []
    for _ in range(900):
        store = chance.choice(stores)
        grant = write(store, ledger.let_go, "candles", now, 0)
        if grant.at <= now:
            let_go.append(now)
            now += chance.choice((0, 0, 1, 40))
        else:
            now = chance.choice((now + 1_000, grant.at))
    assert len(let_go) > 480
    for limit in LIMITS:
        span = limit.seconds * 1000 + SLACK
        for index, at in enumerate(let_go[limit.requests :]):
            assert at - let_go[index] >= span


def test_a_suspension_holds_for_every_process_and_survives_reopening(store, reopened):
    """Then one probe, and nobody else until it is answered or a minute has passed."""
    other = reopened()
    write(store, ledger.let_go, "candles", T, 0)
    state = write(
        store,
        ledger.suspend,
        sent_ms=T,
        now_ms=T + 50,
        reason="429",
        banned=False,
        retry_after=None,
    )
    assert (state.until, state.strikes) == (T + 50 + 300_000, 1)
    assert write(other, ledger.let_go, "candles", T + 60, 0).at == state.until
    third = reopened()
    assert third.read_here(ledger.load_suspension) == state
    probe = write(third, ledger.let_go, "candles", state.until, 0)
    assert (probe.at, probe.suspension.probe) == (state.until, state.until)
    assert write(other, ledger.let_go, "candles", state.until + 1, 0).at == state.until + MINUTE
    assert not write(third, ledger.answered, sent_ms=state.until).strikes
    assert write(other, ledger.let_go, "candles", state.until + 2, 0).at == state.until + 2


def test_an_answer_to_an_older_request_ends_nothing(store):
    """What was under way when the suspension began proves nothing."""
    ban = {"reason": "403", "banned": True, "retry_after": None}
    write(store, ledger.suspend, sent_ms=T, now_ms=T, **ban)
    assert write(store, ledger.answered, sent_ms=T - 1).strikes == 1
    state = store.read_here(ledger.load_suspension)
    assert (state.banned, state.reason, state.until) == (True, "403", T + 300_000)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(waits=st.lists(st.integers(0, 30_000), min_size=1, max_size=40), spacing=st.integers(0, 999))
def test_starts_are_never_closer_than_the_spacing(store, waits, spacing):
    """However the clock moves on between the questions."""
    write(store, lambda db: db.exec_driver_sql("DELETE FROM request_ledger"))
    now, let_go = T, []
    for wait in waits:
        now += wait
        grant = write(store, ledger.let_go, "candles", now, spacing)
        if grant.at <= now:
            let_go.append(now)
        else:
            assert grant.at - now <= spacing
    assert let_go[0] == T + waits[0]
    assert all(later - earlier >= spacing for earlier, later in pairwise(let_go))


def test_a_new_database_is_told_of_the_budget(store):
    """What was sent and what is suspended still counts; nothing is entered twice."""
    state = Suspension(until=T + HOUR, strikes=2, reason="429")
    for _ in range(2):
        write(store, ledger.restore, [T, T + 10], state)
    assert write(store, ledger.recent, T + 20) == [T, T + 10]
    assert write(store, ledger.load_suspension) == state
    write(store, ledger.restore, [], Suspension())
    assert write(store, ledger.load_suspension) == state
