"""Laws of BloFin's websocket grammar, both ways."""

import json
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blofin_agent.domain.candle import Candle, RejectedRow, RejectReason, Timeframe
from blofin_agent.protocol.candle_row import WireRow
from blofin_agent.protocol.websocket import (
    MAX_SUBSCRIBE_BYTES,
    Frame,
    MalformedMessage,
    Pong,
    Push,
    Subscribed,
    SubscriptionError,
    Unsubscribed,
    channel,
    decode_frame,
    judge_push,
    subscribe_messages,
)

STEP = Timeframe.M1.ms
START = 1_767_225_600_000
ARG = {"channel": "candle1m", "instId": "BTC-USDT"}
ROW = [str(START), "2", "3", "1", "2", "10", "0.5", "20", "1"]
CANDLE = Candle(START, 2.0, 3.0, 1.0, 2.0, 10.0, 0.5, 20.0)

names = st.from_regex(r"[A-Z0-9_]{1,12}(-[A-Z0-9]{2,5}){1,2}", fullmatch=True)
symbols = st.lists(
    st.one_of(names, st.sampled_from(["BTC-USDT", "1000BTC-USDT", "BTC-USDT-1", "龙-USDT"])),
    unique=True,
    max_size=150,
)


def decode(document: object) -> Frame:
    return decode_frame(json.dumps(document))


def judge(document: object) -> list[Candle | RejectedRow]:
    push = decode(document)
    assert isinstance(push, Push)
    return judge_push(push, Timeframe.M1, START + STEP)


def test_each_frame_of_the_documentation_is_told():
    """Push, acknowledgement of both kinds, refusal and pong, as text or as bytes."""
    push = decode({"arg": ARG, "data": [ROW]})
    assert push == Push("BTC-USDT", "candle1m", [WireRow(*CANDLE, "1")])
    assert decode({"event": "subscribe", "arg": ARG}) == Subscribed("BTC-USDT", "candle1m")
    assert decode({"event": "unsubscribe", "arg": ARG}) == Unsubscribed("BTC-USDT")
    refused = {"event": "error", "code": "60012", "msg": "Invalid request: x"}
    assert decode(refused) == SubscriptionError("60012", "Invalid request: x")
    assert decode({"event": "error", "code": 1}) == SubscriptionError("1", "")
    assert decode_frame("pong") == decode_frame(b"pong") == Pong()
    assert decode_frame(json.dumps({"arg": ARG, "data": [ROW]}).encode()) == push


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"arg": ARG},
        {"arg": {"channel": "candle1m"}, "data": [ROW]},
        {"arg": {"channel": "candle1m"}, "data": [[]]},
        {"arg": ARG, "data": "rows"},
        {"arg": "BTC-USDT", "data": []},
        {"event": "unsubscribe"},
        {"event": "subscribe"},
        {"event": "login", "arg": ARG, "data": [[]]},
        [],
        None,
        "pong",
    ],
)
def test_what_is_not_in_the_grammar_is_garbled(document):
    """A frame that says nothing known is shown with its text."""
    assert decode(document) == MalformedMessage(json.dumps(document))


@given(
    st.one_of(st.text(), st.sampled_from(["subscribe", "unsubscribe", "error", "null"])),
    st.lists(st.sampled_from([ROW, [], None]), max_size=3),
)
def test_a_frame_with_an_event_is_no_push(event, data):
    """Whatever data it carries, the event alone says what it means."""
    frame = {"event": event, "arg": ARG}
    told = decode(frame | {"data": data})
    assert not isinstance(told, Push)
    assert told == decode(frame) or (
        isinstance(told, MalformedMessage) and event not in KNOWN_EVENTS
    )
    assert isinstance(decode({"event": None, "arg": ARG, "data": data}), Push)


KNOWN_EVENTS = {"subscribe", "unsubscribe", "error"}

rows = st.one_of(
    st.just((CANDLE, ROW)),
    st.just((CANDLE, [*ROW[:8], 1])),
    st.just((None, [*ROW[:8], "0"])),
    st.just((None, [*ROW[:8], 0])),
    st.just((None, ROW[:8])),
    st.just((RejectReason.SHAPE, ROW[:7])),
    st.just((RejectReason.SHAPE, None)),
    st.just((RejectReason.SHAPE, "x" * 500)),
    st.just((RejectReason.IMPOSSIBLE, [*ROW[:2], "1", *ROW[3:]])),
    st.just((RejectReason.OFF_GRID, [str(START + 1), *ROW[1:]])),
    st.just((RejectReason.OUTSIDE, [str(START + STEP), *ROW[1:]])),
)


@given(st.lists(rows, max_size=8))
def test_bad_rows_never_cost_the_good_ones_of_a_push(drawn):
    """Complete rows become candles, others their reason, those of the open candle nothing."""
    judged = judge({"arg": ARG, "data": [wire for _, wire in drawn]})
    assert [one.reason if isinstance(one, RejectedRow) else one for one in judged] == [
        expected for expected, _ in drawn if expected is not None
    ]
    assert all(len(one.text) <= 203 for one in judged if isinstance(one, RejectedRow))


def read(frame: str | bytes) -> None:
    told = decode_frame(frame)
    assert isinstance(told, Frame)
    if isinstance(told, Push):
        for one in judge_push(told, Timeframe.M1, START + STEP):
            assert isinstance(one, Candle | RejectedRow)
    if isinstance(told, SubscriptionError):
        assert told.names([]) == []


json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(st.characters()),
        st.sampled_from([ROW, "1e999", "nan", str(10**400), "error", "subscribe"]),
    ),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(
    st.one_of(
        st.binary(),
        st.text(st.characters()),  # lone surrogates among them
        st.fixed_dictionaries(
            {},
            optional={
                "event": json_values,
                "arg": st.one_of(st.just(ARG), json_values),
                "code": json_values,
                "msg": json_values,
                "data": st.one_of(st.lists(st.one_of(st.just(ROW), json_values)), json_values),
            },
        ).map(lambda document: json.dumps(document, ensure_ascii=False)),
    )
)
def test_no_frame_raises(frame):
    """Whatever text or bytes arrive, they are told as one of the frames."""
    read(frame)


@pytest.mark.parametrize(
    "frame",
    [
        "[" * 100_000,
        '{"arg":{"instId":"\\ud800"},"data":[]}',
        b'{"arg":{"instId":"BTC-USDT"},"data":[["1","1","1","1","1","1","1","1","\xff"],[]]}',
        b'{"arg":{"instId":"\xff"},"data":[[]]}',
        b'{"event":"error","code":"1","msg":"\xff"}',
        '{"arg":{"instId":"BTC-USDT"},"data":[' + "[" * 100_000 + "]" * 100_000 + "]}",
        '{"event":"error","code":' + "9" * 5_000 + "}",
        "\ud800",
    ],
)
def test_hostile_frames_do_not_raise(frame):
    """Depth without end, text that is not UTF-8, numbers of 5,000 digits."""
    read(frame)


@given(
    symbols, st.integers(1, 200), st.sampled_from(Timeframe), st.sampled_from(["subscribe", "un"])
)
def test_subscriptions_tile_the_symbols(wanted, per_message, bar, op):
    """In order, each once; no message has more symbols or bytes of arguments than may be."""
    messages = subscribe_messages(wanted, channel(bar), per_message=per_message, op=op)
    decoded = [json.loads(message) for message in messages]
    sent = [arg for message in decoded for arg in message["args"]]
    assert sent == [{"channel": f"candle{bar.value}", "instId": symbol} for symbol in wanted]
    assert all(message["op"] == op and message["args"] for message in decoded)
    sizes = [len(message["args"]) for message in decoded]
    assert all(size <= per_message for size in sizes)
    lengths = [arguments(message["args"]) for message in decoded]
    assert all(length <= 4_096 == MAX_SUBSCRIBE_BYTES for length in lengths)
    for one, after in pairwise(decoded):
        full = len(one["args"]) == per_message
        assert full or arguments([*one["args"], after["args"][0]]) > 4_096
    assert channel(bar) == f"candle{bar.value}"


@pytest.mark.parametrize(("length", "messages"), [(4_096, 1), (4_097, 2)])
def test_a_message_is_filled_to_its_last_byte(length, messages):
    """Arguments of 4,096 bytes go in one message, one byte more takes another."""
    wanted = ["A-USDT", "B-USDT"]
    short = arguments([{**ARG, "instId": symbol} for symbol in wanted])
    wanted[1] = "B" * (length - short) + wanted[1]
    assert len(subscribe_messages(wanted, "candle1m", per_message=8)) == messages


def arguments(args: list[dict[str, str]]) -> int:
    return len(json.dumps(args, separators=(",", ":"), ensure_ascii=False).encode())


@given(symbols, st.integers(1, 200))
@example([f"TOKEN{i}-USDT" for i in range(200)], 200)
def test_a_refusal_names_every_symbol_it_repeats(wanted, per_message):
    """The text repeats our message, however long it is; others of ours are not named by it."""
    for message in subscribe_messages(wanted, "candle1m", per_message=per_message):
        told = decode({"event": "error", "code": "60012", "msg": f"Invalid request: {message}"})
        assert isinstance(told, SubscriptionError)
        assert told.names(wanted) == [arg["instId"] for arg in json.loads(message)["args"]]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Invalid request: channel:candle1m,instId:BTC-USDT", ["BTC-USDT"]),
        ("instId=BTC-USDT.", ["BTC-USDT"]),
        ("1000BTC-USDT", ["1000BTC-USDT"]),
        ("BTC-USDT-1", []),
        ("龙BTC-USDT", []),
        ("龙-USDT does not exist", ["龙-USDT"]),
        ("ETH-USDT and BTC-USDT", ["BTC-USDT", "ETH-USDT"]),
        ("", []),
    ],
)
def test_a_refusal_names_whole_symbols_only(text, named):
    """A symbol inside a longer one is not named."""
    ours = ["BTC-USDT", "1000BTC-USDT", "龙-USDT", "ETH-USDT", "USDT"]
    assert SubscriptionError("60012", text).names(ours) == named
