"""Leap: a price so far from the ones beside it that a second answer must say the same.

An answer of BloFin's for candles names no symbol, so rows of another one look like any others, but
for their price. A real leap is rare, and costs one request more.
"""

from collections.abc import Sequence
from itertools import pairwise
from operator import itemgetter

from blofin_agent.domain.candle import Candle, Timeframe
from blofin_agent.domain.candle_page import CandlePage

_high, _low = map(itemgetter, map(Candle._fields.index, ("high", "low")))

JUMP_FACTOR = 3.0
"""How many times higher or lower, from one candle to the next, is a leap."""
MAX_NEIGHBOR_BARS = 60
"""Candles further apart than so many bars are not compared."""


def jumps(earlier: Candle, later: Candle, bar: Timeframe) -> bool:
    """Return whether the price leaps from one candle to the other, if they are near in time."""
    if abs(later.open_time - earlier.open_time) > MAX_NEIGHBOR_BARS * bar.ms:
        return False
    return not earlier.close / JUMP_FACTOR < later.open < earlier.close * JUMP_FACTOR


def has_jump(candles: Sequence[Candle], beside: Sequence[Candle], bar: Timeframe) -> bool:
    """Return whether the price leaps between candles, oldest first, or from those `beside` them."""
    if _is_calm(candles, beside):
        return False
    if any(jumps(one, next_one, bar) for one, next_one in pairwise(candles)):
        return True
    for known in beside:
        older = next((one for one in reversed(candles) if one.open_time < known.open_time), None)
        newer = next((one for one in candles if one.open_time > known.open_time), None)
        if older is not None and jumps(older, known, bar):
            return True
        if newer is not None and jumps(known, newer, bar):
            return True
    return False


def _is_calm(candles: Sequence[Candle], beside: Sequence[Candle]) -> bool:
    """Return whether no two prices of them all are as far apart as a leap: quick to see."""
    both = (candles, beside)
    low = min((min(map(_low, each)) for each in both if each), default=0.0)
    high = max((max(map(_high, each)) for each in both if each), default=0.0)
    return high < low * JUMP_FACTOR


def agreed(first: CandlePage, second: CandlePage) -> CandlePage:
    """Return the second answer with those candles alone that the first one gave the same.

    Where they differ it is not clean, so what is left out is asked for again.
    """
    known = set(first.candles)
    candles = [one for one in second.candles if one in known]
    clean = second.clean and first.clean and len(candles) == len(second.candles)
    return second._replace(candles=candles, clean=clean)
