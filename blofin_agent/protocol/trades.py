"""Tick: one trade of the `trades` channel; a wire object becomes a Tick or a BadRow."""

import math
import re
from typing import Literal

import msgspec

from blofin_agent.domain.candle import RejectedRow, RejectReason
from blofin_agent.domain.sanitize import shorten
from blofin_agent.domain.trade import EARLIEST_TRADE_MS, MAX_AHEAD_MS, Trade
from blofin_agent.protocol.candle_row import UNREADABLE, WireRow
from blofin_agent.protocol.websocket import Push

_TRADE_ID = re.compile(r"[!-~]{1,64}")


class _WireTrade(msgspec.Struct, rename="camel", frozen=True, gc=False):
    """A trade as BloFin sends it: strings; decoded leniently into numbers.

    Source: BloFin's API documentation, "Trades Channel".
    """

    trade_id: str | int
    price: float
    size: float
    side: Literal["buy", "sell"]
    ts: int
    inst_id: str = ""


_trade = msgspec.json.Decoder(_WireTrade, strict=False)


def judge_trades(push: Push, now_ms: int) -> list[Trade | RejectedRow]:
    """Turn the trades of a push into ticks and bad rows. Never raises. `now_ms`: the clock."""
    return [_judge(raw, push.symbol, now_ms) for raw in push.rows]


def _judge(raw: WireRow | bytes, symbol: str, now_ms: int) -> Trade | RejectedRow:
    if isinstance(raw, WireRow):
        # A candle's row, on the channel of trades.
        return RejectedRow(RejectReason.SHAPE, shorten(msgspec.json.encode(raw)))
    try:
        trade = _trade.decode(raw)
    except UNREADABLE:
        return RejectedRow(RejectReason.SHAPE, shorten(raw))
    trade_id = str(trade.trade_id)
    if not _TRADE_ID.fullmatch(trade_id) or trade.inst_id not in ("", symbol):
        return RejectedRow(RejectReason.SHAPE, shorten(raw))
    # Comparisons with NaN are false, so what must hold is stated.
    if not (0 < trade.price < math.inf and 0 < trade.size < math.inf):
        return RejectedRow(RejectReason.IMPOSSIBLE, shorten(raw))
    if not EARLIEST_TRADE_MS <= trade.ts <= now_ms + MAX_AHEAD_MS:
        return RejectedRow(RejectReason.OUTSIDE, shorten(raw))
    return Trade(trade_id, trade.ts, trade.price, trade.size, trade.side)
