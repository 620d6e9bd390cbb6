"""Frames: BloFin's websocket grammar, both ways.

Source of every fact: BloFin's API documentation, "WebSocket".
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from blofin_agent.domain.candle import Candle, RejectedRow, RejectReason, Timeframe
from blofin_agent.domain.sanitize import MAX_CODE, shorten
from blofin_agent.protocol.candle_row import UNREADABLE, WireRow, judge_row

PING = "ping"
TRADES = "trades"
"""The name of the channel of trades."""
MAX_SUBSCRIBE_BYTES = 4_096
"""The arguments of one subscribe message may not be longer."""


class Push(msgspec.Struct, frozen=True, gc=False):
    """Rows of one symbol's channel: of candles, or of trades."""

    symbol: str
    channel: str
    rows: Sequence[WireRow | bytes]
    """Decoded rows; a row that could not be decoded, or a trade, is here as its raw JSON."""


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A subscription stands."""

    symbol: str
    channel: str


@dataclass(frozen=True, slots=True)
class SubscriptionError:
    """A subscription was refused. The argument stands only inside the text."""

    code: str
    text: str
    """As BloFin wrote it: not fit to be shown."""

    def names(self, symbols: Iterable[str]) -> list[str]:
        """Return those of the symbols that the text names."""
        words = set(_WORDS.findall(self.text))
        return [symbol for symbol in symbols if symbol in words]


@dataclass(frozen=True, slots=True)
class Unsubscribed:
    """A subscription was ended, as we asked."""

    symbol: str


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to our text `ping`."""


@dataclass(frozen=True, slots=True)
class MalformedMessage:
    """A frame that is not in BloFin's grammar."""

    text: str


Frame = Push | Subscribed | SubscriptionError | Unsubscribed | Pong | MalformedMessage

_MAX_REFUSAL = 2 * MAX_SUBSCRIBE_BYTES
"""Room for the whole message that a refusal repeats, and for the words around it."""
_WORDS = re.compile(r"\w+(?:-\w+)+")


class _Arg(msgspec.Struct, rename="camel", gc=False):
    channel: str = ""
    inst_id: str = ""


class _WirePush(msgspec.Struct, gc=False):
    arg: _Arg
    data: list[WireRow]
    event: str | None = None


class _WireFrame(msgspec.Struct):
    event: str | None = None
    arg: _Arg | None = None
    code: str | int | None = None
    msg: str | None = None
    data: list[msgspec.Raw] | None = None


_push = msgspec.json.Decoder(_WirePush, strict=False)
_row = msgspec.json.Decoder(WireRow, strict=False)
_frame = msgspec.json.Decoder(_WireFrame)


def decode_frame(text: str | bytes) -> Frame:
    """Say what one websocket message means. Never raises."""
    if text in ("pong", b"pong"):
        return Pong()
    try:
        push = _push.decode(text)
    except UNREADABLE:
        return _decode_slowly(text)
    if push.event is None and push.arg.inst_id:
        return Push(push.arg.inst_id, push.arg.channel, push.data)
    return _decode_slowly(text)


def _decode_slowly(text: str | bytes) -> Frame:
    try:
        frame = _frame.decode(text)
    except UNREADABLE:
        return MalformedMessage(shorten(text))
    if frame.event == "error":
        return SubscriptionError(
            shorten(str(frame.code), MAX_CODE), (frame.msg or "")[:_MAX_REFUSAL]
        )
    if frame.arg is not None and frame.arg.inst_id:
        if frame.event == "subscribe":
            return Subscribed(frame.arg.inst_id, frame.arg.channel)
        if frame.event == "unsubscribe":
            return Unsubscribed(frame.arg.inst_id)
        if frame.event is None and frame.data is not None:
            raws = [bytes(raw) for raw in frame.data]
            trades = frame.arg.channel == TRADES
            rows = raws if trades else [_row_or_raw(raw) for raw in raws]
            return Push(frame.arg.inst_id, frame.arg.channel, rows)
    return MalformedMessage(shorten(text))


def _row_or_raw(raw: bytes) -> WireRow | bytes:
    try:
        return _row.decode(raw)
    except UNREADABLE:
        return raw


def judge_push(push: Push, bar: Timeframe, closed_before: int) -> list[Candle | RejectedRow]:
    """Turn the rows of a push into candles and bad rows, without those of the open candle.

    A live row without `confirm` is not taken as complete: its minute is fetched by REST.
    """
    judged: list[Candle | RejectedRow] = []
    for row in push.rows:
        if isinstance(row, bytes):
            judged.append(RejectedRow(RejectReason.SHAPE, shorten(row)))
        elif row.complete:
            judged.append(judge_row(row, bar, closed_before))
    return judged


def channel(bar: Timeframe) -> str:
    """Return the name of a bar's candle channel."""
    return f"candle{bar.value}"


def subscribe_messages(
    symbols: Iterable[str], channel_name: str, *, per_message: int, op: str = "subscribe"
) -> list[str]:
    """Return the messages that subscribe (or `op="unsubscribe"`) a channel of the symbols.

    None carries more than `per_message` symbols or arguments of more than 4,096 bytes.
    """
    messages: list[str] = []
    batch: list[dict[str, str]] = []
    for symbol in symbols:
        arg = {"channel": channel_name, "instId": symbol}
        if batch and (
            len(batch) >= per_message
            or len(msgspec.json.encode([*batch, arg])) > MAX_SUBSCRIBE_BYTES
        ):
            messages.append(_message(op, batch))
            batch = []
        batch.append(arg)
    return [*messages, _message(op, batch)] if batch else messages


def _message(op: str, batch: list[dict[str, str]]) -> str:
    return msgspec.json.encode({"op": op, "args": batch}).decode()
