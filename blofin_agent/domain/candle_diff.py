"""Likeness: whether two stores hold the same candles, block by block, by count and checksum.

A block is 1,440 bars, as in `core.blocks`: a UTC day of 1m bars. The checksum is over the figures
as doubles, so it is the same whatever database they are read from.
"""

import math
import struct
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from itertools import groupby
from typing import NamedTuple, TypeGuard

from blofin_agent.domain.candle import LATEST_MS, Candle, Source, Timeframe
from blofin_agent.domain.coverage_blocks import block_ms
from blofin_agent.domain.time_range import TimeRange

Row = tuple[int, float, float, float, float, float, float, float, str]
"""A stored candle: its open time (ms), its seven figures, its source."""

_PACKED = struct.Struct("<q7d")
_MINUS_ZERO = struct.pack("<d", -0.0)
_SOURCES = frozenset(source.value for source in Source)


class BlockDiff(NamedTuple):
    """One block of two stores, compared: that which is copied from, and that which is copied to."""

    start: int
    candles: int
    """How many the first one has."""
    equal: bool
    """Whether count and checksum are the same."""
    lacking: list[Row]
    """Candles that the second one has not."""
    different: list[tuple[Row, Row]]
    """Candles that the second one has with other figures: as the first has them, and the second."""
    renamed: int
    """How many it has with the same figures, from another source."""
    extra: int
    """How many it has that the first one has not."""


def compare(ours: Sequence[Row], theirs: Sequence[Row], bar: Timeframe) -> list[BlockDiff]:
    """Compare two stores' rows of a stretch, both oldest first, block by block of the first's."""
    others = _by_block(theirs, bar)
    return [
        _compare(start, rows, others.get(start, [])) for start, rows in _by_block(ours, bar).items()
    ]


def checksum(rows: Sequence[Row]) -> str | None:
    """Return a checksum over rows, in the order given; None when some are no candles at all.

    Zero has no sign in it: SQLite does not keep that.
    """
    if not rows:
        return blake2b(digest_size=16).hexdigest()
    times, *figures, sources = zip(*rows, strict=True)
    try:
        packed = b"".join(map(_PACKED.pack, times, *figures))
        if _MINUS_ZERO in packed:
            unsigned = [[figure + 0.0 for figure in column] for column in figures]
            packed = b"".join(map(_PACKED.pack, times, *unsigned))
        digest = blake2b(packed, digest_size=16)
        digest.update("\n".join(sources).encode())
    except (struct.error, TypeError):
        # SQLite takes text for a figure, from whoever writes it there.
        return None
    return digest.hexdigest()


def is_storable(rows: Sequence[Row], *, nan: bool) -> Sequence[Row]:
    """Return those of the rows that a store of ours can take as they are.

    `nan`: whether it takes NaN for a figure, as PostgreSQL does; SQLite does not.
    """
    if not rows or _all_takable(rows, nan=nan):
        return rows
    return [row for row in rows if _all_takable([row], nan=nan)]


def spread(rows: Sequence[Row], longest_ms: int) -> Iterable[Sequence[Row]]:
    """Cut rows, oldest first, into parts of which none spans so much time or more."""
    first = 0
    for place, row in enumerate(rows):
        if row[0] - rows[first][0] >= longest_ms:
            yield rows[first:place]
            first = place
    yield rows[first:]


def by_source(rows: Iterable[Row]) -> dict[Source, list[Candle]]:
    """Return the candles of takable rows, by their source."""
    found: dict[Source, list[Candle]] = {source: [] for source in Source}
    for row in rows:
        found[Source(row[8])].append(Candle(*row[:8]))
    return found


def reach(time: int, bar: Timeframe, blocks: int) -> TimeRange:
    """Return the stretch of so many blocks of which the first is that of a time (ms)."""
    length = block_ms(bar)
    start = time // length * length
    return TimeRange(start, start + blocks * length)


def _by_block(rows: Iterable[Row], bar: Timeframe) -> dict[int, list[Row]]:
    length = block_ms(bar)
    return {
        block * length: list(some) for block, some in groupby(rows, lambda row: row[0] // length)
    }


def _compare(start: int, ours: list[Row], theirs: list[Row]) -> BlockDiff:
    checked = checksum(ours)
    if len(ours) == len(theirs) and checked is not None and checked == checksum(theirs):
        return BlockDiff(start, len(ours), equal=True, lacking=[], different=[], renamed=0, extra=0)
    there = {row[0]: row for row in theirs}
    lacking: list[Row] = []
    different: list[tuple[Row, Row]] = []
    renamed = 0
    for row in ours:
        other = there.pop(row[0], None)
        if other is None:
            lacking.append(row)
        elif not all(map(_same, row[1:8], other[1:8])):
            different.append((row, other))
        elif row[8] != other[8]:
            renamed += 1
    return BlockDiff(
        start,
        len(ours),
        equal=False,
        lacking=lacking,
        different=different,
        renamed=renamed,
        extra=len(there),
    )


def _same(one: object, other: object) -> bool:
    return one == other or (_is_nan(one) and _is_nan(other))


def _is_nan(figure: object) -> TypeGuard[float]:
    return isinstance(figure, float) and math.isnan(figure)


def _all_takable(rows: Sequence[Row], *, nan: bool) -> bool:
    times, *figures, sources = zip(*rows, strict=True)
    return (
        set(map(type, times)) == {int}
        and min(times) >= 0
        and max(times) <= LATEST_MS
        and all(set(map(type, column)) == {float} for column in figures)
        and _SOURCES.issuperset(sources)
        and (nan or not any(map(_has_nan, figures)))
    )


def _has_nan(column: Sequence[float]) -> bool:
    # A sum is NaN where one of its parts is, and where it is of both infinities.
    return math.isnan(sum(column)) and any(map(math.isnan, column))
