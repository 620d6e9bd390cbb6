"""Laws of a wire trade: a good one becomes a tick, a bad one its reason, and nothing raises."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blofin_agent.domain.candle import MINUTE, RejectedRow, RejectReason
from blofin_agent.domain.trade import EARLIEST_TRADE_MS, MAX_AHEAD_MS, Trade
from blofin_agent.protocol.trades import judge_trades
from blofin_agent.protocol.websocket import Push, decode_frame

NOW = 1_790_000_000_000
ARG = {"channel": "trades", "instId": "BTC-USDT"}
TRADE = {
    "instId": "BTC-USDT",
    "tradeId": "0815",
    "price": "67000.5",
    "size": "0.1",
    "side": "buy",
    "ts": str(NOW),
}
TICK = Trade("0815", NOW, 67_000.5, 0.1, "buy")


def judge(*trades: object) -> list[Trade | RejectedRow]:
    push = decode_frame(json.dumps({"arg": ARG, "data": list(trades)}))
    assert isinstance(push, Push)
    return judge_trades(push, NOW)


def reasons(*trades: object) -> list[object]:
    return [one.reason if isinstance(one, RejectedRow) else one for one in judge(*trades)]


def test_a_trade_of_the_documentation_is_a_tick():
    """As strings, as numbers, and without the symbol's name in it."""
    assert judge(TRADE) == [TICK]
    numbers = TRADE | {"tradeId": 815, "price": 67000.5, "size": 0.1, "ts": NOW}
    assert judge(numbers) == [TICK._replace(trade_id="815")]
    del numbers["instId"]
    assert judge(numbers, TRADE) == [TICK._replace(trade_id="815"), TICK]
    assert judge() == []


def test_a_trades_id_stays_as_it_was_written():
    """Zeros before a number are part of it: it is text."""
    assert judge(TRADE | {"tradeId": "007"}) == [TICK._replace(trade_id="007")]


BAD = [
    (RejectReason.SHAPE, None),
    (RejectReason.SHAPE, []),
    (RejectReason.SHAPE, {}),
    (RejectReason.SHAPE, "x" * 500),
    (RejectReason.SHAPE, ["1", "2", "3", "1", "2", "10", "0.5", "20", "1"]),
    (RejectReason.SHAPE, TRADE | {"side": "BUY"}),
    (RejectReason.SHAPE, TRADE | {"side": ""}),
    (RejectReason.SHAPE, TRADE | {"tradeId": ""}),
    (RejectReason.SHAPE, TRADE | {"tradeId": "1" * 65}),
    (RejectReason.SHAPE, TRADE | {"tradeId": "1\x00"}),
    (RejectReason.SHAPE, TRADE | {"tradeId": "1\n"}),
    (RejectReason.SHAPE, TRADE | {"tradeId": None}),
    (RejectReason.SHAPE, TRADE | {"instId": "ETH-USDT"}),
    (RejectReason.SHAPE, TRADE | {"price": "cheap"}),
    (RejectReason.SHAPE, TRADE | {"price": "1e999"}),
    (RejectReason.SHAPE, TRADE | {"ts": "yesterday"}),
    (RejectReason.SHAPE, {name: value for name, value in TRADE.items() if name != "size"}),
    (RejectReason.IMPOSSIBLE, TRADE | {"price": "0"}),
    (RejectReason.IMPOSSIBLE, TRADE | {"price": "-1"}),
    (RejectReason.IMPOSSIBLE, TRADE | {"price": "nan"}),
    (RejectReason.IMPOSSIBLE, TRADE | {"price": "inf"}),
    (RejectReason.IMPOSSIBLE, TRADE | {"size": "0"}),
    (RejectReason.IMPOSSIBLE, TRADE | {"size": "nan"}),
    (RejectReason.IMPOSSIBLE, TRADE | {"size": "inf"}),
    (RejectReason.OUTSIDE, TRADE | {"ts": str(NOW + MAX_AHEAD_MS + 1)}),
    (RejectReason.OUTSIDE, TRADE | {"ts": str(EARLIEST_TRADE_MS - 1)}),
    (RejectReason.OUTSIDE, TRADE | {"ts": "1767225600"}),
    (RejectReason.OUTSIDE, TRADE | {"ts": "-1"}),
]


@pytest.mark.parametrize(("reason", "trade"), BAD)
def test_each_reason_is_told_with_the_text(reason, trade):
    """Shortened for one line of the log."""
    (bad,) = judge(trade)
    assert isinstance(bad, RejectedRow)
    assert bad.reason is reason
    assert 0 < len(bad.text) <= 203


@pytest.mark.parametrize("ts", [EARLIEST_TRADE_MS, NOW + MAX_AHEAD_MS])
def test_the_edges_of_what_is_plausible_are_inside(ts):
    """Not before 2010, at most a minute ahead of the clock."""
    assert judge(TRADE | {"ts": str(ts)}) == [TICK._replace(ts=ts)]
    assert MAX_AHEAD_MS == MINUTE


@given(st.lists(st.one_of(st.just((TICK, TRADE)), st.sampled_from(BAD)), max_size=6))
def test_a_bad_trade_never_costs_the_good_ones(drawn):
    """In their order, each is a tick or its reason."""
    assert reasons(*(trade for _, trade in drawn)) == [expected for expected, _ in drawn]


values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(st.characters()),
        st.sampled_from(["nan", "inf", str(10**400), "9" * 5_000, "buy", "1", str(NOW)]),
    ),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
broken = st.fixed_dictionaries({}, optional=dict.fromkeys(TRADE, values)).map(
    lambda some: TRADE | some
)


@given(st.lists(st.one_of(broken, values), max_size=3), st.booleans())
def test_nothing_raises_and_a_tick_is_always_fit_to_be_stored(trades, ascii_only):
    """Whatever comes, it is a reason or a tick within its bounds."""
    push = decode_frame(json.dumps({"arg": ARG, "data": trades}, ensure_ascii=ascii_only))
    for one in judge_trades(push, NOW) if isinstance(push, Push) else ():
        if isinstance(one, RejectedRow):
            assert len(one.text) <= 4 * 200 + 3  # what is not printed is written longer
            continue
        assert 0 < len(one.trade_id) <= 64
        assert one.trade_id.isascii()
        assert one.trade_id.isprintable()
        assert 0 < one.price < float("inf")
        assert 0 < one.size < float("inf")
        assert one.side in ("buy", "sell")
        assert EARLIEST_TRADE_MS <= one.ts <= NOW + MAX_AHEAD_MS


@given(st.binary())
def test_no_bytes_raise(raw):
    """Not even those that are no JSON, or no UTF-8."""
    (one,) = judge_trades(Push("BTC-USDT", "trades", [raw]), NOW)
    assert isinstance(one, RejectedRow)
