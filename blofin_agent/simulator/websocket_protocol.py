"""The websocket's grammar on the server's side: requests in, acknowledgements and pushes out."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import msgspec

from blofin_agent.domain.candle import Timeframe
from blofin_agent.simulator.market import Market, Row
from blofin_agent.simulator.ticker import ticker, trade

MAX_ARGUMENTS_BYTES = 4_096
"""The arguments of one message may not be longer. Source: BloFin's API documentation."""

_CANDLE = "candle"
_QUOTED = 500  # of a refused request, in its error


class Topic(NamedTuple):
    """What can be subscribed to."""

    channel: str
    inst_id: str

    @property
    def bar(self) -> Timeframe | None:
        """Return the bar of a candle channel; None for another, or for no bar of BloFin's."""
        if not self.channel.startswith(_CANDLE):
            return None
        try:
            return Timeframe(self.channel.removeprefix(_CANDLE))
        except ValueError:
            return None


class _Argument(msgspec.Struct, rename={"inst_id": "instId"}):
    channel: str
    inst_id: str


class _Request(msgspec.Struct):
    op: Literal["subscribe", "unsubscribe"]
    args: msgspec.Raw


@dataclass(frozen=True, slots=True)
class ProtocolReply:
    """What a message leads to: texts to send back, and topics to add or to take away."""

    texts: tuple[str, ...] = ()
    added: tuple[Topic, ...] = ()
    removed: tuple[Topic, ...] = ()


_decode_request = msgspec.json.Decoder(_Request).decode
_decode_arguments = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_argument = msgspec.json.Decoder(_Argument).decode


def reply_to(market: Market, text: str) -> ProtocolReply:
    """Decide what a client's text leads to. Never raises.

    A request is acknowledged one argument by one; what is refused is named only inside an
    error's text. Source: BloFin's API documentation, "WebSocket".
    """
    if text == "ping":
        return ProtocolReply(("pong",))
    try:
        request = _decode_request(text)
        arguments = _decode_arguments(request.args)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return ProtocolReply((_refusal(text),))
    if len(bytes(request.args)) > MAX_ARGUMENTS_BYTES:
        return ProtocolReply((_refusal(text),))
    texts: list[str] = []
    topics: list[Topic] = []
    for argument in arguments:
        topic = _topic(market, argument)
        if topic is None:
            shown = bytes(argument).decode()
            texts.append(_refusal(f'{{"op":"{request.op}","args":[{shown}]}}'))
        else:
            texts.append(f'{{"event":"{request.op}","arg":{_arg(topic)}}}')
            topics.append(topic)
    if request.op == "subscribe":
        return ProtocolReply(tuple(texts), added=tuple(topics))
    return ProtocolReply(tuple(texts), removed=tuple(topics))


def pushes(market: Market, topic: Topic, last_ms: int, now_ms: int) -> Iterable[str]:
    """Return what a topic's subscribers are sent at a moment, the last time having been `last_ms`.

    For a candle: what has become complete since, then the candle that is open now. Where the
    exchange has no candle there is no push.
    """
    bar = topic.bar
    if bar is not None:
        opened, now = bar.floor(last_ms), bar.floor(now_ms)
        rows = [market.row(topic.inst_id, bar, opened)] if opened < now else []
        rows.append(market.open_row(topic.inst_id, bar, now_ms))
        return [_row_push(topic, row) for row in rows if row is not None]
    show = ticker if topic.channel == "tickers" else trade
    data = show(market, topic.inst_id, now_ms)
    if data is None:
        return []
    return [f'{{"arg":{_arg(topic)},"data":[{msgspec.json.encode(data).decode()}]}}']


def refuse(topic: Topic) -> str:
    """Return the error that refuses a subscription."""
    return _refusal(f'{{"op":"subscribe","args":[{_arg(topic)}]}}')


def _topic(market: Market, argument: msgspec.Raw) -> Topic | None:
    try:
        read = _decode_argument(argument)
    except (msgspec.DecodeError, RecursionError):
        return None
    topic = Topic(read.channel, read.inst_id)
    known = topic.channel in {"trades", "tickers"} or topic.bar is not None
    return topic if known and topic.inst_id in market.instruments else None


def _row_push(topic: Topic, row: Row) -> str:
    columns = '","'.join(row)  # digits and dots: nothing that JSON would escape
    return f'{{"arg":{_arg(topic)},"data":[["{columns}"]]}}'


def _arg(topic: Topic) -> str:
    return f'{{"channel":"{topic.channel}","instId":"{topic.inst_id}"}}'


def _refusal(request: str) -> str:
    shown = request[:_QUOTED].encode(errors="replace").decode()
    message = f"Invalid request: {shown}"
    return msgspec.json.encode({"event": "error", "code": "60012", "msg": message}).decode()
