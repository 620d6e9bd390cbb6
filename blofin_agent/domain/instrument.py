"""Represent one instrument that BloFin lists."""

from typing import NamedTuple

import msgspec

from blofin_agent.domain.candle import RejectedRow


class Instrument(msgspec.Struct, frozen=True):
    """What is kept of an instrument. `list_time`: ms since the epoch, None when not told."""

    symbol: str
    list_time: int | None
    state: str


class InstrumentList(NamedTuple):
    """BloFin's instruments."""

    instruments: list[Instrument]
    """Each symbol once, in BloFin's order."""
    bad: list[RejectedRow]
    """The other entries, with why: unreadable ones, what can be no symbol, repetitions."""
