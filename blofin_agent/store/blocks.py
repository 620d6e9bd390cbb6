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
_BLOCKS_AS_ONE = sa.select(
    sa.func.json_group_array(
        sa.func.json_array(
            coverage_blocks.c.symbol,
            coverage_blocks.c.start,
            sa.func.hex(coverage_blocks.c.held),
            sa.func.hex(coverage_blocks.c.live),
        )
    )
).where(
    coverage_blocks.c.bar == sa.bindparam("bar"),
    coverage_blocks.c.start.in_(sa.bindparam("these", expanding=True)),
    coverage_blocks.c.symbol.in_(sa.bindparam("symbols", expanding=True)),
)
_as_one = msgspec.json.Decoder(list[tuple[str, int, str, str]])
_INTO = "coverage_blocks (bar, start, symbol, held, live)"
_OVER = "ON CONFLICT (bar, start, symbol) DO UPDATE SET held = excluded.held, live = excluded.live"

_PG_READ = (
    "SELECT symbol, start, held, live FROM coverage_blocks "
    "WHERE bar = %s AND start = ANY(%s) AND symbol = ANY(%s)"
)
_PG_RESERVE = (
    f"INSERT INTO {_INTO} SELECT %s, start, symbol, '', '' "  # noqa: S608 - a constant
    "FROM unnest(%s::bigint[], %s::text[]) AS these (start, symbol) ON CONFLICT DO NOTHING"
)
_PG_LOCK = f"{_PG_READ} ORDER BY start, symbol FOR UPDATE"
_PG_WRITE = (
    f"INSERT INTO {_INTO} SELECT %s, * "  # noqa: S608 - likewise
    f"FROM unnest(%s::bigint[], %s::text[], %s::bytea[], %s::bytea[]) {_OVER}"
)


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


def reserve(connection: sa.Connection, bar: Bar, batches: Iterable["Rows"]) -> None:
    """Let nobody else change the blocks of these candles before this transaction ends.

    On SQLite there is no other while one writes. On PostgreSQL it is to be done before they are
    stored, so that two agents who store the same wait for one another in the same order.
    """
    keys = ((rows.symbol, start) for rows in batches for start in _bits(bar, rows))
    _reserve(connection, bar, keys)


def enter(
    connection: sa.Connection, bar: Bar, batches: Iterable["Rows"], inserted: Iterable[int]
) -> None:
    """Write down that candles were stored in this transaction: of each batch so many were new.

    A block that is not there yet, or knows less than is stored, is made of the candles.
    """
    entries = [(rows.symbol, rows.source is Source.LIVE, _bits(bar, rows)) for rows in batches]
    keys = {(symbol, start) for symbol, _, bits in entries for start in bits}
    if not keys:
        return
    before = _read(connection, bar, {start for _, start in keys}, {symbol for symbol, _ in keys})
    # One that was only reserved tells nothing.
    before = {key: block for key, block in before.items() if block.held}
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
    keys = [(symbol, start) for start in these]
    _reserve(connection, bar, keys)
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


def _bits(bar: Bar, rows: "Rows") -> dict[int, int]:
    return bits_of(bar, (one[0] for one in rows.candles))


def _read(
    connection: sa.Connection, bar: Bar, these: Collection[int], symbols: Collection[str]
) -> dict[_Key, Block]:
    if connection.dialect.name == "sqlite":
        # In one row, or else each costs a wait for Python's lock.
        wanted = {"bar": bar.value, "these": list(these), "symbols": list(symbols)}
        (text,) = connection.execute(_BLOCKS_AS_ONE, wanted).one()
        found = [
            (symbol, start, bytes.fromhex(held), bytes.fromhex(live))
            for symbol, start, held, live in _as_one.decode(text)
        ]
    else:
        values = (bar.value, list(these), list(symbols))
        found = [tuple(row) for row in connection.exec_driver_sql(_PG_READ, values)]
    return {
        (symbol, start): Block(unpack(held), unpack(live)) for symbol, start, held, live in found
    }


def _write(connection: sa.Connection, bar: Bar, blocks: Mapping[_Key, Block]) -> None:
    rows = [
        (start, symbol, pack(block.held), pack(block.live))
        for (symbol, start), block in sorted(blocks.items())
    ]
    if connection.dialect.name == "sqlite":
        insert_many(driver_of(connection), _INTO, [(bar.value, *row) for row in rows], _OVER)
    elif rows:
        columns = [list(column) for column in zip(*rows, strict=True)]
        connection.exec_driver_sql(_PG_WRITE, (bar.value, *columns))


def _reserve(connection: sa.Connection, bar: Bar, keys: Iterable[_Key]) -> None:
    if connection.dialect.name == "sqlite":
        return
    if ordered := sorted({(start, symbol) for symbol, start in keys}):
        these, symbols = ([*column] for column in zip(*ordered, strict=True))
        connection.exec_driver_sql(_PG_RESERVE, (bar.value, these, symbols))
        connection.exec_driver_sql(_PG_LOCK, (bar.value, these, symbols))
