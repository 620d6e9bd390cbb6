"""What `blocks` reads and writes: rows of blocks, and what the candles say of some stretches.

On SQLite a statement costs next to nothing, and an answer of many rows much: each lets Python's
lock go. On PostgreSQL each statement is a way to the server and back, so all is asked at once.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import msgspec
import sqlalchemy as sa

from blofin_agent.domain.candle import Timeframe
from blofin_agent.domain.coverage_blocks import CoverageBlock, pack, unpack
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.store.schema import candles, coverage_blocks
from blofin_agent.store.sqlite.driver import driver_of, insert_many

Key = tuple[str, int]
"""A symbol, and where a block of it starts (ms)."""
Stretch = tuple[str, TimeRange]
"""A symbol, and a span in which its candles are looked at."""
Row = tuple[str, int, str]
"""A candle's symbol, open time (ms) and source."""

_IN_SPAN = (
    candles.c.symbol == sa.bindparam("symbol"),
    candles.c.bar == sa.bindparam("bar"),
    candles.c.open_time >= sa.bindparam("start"),
    candles.c.open_time < sa.bindparam("end"),
)
_ROWS = sa.select(candles.c.symbol, candles.c.open_time, candles.c.source).where(*_IN_SPAN)
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
# Each stretch is a look into the index; what they all lie between leaves the other partitions out.
_PG_STRETCHES = """
SELECT {what} FROM unnest(%s::text[], %s::bigint[], %s::bigint[])
    WITH ORDINALITY AS stretch (symbol, since, until, place)
CROSS JOIN LATERAL (
    SELECT {of_each} FROM candles
    WHERE symbol = stretch.symbol AND bar = %s AND open_time >= since AND open_time < until
    AND open_time >= %s AND open_time < %s
    OFFSET 0
) AS found
"""
_PG_ROWS = _PG_STRETCHES.format(
    what="stretch.symbol, found.open_time, found.source", of_each="open_time, source"
)
_PG_COUNTS = _PG_STRETCHES.format(what="found.count", of_each="count(*) AS count")


def rows_in(
    connection: sa.Connection, bar: Timeframe, stretches: Sequence[Stretch]
) -> Iterator[Row]:
    """Yield the candles in the stretches, one stretch after another."""
    if not stretches:
        return
    if connection.dialect.name == "sqlite":
        for symbol, span in stretches:
            for row in connection.execute(_ROWS, _in_span(symbol, bar, span)):
                yield row[0], row[1], row[2]
    else:
        for row in connection.exec_driver_sql(_PG_ROWS, _in_stretches(bar, stretches)):
            yield row[0], row[1], row[2]


def counts_in(connection: sa.Connection, bar: Timeframe, stretches: Sequence[Stretch]) -> list[int]:
    """Return how many candles each stretch has."""
    if not stretches:
        return []
    if connection.dialect.name == "sqlite":
        return [
            connection.scalar(_COUNT, _in_span(symbol, bar, span)) or 0
            for symbol, span in stretches
        ]
    values = _in_stretches(bar, stretches)
    return list(connection.exec_driver_sql(f"{_PG_COUNTS} ORDER BY place", values).scalars())


def read(
    connection: sa.Connection, bar: Timeframe, these: Collection[int], symbols: Collection[str]
) -> dict[Key, CoverageBlock]:
    """Return the blocks of these symbols that start then (ms)."""
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
        (symbol, start): CoverageBlock(unpack(held), unpack(live))
        for symbol, start, held, live in found
    }


def write(connection: sa.Connection, bar: Timeframe, blocks: Mapping[Key, CoverageBlock]) -> None:
    """Write blocks over what is there."""
    rows = [
        (start, symbol, pack(block.held), pack(block.live))
        for (symbol, start), block in sorted(blocks.items())
    ]
    if connection.dialect.name == "sqlite":
        insert_many(driver_of(connection), _INTO, [(bar.value, *row) for row in rows], _OVER)
    elif rows:
        columns = [list(column) for column in zip(*rows, strict=True)]
        connection.exec_driver_sql(_PG_WRITE, (bar.value, *columns))


def reserve(connection: sa.Connection, bar: Timeframe, keys: Iterable[Key]) -> None:
    """Let nobody else change these blocks before this transaction ends."""
    if connection.dialect.name == "sqlite":
        return
    if ordered := sorted({(start, symbol) for symbol, start in keys}):
        these, symbols = ([*column] for column in zip(*ordered, strict=True))
        connection.exec_driver_sql(_PG_RESERVE, (bar.value, these, symbols))
        connection.exec_driver_sql(_PG_LOCK, (bar.value, these, symbols))


def _in_span(symbol: str, bar: Timeframe, span: TimeRange) -> dict[str, object]:
    return {"symbol": symbol, "bar": bar.value, "start": span.start, "end": span.end}


def _in_stretches(bar: Timeframe, stretches: Sequence[Stretch]) -> tuple[object, ...]:
    symbols = [symbol for symbol, _ in stretches]
    since, until = [span.start for _, span in stretches], [span.end for _, span in stretches]
    return symbols, since, until, bar.value, min(since), max(until)
