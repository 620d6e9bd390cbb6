"""Blocks: coverage cut into pieces of a fixed size, as the store keeps it beside the candles.

A block is 1,440 bars of one symbol: a day of 1m bars. It starts at a multiple of its own length
since the epoch, and its bit `i` stands for the `i`-th bar that opens in it.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from blofin_agent.domain.bar_set import BarSet
from blofin_agent.domain.candle import Timeframe
from blofin_agent.domain.time_range import TimeRange, ranges_of_times

BARS_PER_BLOCK = 1_440


class CoverageBlock(NamedTuple):
    """Which bars of a block are stored, and which of these came live, as bits."""

    held: int = 0
    live: int = 0

    def entered(self, bits: int, *, live: bool) -> "CoverageBlock":
        """Return the block after these bars were stored, where they were not yet."""
        new = bits & ~self.held
        return CoverageBlock(self.held | new, self.live | new if live else self.live)


def block_ms(bar: Timeframe) -> int:
    """Return how long a block of such bars is."""
    return BARS_PER_BLOCK * bar.ms


def block_starts(bar: Timeframe, span: TimeRange) -> range:
    """Return where the blocks start (ms) that have a part in the span, oldest first."""
    length = block_ms(bar)
    return range(span.start // length * length, span.end, length)


def bits_of(bar: Timeframe, open_times: Iterable[int]) -> dict[int, int]:
    """Return the bits of the bars that open then (ms), by the start of their block."""
    step, length = bar.ms, block_ms(bar)
    found: dict[int, int] = {}
    for span in ranges_of_times(open_times, bar):
        # What comes in pages is all in one piece, as a rule.
        first, last = span.start // step, span.end // step - 1
        for block in range(first // BARS_PER_BLOCK, last // BARS_PER_BLOCK + 1):
            bits = _ones(first - block * BARS_PER_BLOCK, last - block * BARS_PER_BLOCK)
            found[block * length] = found.get(block * length, 0) | bits
    return found


def join_bits(bar: Timeframe, bits: Mapping[int, int]) -> BarSet:
    """Return the coverage that the bits of some blocks make, given by the blocks' starts (ms)."""
    if not bits:
        return BarSet(bar)
    first, joined = min(bits), 0
    for start, these in bits.items():
        joined |= these << (start - first) // bar.ms
    # The grid of weekly bars does not begin with the epoch, where the blocks' does.
    return BarSet(bar, bar.floor(first + bar.ms - 1), joined)


def _ones(first: int, last: int) -> int:
    """Return the bits from the first to the last, as far as they are in the block."""
    first, last = max(0, first), min(BARS_PER_BLOCK - 1, last)
    return ((1 << (last - first + 1)) - 1) << first


def pack(bits: int) -> bytes:
    """Return the bits as bytes, the lowest eight first, and no more of them than are needed."""
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


def unpack(packed: bytes) -> int:
    """Return the bits that `pack` made bytes of."""
    return int.from_bytes(packed, "little")
