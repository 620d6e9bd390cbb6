"""Represent one trade."""

from typing import NamedTuple

from blofin_agent.domain.candle import MINUTE

EARLIEST_TRADE_MS = 1_262_304_000_000
"""2010-01-01: no trade is older."""
MAX_AHEAD_MS = MINUTE
"""How far the machine's clock may be behind BloFin's before a trade looks impossible."""


class Trade(NamedTuple):
    """One trade. `ts` in ms since the epoch; `size` in contracts; `side` is buy or sell."""

    trade_id: str
    ts: int
    price: float
    size: float
    side: str
