"""Laws of the fleet in the store: who lives, by the server's clock, and one owner a symbol."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from blofin_agent.domain.candle import DAY, Timeframe
from blofin_agent.domain.symbol_assignment import AgentRecord
from blofin_agent.store.tables import fleet, heartbeats
from blofin_agent.store.tables.fleet import AgentIdentity, NameTaken
from blofin_agent.store.timing import DEFAULT

T = 1_790_000_000_000
LEASE_MS = round(DEFAULT.lease_s * 1000)
A, B, C = (
    AgentIdentity(
        f"{name}:8780",
        T,
        f"pid {name}",
        f"at {name}",
        Timeframe.M1,
        ("all",),
        f"http://{name}",
        name,
    )
    for name in ("a", "b", "c")
)
FOUR = {"BTC-USDT", "ETH-USDT", "SOL-USDT", "XRP-USDT"}


class Clock:
    """The server's."""

    def __init__(self):
        self.now = T

    def __call__(self, _connection):
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(fleet, "now_ms", clock)
    return clock


def write(store, work, *args, **kwargs):
    with store.engine.begin() as connection:
        return work(connection, *args, **kwargs)


def beat(store, me, *, known=True):
    return write(store, fleet.heartbeat, me, known=known)


def join(store, *members):
    for me in members:
        beat(store, me, known=False)


def claim(store, me, wanted=(), given_back=()):
    return write(store, fleet.claim, me, wanted, given_back)


def leave(store, me):
    write(store, fleet.leave, me)


def living(store, me=A):
    return [member.service for member in beat(store, me).members]


# -- who lives ------------------------------------------------------------------------------------


def test_a_beat_tells_who_lives_by_name(store):
    """Oneself among them, with what is needed to reckon the shares."""
    join(store, C, B._replace(wanted=("BTC-*", "ETH-USDT")))
    assert beat(store, A, known=False).members == [
        AgentRecord("a:8780", "at a", ("all",), "http://a"),
        AgentRecord("b:8780", "at b", ("BTC-*", "ETH-USDT"), "http://b"),
        AgentRecord("c:8780", "at c", ("all",), "http://c"),
    ]


def test_a_lease_is_over_when_it_says_and_not_sooner(store, clock):
    """Each beat begins it anew."""
    join(store, A, B)
    clock.now = T + LEASE_MS - 1
    assert living(store) == ["a:8780", "b:8780"]
    clock.now = T + LEASE_MS
    assert living(store) == ["a:8780"]
    beat(store, B)
    assert living(store) == ["a:8780", "b:8780"]


def test_each_beat_tells_what_is_ours(store, clock, other):
    """Less than before, when others took some over, or somebody took rows away."""
    assert beat(store, A, known=False).ours == frozenset()
    assert claim(store, A, FOUR) == beat(store, A).ours == FOUR
    clock.now += LEASE_MS
    join(store, B)
    claim(store, B, ["BTC-USDT"])
    assert beat(store, A).ours == FOUR - {"BTC-USDT"}
    other("DELETE FROM symbol_owners WHERE symbol = 'ETH-USDT'")
    assert beat(store, A).ours == {"SOL-USDT", "XRP-USDT"}


def test_those_who_keep_candles_of_another_bar_are_no_members(store):
    """Nor do their symbols count."""
    other = B._replace(bar=Timeframe.H1)
    join(store, A, other)
    claim(store, other, FOUR)
    assert living(store) == ["a:8780"]
    assert beat(store, A).claimed == frozenset()
    assert claim(store, A, FOUR) == FOUR


def test_what_has_an_owner_who_lives_is_counted(store, clock):
    """So that it is known which have none."""
    join(store, A, B)
    claim(store, A, ["BTC-USDT"])
    claim(store, B, ["ETH-USDT", "SOL-USDT"])
    assert beat(store, A).claimed == {"BTC-USDT", "ETH-USDT", "SOL-USDT"}
    clock.now += LEASE_MS - 1
    assert beat(store, A).claimed == {"BTC-USDT", "ETH-USDT", "SOL-USDT"}
    clock.now += 1
    assert beat(store, A).claimed == {"BTC-USDT"}


def test_who_is_gone_for_a_week_is_forgotten_when_another_comes(store, clock):
    """And what is no member of a fleet, such as the last success, is left alone."""
    write(store, heartbeats.record_heartbeat, "backfill", T, T, "a pass")
    join(store, A)
    clock.now += LEASE_MS + 7 * DAY
    join(store, B)
    assert [one.service for one in roll(store).members] == ["a:8780", "b:8780"]
    clock.now += 1
    join(store, C)
    assert [one.service for one in roll(store).members] == ["b:8780", "c:8780"]
    assert write(store, heartbeats.last_heartbeat, "backfill") == T


def test_one_that_is_cut_off_in_the_middle_of_a_beat_costs_nobody_else_the_lease():
    """One at a time is in there; it is put out before the lease of any other is over."""
    assert DEFAULT.idle_s + DEFAULT.heartbeat_s + DEFAULT.heartbeat_retry_s < DEFAULT.lease_s


# -- who owns -------------------------------------------------------------------------------------


def test_a_symbol_is_never_given_to_two(store):
    """The other one gets the rest, and it when it was given back."""
    join(store, A, B)
    assert claim(store, A, ["BTC-USDT", "ETH-USDT"]) == {"BTC-USDT", "ETH-USDT"}
    assert claim(store, B, FOUR) == {"SOL-USDT", "XRP-USDT"}
    assert claim(store, A, FOUR) == {"BTC-USDT", "ETH-USDT"}
    assert claim(store, A, [], ["ETH-USDT"]) == {"BTC-USDT"}
    assert claim(store, B, FOUR) == FOUR - {"BTC-USDT"}


def test_nobody_gives_back_what_is_anothers(store):
    """As one that was cut off may want to."""
    join(store, A, B)
    claim(store, A, FOUR)
    claim(store, B, [], FOUR)
    assert claim(store, A) == FOUR


def test_a_lapsed_owner_loses_its_symbols_to_who_wants_them(store, clock):
    """Those that nobody took are still its own when it is back."""
    join(store, A, B)
    claim(store, A, FOUR)
    clock.now += LEASE_MS - 1
    beat(store, B)
    assert claim(store, B, FOUR) == frozenset()
    clock.now += 1
    assert claim(store, B, ["BTC-USDT"]) == {"BTC-USDT"}
    assert beat(store, A).ours == FOUR - {"BTC-USDT"}
    assert claim(store, A, FOUR) == FOUR - {"BTC-USDT"}


def test_one_that_now_keeps_another_bar_keeps_none_of_the_bar_before(store):
    """It lives, under the same name, and others need not wait for what it had."""
    join(store, A, B)
    claim(store, A, FOUR)
    join(store, A._replace(bar=Timeframe.H1, token="new"))
    assert beat(store, B).claimed == frozenset()
    assert claim(store, B, FOUR) == FOUR


def test_who_leaves_gives_all_back_at_once(store):
    """And is no member any more."""
    join(store, A, B)
    claim(store, A, FOUR)
    leave(store, A)
    assert living(store, B) == ["b:8780"]
    assert beat(store, B).claimed == frozenset()
    assert claim(store, B, FOUR) == FOUR


# -- two of one name ------------------------------------------------------------------------------


def test_another_process_takes_the_name_and_with_it_the_symbols(store):
    """As a rule the one before was killed; if it was not, it is told with its next beat."""
    join(store, A)
    claim(store, A, FOUR)
    again = A._replace(token="another")
    assert beat(store, again, known=False).ours == FOUR
    with pytest.raises(NameTaken):
        beat(store, A)
    # That wrote nothing, and leaving takes nothing from its successor.
    leave(store, A)
    assert beat(store, again).ours == FOUR


def test_one_whose_heartbeat_was_taken_away_comes_back(store, other):
    """By somebody with an SQL prompt: others may have its symbols."""
    join(store, A, B)
    claim(store, A, FOUR)
    other("DELETE FROM service_heartbeats WHERE service = 'a:8780'")
    assert claim(store, B, ["BTC-USDT"]) == {"BTC-USDT"}
    assert beat(store, A).ours == FOUR - {"BTC-USDT"}


# -- all of them ----------------------------------------------------------------------------------


def roll(store):
    return write(store, fleet.read_fleet)


def test_the_roll_tells_all_of_everybody(store, clock):
    """Also of those whose lease is over, and of every bar."""
    write(store, heartbeats.record_heartbeat, "agent", T, T, "no member")
    hourly = C._replace(bar=Timeframe.H1, wanted=("BTC-*", "ETH-USDT"))
    join(store, B, hourly)
    claim(store, B, ["SOL-USDT", "BTC-USDT"])
    claim(store, hourly, ["BTC-USDT"])
    clock.now += LEASE_MS
    join(store, A)
    found = roll(store)
    assert found.now == clock.now
    assert [(one.service, one.bar, one.lease, one.symbols) for one in found.members] == [
        ("c:8780", "1H", T + LEASE_MS, ["BTC-USDT"]),
        ("a:8780", "1m", T + 2 * LEASE_MS, []),
        ("b:8780", "1m", T + LEASE_MS, ["BTC-USDT", "SOL-USDT"]),
    ]
    assert found.members[0][2:9] == (
        *("at c", T, T, T + LEASE_MS, "BTC-*,ETH-USDT", "http://c", "pid c"),
    )


def test_a_store_that_has_no_fleet_has_an_empty_roll(store):
    write(store, heartbeats.record_heartbeat, "agent", T, T, "no member")
    assert roll(store).members == []


# -- in any order, and at the same time -----------------------------------------------------------


@pytest.mark.slow("hundreds of transactions")
def test_whatever_is_done_no_two_whose_lease_lasts_have_the_same_symbol(store, clock):
    """Beats that come late or never, claims, and leaving, by chance, as an agent goes about it."""
    chance = random.Random(20_261_125)
    symbols = [f"S{number}" for number in range(12)]
    has = {me: frozenset() for me in (A, B, C)}
    until, taken_over = dict.fromkeys(has, 0), 0
    for _ in range(400):
        clock.now += chance.choice([0, 500, 4_000, 9_000])
        me = chance.choice(list(has))
        if chance.random() < 0.05:
            leave(store, me)
            has[me], until[me] = frozenset(), 0
        else:
            has[me] &= beat(store, me, known=until[me] > 0).ours
            wanted = frozenset(chance.sample(symbols, 6))
            give, has[me] = has[me] - wanted, has[me] & wanted
            until[me] = clock.now + LEASE_MS
            before = claim(store, me)
            has[me] = claim(store, me, wanted, give) & wanted
            taken_over += len(has[me] - before)
        held = [symbol for one in has if until[one] > clock.now for symbol in has[one]]
        assert len(held) == len(set(held))
    assert taken_over > 100


def test_claims_of_four_at_the_same_time_never_overlap(store, reopened):
    """Of what is new, of what one left that is gone, and of what one of them gives back."""
    four = [A._replace(service=f"{number}", token=f"{number}") for number in range(4)]
    symbols = [f"S{number}" for number in range(40)]
    gone = A._replace(service="gone")
    stores = [reopened() for _ in four]
    together = threading.Barrier(4, timeout=30)

    def take(number, given_back):
        together.wait()
        return claim(stores[number], four[number], symbols, given_back)

    join(store, *four)
    with ThreadPoolExecutor(4) as threads:
        for turn in range(12):
            before = [claim(store, me) for me in four]
            if turn % 3 == 1:
                # Its lease is over, as it never had any.
                for me in four:
                    claim(store, me, [], symbols)
                claim(store, gone, symbols)
                before = [frozenset()] * 4
            given_back = [before[number] if number == turn % 4 else () for number in range(4)]
            shares = list(threads.map(take, range(4), given_back))
            assert sum(map(len, shares)) == len(symbols)
            assert len(frozenset().union(*shares)) == len(symbols)
            for number, share in enumerate(shares):
                kept = before[number] - set(given_back[number])
                assert kept <= share
