"""The websocket's grammar: what a message leads to, and what a topic pushes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blofin_agent.domain.candle import MINUTE, Timeframe
from blofin_agent.simulator.market import Market
from blofin_agent.simulator.websocket_protocol import (
    MAX_ARGUMENTS_BYTES,
    ProtocolReply,
    Topic,
    pushes,
    reply_to,
)

NOW = 1_790_000_012_345
OPEN = NOW - NOW % MINUTE
MARKET = Market(1, 2, hole_rate=0)
BITCOIN = Topic("candle1m", "BTC-USDT")


def request(op: str, *topics: tuple[str, str]) -> str:
    return json.dumps({"op": op, "args": [{"channel": c, "instId": i} for c, i in topics]})


def refused(reply: ProtocolReply) -> str:
    (text,) = reply.texts
    error = json.loads(text)
    assert (error["event"], error["code"]) == ("error", "60012")
    assert set(error) == {"event", "code", "msg"}
    assert error["msg"].startswith("Invalid request: ")
    assert reply.added == reply.removed == ()
    return error["msg"]


def test_ping_is_answered_with_pong():
    assert reply_to(MARKET, "ping") == ProtocolReply(("pong",))


@pytest.mark.parametrize("op", ["subscribe", "unsubscribe"])
def test_a_request_is_acknowledged_one_argument_by_one(op):
    topics = [("candle1m", "BTC-USDT"), ("trades", "ETH-USDT"), ("tickers", "BTC-USDT")]
    reply = reply_to(MARKET, request(op, *topics))
    assert [json.loads(text) for text in reply.texts] == [
        {"event": op, "arg": {"channel": channel, "instId": name}} for channel, name in topics
    ]
    assert reply.added == (tuple(topics) if op == "subscribe" else ())
    assert reply.removed == (tuple(topics) if op == "unsubscribe" else ())


def test_what_is_refused_is_named_only_in_the_text_and_the_rest_goes_on():
    reply = reply_to(MARKET, request("subscribe", ("candle1m", "NO-USDT"), BITCOIN))
    error, acknowledged = map(json.loads, reply.texts)
    assert error["code"] == "60012"
    assert "arg" not in error
    assert "NO-USDT" in error["msg"]
    assert acknowledged["event"] == "subscribe"
    assert reply.added == (BITCOIN,)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pong",
        "{}",
        "[1]",
        '{"op":"subscribe"}',
        '{"op":"subscribe","args":{}}',
        '{"op":"login","args":[]}',
        '{"op":"subscribe","args":[{"channel":"candle1m"}]}',
        '{"op":"subscribe","args":[{"channel":"candle7m","instId":"BTC-USDT"}]}',
        '{"op":"subscribe","args":[{"channel":"books","instId":"BTC-USDT"}]}',
        "[" * 50_000,
        "\ud800",
    ],
)
def test_nonsense_is_refused(text):
    refused(reply_to(MARKET, text))


@given(st.text() | st.recursive(st.none() | st.text(), st.lists).map(json.dumps))
def test_nothing_that_comes_is_an_error_of_ours(text):
    for reply in reply_to(MARKET, text).texts:
        assert reply == "pong" or json.loads(reply)


def test_arguments_may_have_4096_bytes_and_no_more():
    topics = [("candle1m", "BTC-USDT")] * 80
    text = request("subscribe", *topics)
    spare = MAX_ARGUMENTS_BYTES - len(json.dumps(json.loads(text)["args"]))
    assert spare >= 0
    fits = text.replace('"args": [', '"args": [' + " " * spare)
    assert len(reply_to(MARKET, fits).added) == 80
    refused(reply_to(MARKET, fits.replace('"args": [', '"args": [ ')))


def pushed(topic: Topic, last: int, now: int) -> list[list[str]]:
    texts = [json.loads(text) for text in pushes(MARKET, topic, last, now)]
    assert all(text["arg"] == {"channel": topic[0], "instId": topic[1]} for text in texts)
    assert all(len(text["data"]) == 1 for text in texts)
    return [text["data"][0] for text in texts]


def test_a_candle_is_pushed_while_open_and_once_when_complete():
    assert pushed(BITCOIN, OPEN, OPEN + 1_000) == [
        list(MARKET.open_row("BTC-USDT", Timeframe.M1, OPEN + 1_000))
    ]
    done, begun = pushed(BITCOIN, OPEN + 59_000, OPEN + 60_000)
    assert done == list(MARKET.row("BTC-USDT", Timeframe.M1, OPEN))
    assert begun == list(MARKET.open_row("BTC-USDT", Timeframe.M1, OPEN + 60_000))
    assert (done[8], begun[8]) == ("1", "0")


def test_a_longer_bar_is_complete_at_its_own_close():
    hour = Topic("candle1H", "BTC-USDT")
    close = Timeframe.H1.floor(NOW) + Timeframe.H1.ms
    assert [row[8] for row in pushed(hour, close - 60_000, close - 1)] == ["0"]
    assert [row[8] for row in pushed(hour, close - 1_000, close)] == ["1", "0"]


def test_nothing_is_pushed_where_there_is_no_candle():
    market = Market(1, ["BTC-USDT"], hole_rate=0, listed={"BTC-USDT": OPEN + MINUTE})
    for channel in ("candle1m", "trades", "tickers"):
        assert list(pushes(market, Topic(channel, "BTC-USDT"), OPEN, OPEN + 1_000)) == []
    first = list(pushes(market, BITCOIN, OPEN + 59_000, OPEN + 60_000))
    assert [json.loads(text)["data"][0][8] for text in first] == ["0"]


def test_trades_and_tickers_tell_the_price_of_the_open_candle():
    price = MARKET.open_row("BTC-USDT", Timeframe.M1, NOW)[4]
    (trade,) = pushed(Topic("trades", "BTC-USDT"), OPEN, NOW)
    (ticker,) = pushed(Topic("tickers", "BTC-USDT"), OPEN, NOW)
    assert set(trade) == {"instId", "tradeId", "price", "size", "side", "ts"}
    assert (trade["price"], ticker["last"]) == (price, price)
    assert trade["side"] in {"buy", "sell"}
    assert trade["ts"] == ticker["ts"] == str(NOW)
