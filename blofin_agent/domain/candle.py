"""Candle, Bar, Source; a wire row becomes a Candle or a BadRow."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

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


class Timeframe(StrEnum):
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


class RejectReason(StrEnum):
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
class RejectedRow:
    """A wire row that is no complete candle, with the time it speaks of where that can be read."""

    reason: RejectReason
    text: str
    open_time: int | None = None


class CandleBatch(NamedTuple):
    """Candles of one symbol from one source."""

    symbol: str
    source: Source
    candles: Sequence[Candle]
