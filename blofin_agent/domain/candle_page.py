"""Represent one page of candles as BloFin returned it."""

from typing import NamedTuple

from blofin_agent.domain.candle import Candle, RejectedRow

NO_SUCH_INSTRUMENT = "152014"


class CandlePage(NamedTuple):
    """A page of candles as it came back."""

    candles: list[Candle]
    """The complete ones inside the range asked for, oldest first, one an open time."""
    bad: list[RejectedRow]
    """The other rows, with why."""
    times: list[int]
    """The readable open times (ms) of all rows older than the cursor, in any order."""
    clean: bool
    """Whether nothing was wrong with any row: only then does the page prove holes."""
    rows: int
