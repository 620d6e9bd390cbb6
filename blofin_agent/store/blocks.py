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

import msgspec
import sqlalchemy as sa

from blofin_agent.core.blocks import Block, bits_of, join, length_ms, pack, starts, unpack
from blofin_agent.core.candle import Bar, Source
from blofin_agent.core.coverage import Coverage, Span
from blofin_agent.store.schema import candles, coverage_blocks
from blofin_agent.store.sqlite import driver_of, insert_many

if TYPE_CHECKING:
    from blofin_agent.store.candles import Rows

_LIVE = Source.LIVE.value
FEW_GAPS = 16
"""So many are looked into one by one; more are counted in one go."""
MOST_BARS = 100_000
"""Bars that one transaction reads, about: a few milliseconds."""

_Key = tuple[str, int]
"""A symbol, and where a block of it starts (ms)."""
_Row = tuple[int, str]
"""A candle's open time (ms) and source."""

_IN_SPAN = (
    candles.c.symbol == sa.bindparam("symbol"),
    candles.c.bar == sa.bindparam("bar"),
    candles.c.open_time >= sa.bindparam("start"),
    candles.c.open_time < sa.bindparam("end"),
)
_ROWS = sa.select(candles.c.open_time, candles.c.source).where(*_IN_SPAN)
_COUNT = sa.select(sa.func.count()).select_from(candles).where(*_IN_SPAN)
_WANTED = (
    coverage_blocks.c.bar == sa.bindparam("bar"),
    coverage_blocks.c.start.in_(sa.bindparam("these", expanding=True)),
    coverage_blocks.c.symbol.in_(sa.bindparam("symbols", expanding=True)),
)
_BLOCKS = sa.select(
    coverage_blocks.c.symbol,
    coverage_blocks.c.start,
    coverage_blocks.c.held,
    coverage_blocks.c.live,
).where(*_WANTED)
_BLOCKS_AS_ONE = sa.select(
    sa.func.json_group_array(
        sa.func.json_array(
            coverage_blocks.c.symbol,
            coverage_blocks.c.start,
            sa.func.hex(coverage_blocks.c.held),
            sa.func.hex(coverage_blocks.c.live),
        )
    )
).where(*_WANTED)
_as_one = msgspec.json.Decoder(list[tuple[str, int, str, str]])
_INTO = "coverage_blocks (bar, start, symbol, held, live)"
_OVER = "ON CONFLICT (bar, start, symbol) DO UPDATE SET held = excluded.held, live = excluded.live"


class Stored(NamedTuple):
    """Which bars of a span are stored, and which of these came live."""

    held: Coverage
    live: Coverage


def portions(symbols: Sequence[str], bar: Bar, span: Span) -> list[Sequence[str]]:
    """Return the symbols in parts, each of which one transaction can load."""
    size = max(1, MOST_BARS // max(1, span.bars(bar)))
    return [symbols[at : at + size] for at in range(0, len(symbols), size)]


def load(
    connection: sa.Connection, bar: Bar, span: Span, symbols: Collection[str]
) -> dict[str, Stored]:
    """Return what is stored of each of the symbols in the span."""
    found: dict[str, dict[int, Block]] = {symbol: {} for symbol in symbols}
    for (symbol, start), block in _read(connection, bar, starts(bar, span), symbols).items():
        found[symbol][start] = block
    loaded = {}
    for symbol, blocks in found.items():
        stored = _joined(bar, blocks, span)
        if others := _others(connection, symbol, stored.held, span):
            for live in (False, True):
                times = (time for time, source in others if (source == _LIVE) is live)
                for start, bits in bits_of(bar, times).items():
                    blocks[start] = blocks.get(start, Block()).entered(bits, live=live)
            stored = _joined(bar, blocks, span)
        loaded[symbol] = stored
    return loaded


def enter(
    connection: sa.Connection, bar: Bar, batches: Iterable["Rows"], inserted: Iterable[int]
) -> None:
    """Write down that candles were stored in this transaction: of each batch so many were new.

    A block that is not there yet, or knows less than is stored, is made of the candles.
    """
    entries = [
        (rows.symbol, rows.source is Source.LIVE, bits_of(bar, (one[0] for one in rows.candles)))
        for rows in batches
    ]
    keys = {(symbol, start) for symbol, _, bits in entries for start in bits}
    if not keys:
        return
    _keep_others_out(connection)
    before = _read(connection, bar, {start for _, start in keys}, {symbol for symbol, _ in keys})
    after = {key: before.get(key, Block()) for key in keys}
    doubted = set[_Key]()
    for (symbol, live, found), count in zip(entries, inserted, strict=True):
        new = 0
        for start, bits in found.items():
            block = after[symbol, start]
            after[symbol, start] = block.entered(bits, live=live)
            new += (bits & ~block.held).bit_count()
        if new != count:
            doubted |= {(symbol, start) for start in found}
    for symbol, start in keys - before.keys():
        stored = connection.scalar(_COUNT, _in_span(symbol, bar, _span(bar, start)))
        if stored != after[symbol, start].held.bit_count():
            doubted.add((symbol, start))
    after |= {key: _counted(connection, bar, *key) for key in doubted}
    _write(connection, bar, {key: one for key, one in after.items() if one != before.get(key)})


def wrong(connection: sa.Connection, bar: Bar, symbol: str, these: Sequence[int]) -> list[int]:
    """Return which of the blocks that start then (ms) do not say what the candles say."""
    told = _read(connection, bar, these, [symbol])
    return [
        start
        for start in these
        if told.get((symbol, start), Block()) != _counted(connection, bar, symbol, start)
    ]


def mend(connection: sa.Connection, bar: Bar, symbol: str, these: Iterable[int]) -> None:
    """Make the blocks that start then (ms) of the candles."""
    _keep_others_out(connection)
    keys = [(symbol, start) for start in these]
    _write(connection, bar, {key: _counted(connection, bar, *key) for key in keys})


def _joined(bar: Bar, blocks: Mapping[int, Block], span: Span) -> Stored:
    held = join(bar, {start: block.held for start, block in blocks.items()})
    live = join(bar, {start: block.live for start, block in blocks.items()})
    return Stored(held.within(span), live.within(span))


def _others(connection: sa.Connection, symbol: str, held: Coverage, span: Span) -> list[_Row]:
    """Return the candles where none is held, and perhaps some that are."""
    gaps = held.gaps(span)
    if len(gaps) > FEW_GAPS:
        whole = Span(gaps[0].start, gaps[-1].end)
        count = connection.scalar(_COUNT, _in_span(symbol, held.bar, whole))
        gaps = [whole] if count != held.count(whole) else []
    return [row for gap in gaps for row in _rows(connection, symbol, held.bar, gap)]


def _counted(connection: sa.Connection, bar: Bar, symbol: str, start: int) -> Block:
    """Return the block that starts then (ms), made of the candles."""
    rows = _rows(connection, symbol, bar, _span(bar, start))
    held = bits_of(bar, (time for time, _ in rows))
    live = bits_of(bar, (time for time, source in rows if source == _LIVE))
    return Block(held.get(start, 0), live.get(start, 0))


def _rows(connection: sa.Connection, symbol: str, bar: Bar, span: Span) -> list[_Row]:
    return [
        (time, source) for time, source in connection.execute(_ROWS, _in_span(symbol, bar, span))
    ]


def _span(bar: Bar, start: int) -> Span:
    return Span(start, start + length_ms(bar))


def _in_span(symbol: str, bar: Bar, span: Span) -> dict[str, object]:
    return {"symbol": symbol, "bar": bar.value, "start": span.start, "end": span.end}


def _read(
    connection: sa.Connection, bar: Bar, these: Collection[int], symbols: Collection[str]
) -> dict[_Key, Block]:
    wanted = {"bar": bar.value, "these": list(these), "symbols": list(symbols)}
    if connection.dialect.name == "sqlite":
        # In one row, or else each costs a wait for Python's lock.
        (text,) = connection.execute(_BLOCKS_AS_ONE, wanted).one()
        found = [
            (symbol, start, bytes.fromhex(held), bytes.fromhex(live))
            for symbol, start, held, live in _as_one.decode(text)
        ]
    else:
        found = [tuple(row) for row in connection.execute(_BLOCKS, wanted)]
    return {
        (symbol, start): Block(unpack(held), unpack(live)) for symbol, start, held, live in found
    }


def _write(connection: sa.Connection, bar: Bar, blocks: Mapping[_Key, Block]) -> None:
    rows = [
        (bar.value, start, symbol, pack(block.held), pack(block.live))
        for (symbol, start), block in sorted(blocks.items())
    ]
    if connection.dialect.name == "sqlite":
        insert_many(driver_of(connection), _INTO, rows, _OVER)
    elif rows:
        statement = f"INSERT INTO {_INTO} VALUES (%s, %s, %s, %s, %s) {_OVER}"  # noqa: S608
        connection.exec_driver_sql(statement, rows)


def _keep_others_out(connection: sa.Connection) -> None:
    """Let no other process change blocks before this transaction ends.

    On SQLite there is no other while one writes.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("LOCK TABLE coverage_blocks IN SHARE ROW EXCLUSIVE MODE")
