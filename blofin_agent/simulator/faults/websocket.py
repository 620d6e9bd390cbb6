"""What is done wrong to pushes, acknowledgements and pongs."""

import json
from collections.abc import Sequence

from blofin_agent.simulator.faults.registry import Faults
from blofin_agent.simulator.faults.rows import another, spoil_candle
from blofin_agent.simulator.market import Market, Row
from blofin_agent.simulator.websocket_protocol import ProtocolReply, Topic, pushes, refuse

GARBAGE: tuple[str | bytes, ...] = (
    "",
    "null",
    "{",
    "\x00",
    b"\xff\xfe\x00\x01",
    '{"arg":{"channel":"candle1m"},"data":[]}',
    '{"arg":{"channel":"candle1m","instId":"BTC-USDT"},"data":[["x"]]}',
    '{"event":"subscribe"}',
    '{"event":"error","code":null,"msg":null}',
    "[" * 2_000,
)
OVERSIZE = "x" * (4 << 20)


def spoil_pushes(
    faults: Faults, market: Market, topic: Topic, texts: Sequence[str], last_ms: int, now_ms: int
) -> list[str]:
    """Return a topic's pushes of a moment as the faults in force make them."""
    symbol = topic.inst_id
    # With a symbol it is its pushes alone that do not come, without one it is the connection's.
    if faults.strikes("ws-silent", symbol) or faults.strikes("ws-pongs-only", symbol):
        return []
    if topic.bar is None:
        return list(texts)
    if faults.strikes("ws-foreign", symbol):
        other = pushes(market, topic._replace(inst_id=another(market, symbol)), last_ms, now_ms)
        texts = [_write(topic, _read(text)) for text in other]
    given = [
        (row, _write(topic, row))
        for text in texts
        if (row := spoil_candle(faults, symbol, topic.bar, _read(text), now_ms)) is not None
    ]
    if any(row[8] == "1" for row, _ in given) and faults.strikes("ws-no-complete", symbol):
        given = [(row, text) for row, text in given if row[8] != "1"]
    found = [text for _, text in given]
    if len(found) > 1 and faults.strikes("ws-shuffled", symbol):
        found.reverse()
    return found * 2 if found and faults.strikes("ws-repeated", symbol) else found


def spoil_reply(faults: Faults, answer: ProtocolReply) -> ProtocolReply:
    """Return the answer to a client's message as the faults in force make it."""
    if faults.strikes("ws-silent"):
        return ProtocolReply()
    if answer.texts == ("pong",):
        return ProtocolReply() if faults.strikes("ws-no-pong") else answer
    if faults.strikes("ws-pongs-only"):
        return ProtocolReply()
    refused = [
        topic for topic in answer.added if faults.strikes("ws-refuse-subscription", topic[1])
    ]
    if refused:
        kept = tuple(topic for topic in answer.added if topic not in refused)
        texts = tuple(refuse(topic) for topic in refused)
        return ProtocolReply(texts, added=kept, removed=answer.removed)
    if answer.added and faults.strikes("ws-no-ack"):
        return ProtocolReply((), answer.added, answer.removed)
    return answer


def _read(text: str) -> Row:
    row: Row = tuple(json.loads(text)["data"][0])
    return row


def _write(topic: Topic, row: Row) -> str:
    arg = {"channel": topic.channel, "instId": topic.inst_id}
    return json.dumps({"arg": arg, "data": [row]}, separators=(",", ":"))
