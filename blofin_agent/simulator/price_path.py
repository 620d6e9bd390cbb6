"""PricePath: what each symbol's price did, minute by minute, as a pure function of its key.

A day is made first: it opens at its anchor and closes at the next day's. It is then halved again
and again down to minutes, and each half is told which of the whole's extremes it holds. So every
longer bar is exactly the aggregate of its minutes, and no bar costs more than the days it spans.
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from operator import itemgetter

from blofin_agent.simulator.hashing import hash_fraction, hash_integer
from blofin_agent.simulator.instruments import SimulatedInstrument

Span = tuple[int, int, int, int, int]
"""Open, high, low, close in ticks, and the volume in lots, of any stretch of time."""

DAY = 1_440
"""Minutes in a day."""
BLOCK = 120
"""Minutes that are made together."""

# Slow waves of the price's logarithm: period in days, amplitude.
_WAVES = ((1, 0.02), (4, 0.03), (16, 0.07), (64, 0.15), (256, 0.3))
_LEAST_TICKS = 1_000  # below it a tick would be more than a thousandth of the price
_DAY_WORTH = 2e7  # of the quietest symbol's volume in a day, in quote currency
_KIND = 1 << 40  # sets apart what chance is used for; no minute number reaches it

_highs, _lows, _lots = itemgetter(1), itemgetter(2), itemgetter(4)


class PricePath:
    """The paths of some instruments, with the recently used stretches kept in memory."""

    def __init__(self, instruments: Mapping[str, SimulatedInstrument]) -> None:
        self._instruments = instruments
        self._anchor = lru_cache(16_384)(self._make_anchor)
        self._day = lru_cache(16_384)(self._make_day)
        self._blocks = lru_cache(4_096)(self._make_blocks)
        self._minutes = lru_cache(2_048)(self._make_minutes)

    def minute(self, symbol: str, minute: int) -> Span:
        """Return one minute, counted since the epoch."""
        return self._minutes(symbol, minute // BLOCK)[minute % BLOCK]

    def span(self, symbol: str, first: int, end: int) -> Span:
        """Return the aggregate of the minutes from `first` to before `end`, at least one."""
        return join(self._parts(symbol, first, end))

    def unfinished(self, symbol: str, first: int, minute: int, elapsed_ms: int) -> Span:
        """Return what is known so far of a bar that opened at `first` and is in `minute` now."""
        chance = hash_integer(self._instruments[symbol].key ^ (4 * _KIND + minute))
        now = part(self.minute(symbol, minute), chance, elapsed_ms, 60_000)
        return join([*self._parts(symbol, first, minute), now])

    def _parts(self, symbol: str, first: int, end: int) -> list[Span]:
        parts: list[Span] = []
        while first < end:
            day, in_day = divmod(first, DAY)
            block, in_block = divmod(first, BLOCK)
            if not in_day and end - first >= DAY:
                parts.append(self._day(symbol, day))
                first += DAY
            elif not in_block and end - first >= BLOCK:
                parts.append(self._blocks(symbol, day)[in_day // BLOCK])
                first += BLOCK
            else:
                stop = min(BLOCK, in_block + end - first)
                parts.extend(self._minutes(symbol, block)[in_block:stop])
                first += stop - in_block
        return parts

    def _make_minutes(self, symbol: str, block: int) -> list[Span]:
        day, place = divmod(block * BLOCK, DAY)
        whole = self._blocks(symbol, day)[place // BLOCK]
        return _divide(whole, block * BLOCK, BLOCK, 1, self._instruments[symbol].key)

    def _make_blocks(self, symbol: str, day: int) -> list[Span]:
        key = self._instruments[symbol].key
        return _divide(self._day(symbol, day), day * DAY, DAY // BLOCK, BLOCK, key)

    def _make_day(self, symbol: str, day: int) -> Span:
        instrument = self._instruments[symbol]
        opened, closed = self._anchor(symbol, day), self._anchor(symbol, day + 1)
        chance = hash_integer(instrument.key ^ (2 * _KIND + day))
        top, bottom = max(opened, closed), min(opened, closed)
        high = top + top * (4 + (chance & 31)) // 1_000
        low = bottom - bottom * (4 + (chance >> 5 & 31)) // 1_000
        # Some symbols trade up to forty times as much as others, and each twice as much some days.
        worth = (
            _DAY_WORTH * 40 ** hash_fraction(instrument.key) * (0.7 + (chance >> 10 & 1023) / 1_400)
        )
        lot = 10.0 ** (instrument.contract_exponent - 1 - instrument.decimals) * opened
        return opened, high, low, closed, 10 * DAY + int(worth / lot)

    def _make_anchor(self, symbol: str, day: int) -> int:
        instrument = self._instruments[symbol]
        logarithm = 0.0
        for wave, (period, amplitude) in enumerate(_WAVES):
            number, phase = divmod(day, period)
            place = instrument.key ^ (3 * _KIND + (wave << 32) + number)
            following = instrument.key ^ (3 * _KIND + (wave << 32) + number + 1)
            share = phase / period
            smooth = share * share * (3 - 2 * share)
            logarithm += amplitude * (
                hash_fraction(place) * (1 - smooth) + hash_fraction(following) * smooth - 0.5
            )
        return max(_LEAST_TICKS, round(instrument.price_ticks * math.exp(logarithm)))


def join(parts: list[Span]) -> Span:
    """Return the aggregate of consecutive stretches, at least one."""
    if len(parts) == 1:
        return parts[0]
    high, low = max(map(_highs, parts)), min(map(_lows, parts))
    return parts[0][0], high, low, parts[-1][3], sum(map(_lots, parts))


def halve(span: Span, left: int, whole: int, chance: int) -> tuple[Span, Span]:
    """Cut a stretch of `whole` minutes after the first `left` of them.

    The halves meet at one price, hold the stretch's high and low between them, and share its
    volume, at least one lot a minute. `chance`: 64 bits that say how.
    """
    opened, high, low, closed, lots = span
    wander = (chance & 1023) + (chance >> 10 & 1023) - 1023
    middle = opened + (closed - opened) * left // whole + (high - low) * wander // 1_300
    middle = min(max(middle, low), high)
    # The half that reaches further holds the extreme; the other one comes some way.
    top1, top2 = max(opened, middle), max(middle, closed)
    high1 = high2 = high
    if top1 > top2 or (top1 == top2 and chance >> 63):
        high2 = top2 + (high - top2) * (chance >> 20 & 1023) // 1_024
    else:
        high1 = top1 + (high - top1) * (chance >> 20 & 1023) // 1_024
    bottom1, bottom2 = min(opened, middle), min(middle, closed)
    low1 = low2 = low
    if bottom1 < bottom2 or (bottom1 == bottom2 and chance >> 62 & 1):
        low2 = bottom2 - (bottom2 - low) * (chance >> 30 & 1023) // 1_024
    else:
        low1 = bottom1 - (bottom1 - low) * (chance >> 30 & 1023) // 1_024
    lots1 = left + (lots - whole) * left * (512 + (chance >> 40 & 1023)) // (whole * 1_024)
    return (opened, high1, low1, middle, lots1), (middle, high2, low2, closed, lots - lots1)


def part(span: Span, chance: int, elapsed: int, length: int) -> Span:
    """Return what is known of a stretch after `elapsed` of its `length`, in any one unit.

    The price goes to one extreme, then to the other, then to the close; high, low and volume
    only ever widen, and at `elapsed` = `length` they are the stretch's own.
    """
    opened, high, low, closed, lots = span
    first, second = (high, low) if chance & 1 else (low, high)
    turn1 = length * (10 + (chance >> 1 & 31)) // 100
    turn2 = length * (50 + (chance >> 6 & 31)) // 100
    if elapsed < turn1:
        seen = [opened, opened + (first - opened) * elapsed // turn1]
    elif elapsed < turn2:
        way = (second - first) * (elapsed - turn1) // (turn2 - turn1)
        seen = [opened, first, first + way]
    else:
        way = (closed - second) * (elapsed - turn2) // (length - turn2)
        seen = [first, second, second + way]
    return opened, max(seen), min(seen), seen[-1], lots * elapsed // length


def _divide(span: Span, start: int, count: int, size: int, key: int) -> list[Span]:
    """Cut a stretch that starts at minute `start` into `count` pieces of `size` minutes."""
    if count == 1:
        return [span]
    left = count // 2
    middle = start + left * size  # each cut of a path is at its own minute: that names its chance
    one, two = halve(span, left * size, count * size, hash_integer(key ^ (_KIND + middle)))
    return _divide(one, start, left, size, key) + _divide(two, middle, count - left, size, key)
