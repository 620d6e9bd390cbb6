"""Candles in the store. Each function is what one transaction does; see `Database.write`."""

import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from typing import NamedTuple

import sqlalchemy as sa

from blofin_agent.domain.candle import Candle, CandleBatch, Timeframe
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.store.errors import StoreUnavailable
from blofin_agent.store.postgresql import connections, partitions
from blofin_agent.store.schema import candles
from blofin_agent.store.sqlite.driver import driver_of, insert_many
from blofin_agent.store.tables import coverage_blocks

_COLUMNS = tuple(column.name for column in candles.columns)
_NAMES = ", ".join(f'"{name}"' for name in _COLUMNS)
_ROWS = 240
"""Rows of one statement of a page. While it runs other threads can too, so that the next page is
fetched meanwhile; twice as fast as a statement a row, measured on SQLite, and more rows gain
nothing."""

_INCOMING = (
    "CREATE TEMPORARY TABLE IF NOT EXISTS incoming (place int, symbol text, open_time bigint, "
    "open float8, high float8, low float8, close float8, volume float8, volume_base float8, "
    "volume_quote float8, source text) ON COMMIT DELETE ROWS"
)
_KINDS = ("int4", "text", "int8", *("float8",) * 7, "text")
_FIGURES = ", ".join(f'"{name}"' for name in Candle._fields)
# Of a candle that comes twice the first is stored, in the order in which all agents store.
_FROM_INCOMING = f"""
WITH once AS (
    SELECT DISTINCT ON (symbol, open_time) place, symbol, {_FIGURES}, source
    FROM incoming ORDER BY symbol, open_time, place
), new AS (
    INSERT INTO candles ({_NAMES}) SELECT symbol, %s, {_FIGURES}, source FROM once
    ON CONFLICT DO NOTHING RETURNING symbol, open_time
)
SELECT place, count(*) FROM once JOIN new USING (symbol, open_time) GROUP BY place
"""  # noqa: S608 - names of columns


def insert(connection: sa.Connection, bar: Timeframe, batches: Sequence[CandleBatch]) -> list[int]:
    """Store the candles that are not there yet; return for each batch how many were new.

    A candle that is there already is left as it is.
    """
    coverage_blocks.reserve(connection, bar, batches)
    if connection.dialect.name == "sqlite":
        inserted = _insert(driver_of(connection), bar, batches)
    else:
        inserted = _copy(connection, bar, batches)
    coverage_blocks.enter(connection, bar, batches, inserted)
    return inserted


def _insert(
    driver: sqlite3.Connection, bar: Timeframe, batches: Sequence[CandleBatch]
) -> list[int]:
    """Insert with the driver's own means: pages one by one, and all that is shorter together."""
    inserted = [
        _insert_page(driver, bar, batch) if len(batch.candles) >= _ROWS else 0 for batch in batches
    ]
    short = [place for place, batch in enumerate(batches) if len(batch.candles) < _ROWS]
    counts = _insert_short(driver, bar, [batches[place] for place in short])
    for place, count in zip(short, counts, strict=True):
        inserted[place] = count
    return inserted


def _insert_page(driver: sqlite3.Connection, bar: Timeframe, batch: CandleBatch) -> int:
    symbol, source, rows = batch
    same = (symbol, bar.value, source.value)
    whole = len(rows) - len(rows) % _ROWS
    new = 0
    for start in range(0, whole, _ROWS):
        values = (*same, *chain.from_iterable(rows[start : start + _ROWS]))
        new += driver.execute(_insertion(_ROWS), values).rowcount
    return new + _insert_mixed(driver, bar, [batch._replace(candles=rows[whole:])])


def _insert_short(
    driver: sqlite3.Connection, bar: Timeframe, batches: Sequence[CandleBatch]
) -> list[int]:
    """Insert a minute of 500 symbols in a few statements, and tell of each whether it was new."""
    if len(batches) < 2:  # noqa: PLR2004 - there is nothing to tell apart
        return [_insert_mixed(driver, bar, batches) for _ in batches]
    driver.execute("SAVEPOINT short")
    counts = [len(batch.candles) for batch in batches]
    if _insert_mixed(driver, bar, batches) < sum(counts):
        # Some were there already: of which batch, is seen one by one.
        driver.execute("ROLLBACK TO short")
        counts = [_insert_mixed(driver, bar, [batch]) for batch in batches]
    driver.execute("RELEASE short")
    return counts


def _insert_mixed(
    driver: sqlite3.Connection, bar: Timeframe, batches: Sequence[CandleBatch]
) -> int:
    rows = [
        (symbol, bar.value, *candle, source.value)
        for symbol, source, found in batches
        for candle in found
    ]
    return insert_many(driver, f"candles ({_NAMES})", rows, "ON CONFLICT DO NOTHING")


def _copy(connection: sa.Connection, bar: Timeframe, batches: Sequence[CandleBatch]) -> list[int]:
    """Insert into PostgreSQL: all rows by one COPY beside the table, and from there into it.

    Measured beside rows as parameters: a fifth of the CPU and a sixth of the time, and beside
    arrays of columns a third and nine tenths.
    """
    partitions.make(connection, (one[0] for batch in batches for one in batch.candles))
    connection.exec_driver_sql(_INCOMING)
    rows = (
        (place, symbol, *candle, source.value)
        for place, (symbol, source, found) in enumerate(batches)
        for candle in found
    )
    connections.copy(connection, "incoming", _KINDS, rows)
    try:
        found = connection.exec_driver_sql(_FROM_INCOMING, (bar.value,)).all()
    except sa.exc.IntegrityError as error:
        if not partitions.is_missing_partition(error):
            raise
        # Another agent has just dropped it, as too old.
        partitions.forget(connection)
        raise StoreUnavailable("a partition of candles is gone; it is made anew") from error
    counts = {row.place: row[1] for row in found}
    return [counts.get(place, 0) for place in range(len(batches))]


@cache
def _insertion(rows: int) -> str:
    """Return SQLite's statement for so many rows; symbol, bar and source are given once."""
    figures = len(Candle._fields)
    values = ", ".join(
        f"(?1, ?2, {', '.join(f'?{4 + row * figures + place}' for place in range(figures))}, ?3)"
        for row in range(rows)
    )
    return f"INSERT INTO candles ({_NAMES}) VALUES {values} ON CONFLICT DO NOTHING"  # noqa: S608


class StoredCandle(NamedTuple):
    """A candle as it is stored, and where it came from. See `core.candle.Candle`."""

    open_time: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    volume_base: float
    volume_quote: float
    source: str


def _stored(symbol: str, bar: Timeframe, span: TimeRange) -> "sa.Select[tuple[object, ...]]":
    c = candles.c
    return (
        sa.select(*(c[name] for name in StoredCandle._fields))
        .where(
            c.symbol == symbol,
            c.bar == bar.value,
            c.open_time >= span.start,
            c.open_time < span.end,
        )
        .order_by(c.open_time)
    )


def page(
    connection: sa.Connection, symbol: str, bar: Timeframe, span: TimeRange, most: int
) -> list[StoredCandle]:
    """Return at most so many stored candles of the span, the oldest first."""
    query = _stored(symbol, bar, span).limit(most)
    return [StoredCandle._make(row) for row in connection.execute(query)]


def stream(
    connection: sa.Connection, symbol: str, bar: Timeframe, span: TimeRange, rows: int
) -> Iterator[Sequence[StoredCandle]]:
    """Yield the stored candles of the span, oldest first, so many rows at a time.

    They are read as they are taken: the whole is never in memory, and no cursor is left open where
    they are not taken to the end.
    """
    left = span
    while part := page(connection, symbol, bar, left, rows):
        yield part
        left = TimeRange(part[-1].open_time + 1, span.end)


def newest_before(
    connection: sa.Connection, symbol: str, bar: Timeframe, time: int
) -> StoredCandle | None:
    """Return the newest stored candle that opens before a time (ms)."""
    c = candles.c
    query = (
        sa.select(*(c[name] for name in StoredCandle._fields))
        .where(c.symbol == symbol, c.bar == bar.value, c.open_time < time)
        .order_by(c.open_time.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    return None if row is None else StoredCandle._make(row)


def changes(connection: sa.Connection) -> int | None:
    """Return a number that differs once another process has written, None when not known.

    Source: SQLite's documentation, "PRAGMA data_version".
    """
    if connection.dialect.name != "sqlite":
        return None
    return int(connection.exec_driver_sql("PRAGMA data_version").scalar_one())
