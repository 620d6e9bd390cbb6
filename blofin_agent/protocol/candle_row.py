"""Parse one candle row of BloFin's REST and websocket data."""

import math
from collections.abc import Sequence
from operator import le

import msgspec

from blofin_agent.domain.candle import Candle, RejectedRow, RejectReason, Timeframe
from blofin_agent.domain.sanitize import shorten


class WireRow(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A row as BloFin sends it: strings; decoded leniently into numbers.

    `confirm` is "1" once the candle is complete, "0" before, "" when the column is absent.
    Source: BloFin's API documentation, "Get Candlesticks".
    """

    open_time: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    volume_base: float
    volume_quote: float
    confirm: str | int = ""

    @property
    def complete(self) -> bool:
        """Whether BloFin calls the candle complete."""
        return self.confirm in ("1", 1)


_row_decoder = msgspec.json.Decoder(WireRow, strict=False)

UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeError)
"""What msgspec raises on foreign bytes: text that is not UTF-8 comes as Python's own error."""


def parse_row(raw: bytes, bar: Timeframe, closed_before: int) -> Candle | RejectedRow:
    """Turn one raw JSON row into a Candle, or say why it is none. Never raises.

    `closed_before` (ms): bars that open earlier are over. It stands in for an absent `confirm`
    column, and a row that claims to be complete must open before it.
    """
    try:
        row = _row_decoder.decode(raw)
    except UNREADABLE:
        return RejectedRow(RejectReason.SHAPE, shorten(raw), _readable_time(raw))
    return judge_row(row, bar, closed_before)


def judge_row(row: WireRow, bar: Timeframe, closed_before: int) -> Candle | RejectedRow:
    """Turn a decoded row into a Candle, or say why it is none. See `parse_row`."""
    time, o, h, low, c, volume, base, quote = (
        row.open_time,
        row.open,
        row.high,
        row.low,
        row.close,
        row.volume,
        row.volume_base,
        row.volume_quote,
    )
    if bar.floor(time) != time:
        return _bad(row, RejectReason.OFF_GRID)
    if not row.complete and row.confirm != "":
        return _bad(row, RejectReason.OPEN)
    if time < 0:
        return _bad(row, RejectReason.OUTSIDE)
    if time >= closed_before:
        return _bad(row, RejectReason.OUTSIDE if row.complete else RejectReason.OPEN)
    if not all_possible((o,), (h,), (low,), (c,), (volume,), (base,), (quote,)):
        return _bad(row, RejectReason.IMPOSSIBLE)
    return Candle(time, o, h, low, c, volume, base, quote)


def all_possible(
    opened: Sequence[float],
    high: Sequence[float],
    low: Sequence[float],
    close: Sequence[float],
    *volumes: Sequence[float],
) -> bool:
    """Return whether all figures can be candles': finite, positive, open and close in high and low.

    Each argument is a column of at least one row, of one length all.
    """
    # Comparisons with NaN are false, so each condition is stated as what must hold; a sum is NaN
    # where one of its parts is.
    return (
        min(low) > 0
        and max(high) < math.inf
        and all(map(le, low, opened))
        and all(map(le, opened, high))
        and all(map(le, low, close))
        and all(map(le, close, high))
        and all(min(volume) >= 0 and sum(volume) < math.inf for volume in volumes)
    )


def _bad(row: WireRow, reason: RejectReason) -> RejectedRow:
    return RejectedRow(reason, shorten(msgspec.json.encode(row)), row.open_time)


def _readable_time(raw: bytes) -> int | None:
    try:
        return msgspec.json.decode(raw, type=_TimeOnly, strict=False).open_time
    except UNREADABLE:
        return None


class _TimeOnly(msgspec.Struct, array_like=True):
    open_time: int
