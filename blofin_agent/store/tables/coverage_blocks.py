"""Blocks of coverage in the store, beside the candles. Each function is part of a transaction.

A block is written with the candles that it tells of, and goes with them (the triggers of migration
0005), so it never tells of a candle that is not there. Of one that another program inserted it
does not know: where blocks say that nothing is held, the candles are looked at, and nowhere else.
Reading so much costs the same however many candles are stored.

Only who replaces a candle by `INSERT OR REPLACE` with one of another source, which SQLite tells no
trigger, or writes to the blocks themselves, makes them wrong. See `wrong` and `mend`.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from blofin_agent.domain.bar_set import BarSet
from blofin_agent.domain.candle import Source, Timeframe
from blofin_agent.domain.coverage_blocks import (
    CoverageBlock,
    bits_of,
    block_ms,
    block_starts,
    join_bits,
)
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.store.tables import coverage_block_sql
from blofin_agent.store.tables.coverage_block_sql import (
    Key,
    Stretch,
    counts_in,
    read,
    rows_in,
    write,
)

if TYPE_CHECKING:
    from blofin_agent.domain.candle import CandleBatch

_LIVE = Source.LIVE.value
MAX_LISTED_GAPS = 16
"""So many are looked into one by one; more are counted in one go."""
MAX_BARS = 100_000
"""Bars that one transaction reads, about: a few milliseconds."""


class StoredCoverage(NamedTuple):
    """Which bars of a span are stored, and which of these came live."""

    held: BarSet
    live: BarSet


def portions(symbols: Sequence[str], bar: Timeframe, span: TimeRange) -> list[Sequence[str]]:
    """Return the symbols in parts, each of which one transaction can load."""
    size = max(1, MAX_BARS // max(1, span.bars(bar)))
    return [symbols[at : at + size] for at in range(0, len(symbols), size)]


def load(
    connection: sa.Connection, bar: Timeframe, span: TimeRange, symbols: Collection[str]
) -> dict[str, StoredCoverage]:
    """Return what is stored of each of the symbols in the span."""
    found: dict[str, dict[int, CoverageBlock]] = {symbol: {} for symbol in symbols}
    for (symbol, start), block in read(connection, bar, block_starts(bar, span), symbols).items():
        found[symbol][start] = block
    stored = {symbol: _joined(bar, blocks, span) for symbol, blocks in found.items()}
    others = _others(connection, bar, {symbol: one.held for symbol, one in stored.items()}, span)
    for symbol, rows in others.items():
        blocks = found[symbol]
        for live in (False, True):
            times = (time for time, source in rows if (source == _LIVE) is live)
            for start, bits in bits_of(bar, times).items():
                blocks[start] = blocks.get(start, CoverageBlock()).entered(bits, live=live)
        stored[symbol] = _joined(bar, blocks, span)
    return stored


def reserve(connection: sa.Connection, bar: Timeframe, batches: Iterable["CandleBatch"]) -> None:
    """Let nobody else change the blocks of these candles before this transaction ends.

    On SQLite there is no other while one writes. On PostgreSQL it is to be done before they are
    stored, so that two agents who store the same wait for one another in the same order.
    """
    keys = ((batch.symbol, start) for batch in batches for start in _bits(bar, batch))
    coverage_block_sql.reserve(connection, bar, keys)


def enter(
    connection: sa.Connection,
    bar: Timeframe,
    batches: Iterable["CandleBatch"],
    inserted: Iterable[int],
) -> None:
    """Write down that candles were stored in this transaction: of each batch so many were new.

    A block that is not there yet, or knows less than is stored, is made of the candles.
    """
    entries = [(rows.symbol, rows.source is Source.LIVE, _bits(bar, rows)) for rows in batches]
    keys = {(symbol, start) for symbol, _, bits in entries for start in bits}
    if not keys:
        return
    before = read(connection, bar, {start for _, start in keys}, {symbol for symbol, _ in keys})
    # One that was only reserved tells nothing.
    before = {key: block for key, block in before.items() if block.held}
    after = {key: before.get(key, CoverageBlock()) for key in keys}
    doubted = set[Key]()
    for (symbol, live, found), count in zip(entries, inserted, strict=True):
        new = 0
        for start, bits in found.items():
            block = after[symbol, start]
            after[symbol, start] = block.entered(bits, live=live)
            new += (bits & ~block.held).bit_count()
        if new != count:
            doubted |= {(symbol, start) for start in found}
    new_ones = sorted(keys - before.keys())
    stored = counts_in(connection, bar, [_stretch(bar, key) for key in new_ones])
    for key, count in zip(new_ones, stored, strict=True):
        if count != after[key].held.bit_count():
            doubted.add(key)
    after |= _counted(connection, bar, doubted)
    write(connection, bar, {key: one for key, one in after.items() if one != before.get(key)})


def find_wrong_blocks(
    connection: sa.Connection, bar: Timeframe, symbol: str, these: Sequence[int]
) -> list[int]:
    """Return which of the blocks that start then (ms) do not say what the candles say."""
    told = read(connection, bar, these, [symbol])
    right = _counted(connection, bar, [(symbol, start) for start in these])
    return [
        start
        for (_, start), block in right.items()
        if told.get((symbol, start), CoverageBlock()) != block
    ]


def repair_blocks(
    connection: sa.Connection, bar: Timeframe, symbol: str, these: Iterable[int]
) -> None:
    """Make the blocks that start then (ms) of the candles."""
    keys = [(symbol, start) for start in these]
    coverage_block_sql.reserve(connection, bar, keys)
    write(connection, bar, _counted(connection, bar, keys))


def _joined(bar: Timeframe, blocks: Mapping[int, CoverageBlock], span: TimeRange) -> StoredCoverage:
    held = join_bits(bar, {start: block.held for start, block in blocks.items()})
    live = join_bits(bar, {start: block.live for start, block in blocks.items()})
    return StoredCoverage(held.within(span), live.within(span))


def _others(
    connection: sa.Connection, bar: Timeframe, held: Mapping[str, BarSet], span: TimeRange
) -> dict[str, list[tuple[int, str]]]:
    """Return the candles where none is held, and perhaps some that are, by symbol.

    Of each its open time (ms) and its source.
    """
    looked_at: list[Stretch] = []
    counted: list[Stretch] = []
    for symbol, coverage in held.items():
        gaps = coverage.gaps(span)
        if len(gaps) > MAX_LISTED_GAPS:
            counted.append((symbol, TimeRange(gaps[0].start, gaps[-1].end)))
        else:
            looked_at += [(symbol, gap) for gap in gaps]
    for (symbol, whole), count in zip(counted, counts_in(connection, bar, counted), strict=True):
        if count != held[symbol].count(whole):
            looked_at.append((symbol, whole))
    found: dict[str, list[tuple[int, str]]] = {}
    for symbol, time, source in rows_in(connection, bar, looked_at):
        found.setdefault(symbol, []).append((time, source))
    return found


def _counted(
    connection: sa.Connection, bar: Timeframe, keys: Collection[Key]
) -> dict[Key, CoverageBlock]:
    """Return these blocks, made of the candles."""
    held: dict[Key, list[int]] = {key: [] for key in keys}
    live: dict[Key, list[int]] = {key: [] for key in keys}
    length = block_ms(bar)
    for symbol, time, source in rows_in(connection, bar, [_stretch(bar, key) for key in keys]):
        key = symbol, time // length * length
        held[key].append(time)
        if source == _LIVE:
            live[key].append(time)
    return {
        key: CoverageBlock(_made(bar, times, key[1]), _made(bar, live[key], key[1]))
        for key, times in held.items()
    }


def _made(bar: Timeframe, times: Iterable[int], start: int) -> int:
    return bits_of(bar, times).get(start, 0)


def _stretch(bar: Timeframe, key: Key) -> Stretch:
    symbol, start = key
    return symbol, TimeRange(start, start + block_ms(bar))


def _bits(bar: Timeframe, batch: "CandleBatch") -> dict[int, int]:
    return bits_of(bar, (one[0] for one in batch.candles))
