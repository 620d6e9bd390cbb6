"""Laws of sharing the symbols out: all reckon alike, little moves, and the shares are fair."""

import math
from collections import Counter
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blofin_agent.domain import symbol_assignment
from blofin_agent.domain.instrument import Instrument
from blofin_agent.domain.rate_limit import LIMITS
from blofin_agent.domain.symbol_assignment import AgentRecord, assign_symbols, load_of
from blofin_agent.domain.symbols import choose

SYMBOLS = [f"SIM{number}-USDT" for number in range(40)] + ["BTC-USDC", "ETH-USDC"]
LISTED = {symbol: Instrument(symbol, None, "live") for symbol in SYMBOLS}
ALL = ("all",)

wanted = st.sampled_from(
    [
        *(ALL, ALL, ("*-USDT",), ("*-USDC", "SIM1?-USDT"), ("SIM1-USDT", "BTC-USDC")),
        *(("NOT-LISTED",), ("*-NONE",)),
    ]
)
egresses = st.sampled_from(["203.0.113.7", "203.0.113.8", "an-office"])
crews = st.dictionaries(
    st.text("abc0123.:#-", min_size=1, max_size=12),
    st.tuples(egresses, wanted),
    min_size=1,
    max_size=6,
).map(lambda found: [AgentRecord(service, *rest) for service, rest in found.items()])


def owners(members, listed=LISTED):
    """Return who keeps each symbol, by what each member reckons for itself."""
    found = {}
    for member in members:
        for symbol in assign_symbols(member.service, members, listed).mine:
            assert symbol not in found, "two keep it"
            found[symbol] = member.service
    return found


def moved(before, after):
    """Return whose symbols went to whom; None is nobody."""
    return {
        (before.get(symbol), after.get(symbol))
        for symbol in before.keys() | after.keys()
        if before.get(symbol) != after.get(symbol)
    }


@given(crews, st.randoms())
def test_all_reckon_alike_in_whatever_order_they_know_of_each_other(members, chance):
    """Also what they take for the whole."""
    one = [assign_symbols(member.service, members, LISTED) for member in members]
    shuffled, listed = list(members), dict(LISTED)
    chance.shuffle(shuffled)
    listed = dict(chance.sample(list(LISTED.items()), len(LISTED)))
    assert [assign_symbols(member.service, shuffled, listed) for member in members] == one
    assert len({shares.all for shares in one}) == 1


@given(crews)
def test_each_symbol_that_somebody_wants_has_one_owner_who_wants_it(members):
    """None that nobody wants is kept; a name is wanted although it is not listed."""
    wants = {one.service: set(choose(one.wanted, LISTED).symbols) for one in members}
    found = owners(members)
    assert found.keys() == set().union(*wants.values())
    assert all(symbol in wants[service] for symbol, service in found.items())
    assert assign_symbols(members[0].service, members, LISTED).all == found.keys()


@given(crews)
def test_who_is_not_there_keeps_nothing(members):
    """As one whose lease is over."""
    found = assign_symbols("somebody-else", members, LISTED)
    assert found.mine == frozenset()
    assert found.all == owners(members).keys()


@given(crews, st.data())
def test_when_one_goes_only_its_symbols_move(members, data):
    """And, as the others behind its address may take more now, some to those."""
    gone = data.draw(st.sampled_from(members))
    left = [one for one in members if one != gone]
    heavier = {one.service for one in left if one.egress == gone.egress}
    for giver, taker in moved(owners(members), owners(left)):
        assert giver == gone.service or (taker in heavier and giver not in heavier)


@given(crews, st.data())
def test_when_one_comes_symbols_move_to_it_alone(members, data):
    """And, as the others behind its address may take less now, some from those; else none."""
    comer = AgentRecord("new", data.draw(egresses), data.draw(wanted))
    lighter = {one.service for one in members if one.egress == comer.egress}
    for giver, taker in moved(owners(members), owners([*members, comer])):
        assert taker == "new" or (giver in lighter and taker not in lighter)


@given(crews, st.sampled_from(SYMBOLS), st.sampled_from(["suspend", None]))
def test_a_symbol_that_is_delisted_moves_no_other(members, symbol, state):
    """Nor does one that is listed anew."""
    after = LISTED | {symbol: Instrument(symbol, None, state)} if state else dict(LISTED)
    if state is None:
        del after[symbol]
    before, now = owners(members), owners(members, after)
    kept = before.keys() & now.keys() - {symbol}
    assert all(now[one] == before[one] for one in kept)
    assert before.keys() ^ now.keys() <= {symbol}


@settings(max_examples=30)
@given(st.lists(st.text("abcdef0123456789", min_size=4), min_size=2, max_size=6, unique=True))
def test_the_shares_are_fair(services):
    """Within six standard deviations of chance: no name is favoured."""
    members = [AgentRecord(service, f"at {service}", ALL) for service in services]
    many = {f"S{number}": Instrument(f"S{number}", None, "live") for number in range(600)}
    shares = Counter(owners(members, many).values())
    chance = 1 / len(services)
    spread = math.sqrt(len(many) * chance * (1 - chance))
    for service in services:
        assert abs(shares[service] - len(many) * chance) < 6 * spread


@settings(max_examples=30)
@given(st.lists(st.integers(1, 4), min_size=2, max_size=4), st.integers(0, 1_000))
def test_those_behind_one_address_weigh_as_much_as_one_alone(crowds, seed):
    """The limits are per address, however many agents share it; among themselves they are equal."""
    number = count()
    members = [
        AgentRecord(f"{seed}-{next(number)}", f"egress {place}", ALL)
        for place, crowd in enumerate(crowds)
        for _ in range(crowd)
    ]
    many = {f"S{number}": Instrument(f"S{number}", None, "live") for number in range(600)}
    shares = Counter(owners(members, many).values())
    for member in members:
        chance = 1 / len(crowds) / crowds[int(member.egress.split()[1])]
        spread = math.sqrt(len(many) * chance * (1 - chance))
        assert abs(shares[member.service] - len(many) * chance) < 6 * spread
    for place in range(len(crowds)):
        theirs = sum(shares[one.service] for one in members if one.egress == f"egress {place}")
        chance = 1 / len(crowds)
        spread = math.sqrt(len(many) * chance * (1 - chance))
        assert abs(theirs - len(many) * chance) < 6 * spread


def test_a_version_reckons_as_the_one_before():
    """Agents of several versions may share a store while they are upgraded one by one."""
    members = [AgentRecord(f"host{n}:8780", f"host{n // 2}", ALL) for n in range(4)]
    found = owners(members)
    assert [found[f"SIM{number}-USDT"][4] for number in range(12)] == list("233032021021")


@pytest.mark.parametrize("digest", [bytes(8), b"\xff" * 8, b"\xff" * 7 + b"\xfe"])
def test_no_name_is_without_a_score(monkeypatch, digest):
    """Whatever the hash gives: it is positive and finite."""

    class Fixed:
        def digest(self):
            return digest

    monkeypatch.setattr(symbol_assignment, "blake2b", lambda *_args, **_size: Fixed())
    assert 0 < symbol_assignment._score("BTC-USDT", "host:8780") < math.inf


@given(st.integers(0, 5_000), st.floats(60, 86_400), st.sampled_from(LIMITS))
def test_the_load_is_one_when_each_symbol_needs_a_page_in_each_pass(symbols, interval_s, limit):
    """That is, when as many requests are allowed from one pass to the next."""
    found = load_of(symbols, interval_s, limit.requests, limit.seconds)
    allowed = limit.requests * interval_s / limit.seconds
    assert found == pytest.approx(symbols / allowed)
    assert load_of(2 * symbols, interval_s, limit.requests, limit.seconds) == pytest.approx(
        2 * found
    )
