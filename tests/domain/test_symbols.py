"""Laws of choosing symbols: what the setting names, against what is listed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blofin_agent.domain.instrument import Instrument
from blofin_agent.domain.symbols import choose, needs_listing, suggest_symbol, unknown_symbols_text

names = st.sampled_from(["BTC-USDT", "ETH-USDT", "ETH-USDC", "1000PEPE-USDT", "SOL-USDT"])
listings = st.dictionaries(names, st.sampled_from(["live", "suspend"]))


def listed(states: dict[str, str]) -> dict[str, Instrument]:
    return {name: Instrument(name, None, state) for name, state in states.items()}


@given(st.lists(names, max_size=6), listings)
def test_names_are_taken_as_they_stand(wanted, states):
    """In order, each once, listed or not; those not listed are told when there is a list."""
    chosen = choose(wanted, listed(states))
    assert chosen.symbols == list(dict.fromkeys(wanted))
    assert chosen.unknown == [name for name in wanted if states and name not in states]
    assert not needs_listing(wanted)


@given(listings)
def test_all_and_patterns_mean_the_live_ones(states):
    """`all` is every live one, a pattern those that it fits, both in order of name."""
    live = sorted(name for name, state in states.items() if state == "live")
    assert choose(["all"], listed(states)) == (live, [])
    assert choose(["*-USDT"], listed(states)).symbols == [n for n in live if n.endswith("-USDT")]
    assert choose(["?TH-*"], listed(states)).symbols == [n for n in live if n.startswith("ETH-")]
    assert choose(["SOL-USDT", "all"], listed(states)).symbols == [
        "SOL-USDT",
        *(name for name in live if name != "SOL-USDT"),
    ]
    assert all(needs_listing(["BTC-USDT", name]) for name in ("all", "*-USDT", "?TH-*", "[AB]-*"))


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("btc/usdt", "BTC-USDT"),
        ("BTC_USDT", "BTC-USDT"),
        ("BTC/USDT:USDT", "BTC-USDT"),
        ("BTC-USDT-SWAP", "BTC-USDT"),
        ("eth", "ETH-USDT"),
        ("BTC-SWAP", "BTC-USDT"),
        ("BTC:PERP", "BTC-USDT"),
        ("BTC-USTD", "BTC-USDT"),
        ("QQQQQQ", None),
    ],
)
def test_another_way_of_writing_finds_the_symbol(wrong, meant):
    """Signs, case, a kind of contract or a slip of a letter do not hide which one is meant."""
    known = ["BTC-USDT", "ETH-USDT", "ETH-USDC"]
    assert suggest_symbol(wrong, known) == meant
    said = f"{wrong} is not a BloFin instrument"
    assert unknown_symbols_text(wrong, known) == (
        f"{said}; did you mean {meant}?" if meant else said
    )
