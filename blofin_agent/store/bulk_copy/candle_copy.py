"""Copying: the candles of a whole store, found and read stretch by stretch.

Each function is what one transaction does; see `Database.read`. None of them reads all there is.
"""

from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa

from blofin_agent.domain.candle import Timeframe
from blofin_agent.domain.candle_diff import Row
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.store.postgresql import connections
from blofin_agent.store.schema import candles
from blofin_agent.store.sqlite import driver
from blofin_agent.store.tables.candles import StoredCandle

_c = candles.c
_NAMES = ", ".join(f'"{name}"' for name in StoredCandle._fields)
_READ = (
    f"SELECT {_NAMES} FROM candles "  # noqa: S608 - names of columns
    "WHERE symbol = {0} AND bar = {0} AND open_time >= {0} AND open_time < {0} ORDER BY open_time"
)
_MAIN = "SELECT file FROM pragma_database_list WHERE name = 'main'"
_PLACE = (
    "SELECT current_database(), to_regclass('candles')::oid::bigint, "
    "extract(epoch FROM pg_postmaster_start_time())::text"
)


def place(connection: sa.Connection) -> tuple[object, ...]:
    """Return what tells this database from every other one, by whatever name it is reached."""
    if connection.dialect.name == "sqlite":
        found = Path(connection.exec_driver_sql(_MAIN).scalar_one()).stat()
        return (found.st_dev, found.st_ino)
    return tuple(connection.exec_driver_sql(_PLACE).one())


def next_time(connection: sa.Connection, symbol: str, bar: Timeframe, since: int) -> int | None:
    """Return when the first candle opens (ms) that does so at this time or later."""
    query = (
        sa.select(_c.open_time)
        .where(_c.symbol == symbol, _c.bar == bar.value, _c.open_time >= since)
        .order_by(_c.open_time)
        .limit(1)
    )
    return connection.scalar(query)


def read(connection: sa.Connection, symbol: str, bar: Timeframe, span: TimeRange) -> Sequence[Row]:
    """Return the candles of a span, the oldest first.

    By the driver's own means: all candles there are come this way, up to three times.
    """
    values = (symbol, bar.value, span.start, span.end)
    if connection.dialect.name == "sqlite":
        return driver.driver_of(connection).execute(_READ.format("?"), values).fetchall()
    with connections.cursor_of(connection, binary=True) as cursor:
        return cursor.execute(_READ.format("%s").encode(), values).fetchall()


def count(connection: sa.Connection, symbol: str, bar: str) -> int:
    """Return how many candles there are of a symbol and a bar, by the bar's name."""
    query = sa.select(sa.func.count()).select_from(candles)
    return connection.scalar(query.where(_c.symbol == symbol, _c.bar == bar)) or 0
