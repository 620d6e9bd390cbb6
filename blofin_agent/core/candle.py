"""Candle, Bar, Source; a wire row becomes a Candle or a BadRow."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from operator import le
from typing import NamedTuple

import msgspec

from blofin_agent.core.foreign import shorten

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
LATEST_MS = 253_402_300_799_999
"""The last millisecond of the year 9999: no calendar here goes on."""

# The grid of weekly bars starts on a Monday; the epoch was a Thursday.
_FIRST_MONDAY = 4 * DAY
_UNITS = {"m": MINUTE, "H": HOUR, "D": DAY, "W": 7 * DAY}


class Source(StrEnum):
    """How a stored candle reached us. The values are public: users query them."""

    LIVE = "blofin_ws"
    FILL = "historical_fill"


class Bar(StrEnum):
    """A fixed-length bar of BloFin's, by its name on the wire. `1M` has no fixed length."""

    M1 = "1m"
    M3 = "3m"
    M5 = "5m"
    M15 = "15m"
    M30 = "30m"
    H1 = "1H"
    H2 = "2H"
    H4 = "4H"
    H6 = "6H"
    H8 = "8H"
    H12 = "12H"
    D1 = "1D"
    D3 = "3D"
    W1 = "1W"

    def __init__(self, name: str) -> None:
        # Asked for with every push and row: an attribute costs nothing.
        self.ms = int(name[:-1]) * _UNITS[name[-1]]
        """Length in milliseconds."""
        self._phase = _FIRST_MONDAY if name == "1W" else 0

    def floor(self, time_ms: int) -> int:
        """Return the open time, in ms since the epoch, of the bar that holds `time_ms`."""
        return time_ms - (time_ms - self._phase) % self.ms


class Candle(NamedTuple):
    """One complete candle. Times in ms since the epoch; `volume` in contracts."""

    open_time: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    volume_base: float
    volume_quote: float


class Reason(StrEnum):
    """Why a wire row is not stored."""

    SHAPE = "shape"
    """Not a list of at least eight columns that are numbers."""
    OFF_GRID = "off_grid"
    """Its open time is not on the bar's grid."""
    IMPOSSIBLE = "impossible"
    """Not finite, not positive, or high and low do not enclose open and close."""
    OUTSIDE = "outside"
    """Not in the range that was asked for, before 1970, or not yet closed by the clock."""
    REPEATED = "repeated"
    """A second row of the same open time in one answer."""
    CONFLICTING = "conflicting"
    """Two rows of the same open time that differ: neither is believed."""
    DOUBTFUL = "doubtful"
    """Its price is far from the last one known: REST is asked."""
    OPEN = "open"
    """`confirm` is not "1": the candle is not complete."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A wire row that is no complete candle, with the time it speaks of where that can be read."""

    reason: Reason
    text: str
    open_time: int | None = None


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


def parse_row(raw: bytes, bar: Bar, closed_before: int) -> Candle | BadRow:
    """Turn one raw JSON row into a Candle, or say why it is none. Never raises.

    `closed_before` (ms): bars that open earlier are over. It stands in for an absent `confirm`
    column, and a row that claims to be complete must open before it.
    """
    try:
        row = _row_decoder.decode(raw)
    except UNREADABLE:
        return BadRow(Reason.SHAPE, shorten(raw), _readable_time(raw))
    return judge_row(row, bar, closed_before)


def judge_row(row: WireRow, bar: Bar, closed_before: int) -> Candle | BadRow:
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
        return _bad(row, Reason.OFF_GRID)
    if not row.complete and row.confirm != "":
        return _bad(row, Reason.OPEN)
    if time < 0:
        return _bad(row, Reason.OUTSIDE)
    if time >= closed_before:
        return _bad(row, Reason.OUTSIDE if row.complete else Reason.OPEN)
    if not all_possible((o,), (h,), (low,), (c,), (volume,), (base,), (quote,)):
        return _bad(row, Reason.IMPOSSIBLE)
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


def _bad(row: WireRow, reason: Reason) -> BadRow:
    return BadRow(reason, shorten(msgspec.json.encode(row)), row.open_time)


def _readable_time(raw: bytes) -> int | None:
    try:
        return msgspec.json.decode(raw, type=_TimeOnly, strict=False).open_time
    except UNREADABLE:
        return None


class _TimeOnly(msgspec.Struct, array_like=True):
    open_time: int
