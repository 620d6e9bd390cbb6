"""Holes: which bars an exchange never had, as a pure function of symbol, bar and time."""

from functools import lru_cache

from blofin_agent.domain.candle import Timeframe
from blofin_agent.simulator.hashing import hash_integer, name_key

MAX_BARS = 20
"""A hole is 1 to this many bars long."""
MAX_RATE = 0.25
"""A market with more holes than this is no market."""

_SLOT = 40  # bars; each slot has at most one hole, and the whole of it
_MEAN = (1 + MAX_BARS) / 2


class MissingBars:
    """The holes of a market. Each bar is a table of its own at the exchange, with its own holes.

    `rate`: the share of bars that are missing, 0 to 0.25. Raises ValueError outside of that.
    """

    def __init__(self, rate: float) -> None:
        if not 0 <= rate <= MAX_RATE:
            raise ValueError(f"the hole rate is {rate}; it can be 0 to {MAX_RATE}")
        self._threshold = int(rate * _SLOT / _MEAN * (1 << 32))
        self._salts = {bar: name_key(0, f"holes/{bar}") for bar in Timeframe}
        self._run = lru_cache(65_536)(self._find_run)

    def has(self, key: int, bar: Timeframe, open_time: int) -> bool:
        """Say whether the bar that opens then (ms) is in a hole of the symbol with that key."""
        if not self._threshold:
            return False
        slot, place = divmod(open_time // bar.ms, _SLOT)
        first, end = self._run(key ^ self._salts[bar], slot)
        return first <= place < end

    def _find_run(self, key: int, slot: int) -> tuple[int, int]:
        chance = hash_integer(key ^ slot)
        if chance & 0xFFFF_FFFF >= self._threshold:
            return 0, 0
        length = 1 + (chance >> 32 & 0xFFFF) % MAX_BARS
        first = (chance >> 48) % (_SLOT - length + 1)
        return first, first + length
