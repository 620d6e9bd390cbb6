"""Copying: the candles of a whole store, found and read stretch by stretch.

Each function is what one transaction does; see `Store.read`. None of them reads all there is.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from blofin_agent.core.candle import LATEST_MS, Bar
from blofin_agent.core.coverage import Span
from blofin_agent.core.likeness import Row
from blofin_agent.store import postgresql, sqlite
from blofin_agent.store.candles import Stored
from blofin_agent.store.schema import candles

_c = candles.c
_NAMES = ", ".join(f'"{name}"' for name in Stored._fields)
_READ = (
    f"SELECT {_NAMES} FROM candles "  # noqa: S608 - names of columns
    "WHERE symbol = {0} AND bar = {0} AND open_time >= {0} AND open_time < {0} ORDER BY open_time"
)
_MAIN = "SELECT file FROM pragma_database_list WHERE name = 'main'"
_PLACE = (
    "SELECT current_database(), to_regclass('candles')::oid::bigint, "
    "extract(epoch FROM pg_postmaster_start_time())::text"
)


class Series(NamedTuple):
    """The candles of a symbol and a bar, by the bar's name, and the first and last open time (ms).

    Both are None when no candle lies in the time that a calendar has.
    """

    symbol: str
    bar: str
    first: int | None
    last: int | None


def place(connection: sa.Connection) -> tuple[object, ...]:
    """Return what tells this database from every other one, by whatever name it is reached."""
    if connection.dialect.name == "sqlite":
        found = Path(connection.exec_driver_sql(_MAIN).scalar_one()).stat()
        return (found.st_dev, found.st_ino)
    return tuple(connection.exec_driver_sql(_PLACE).one())


def next_series(connection: sa.Connection, after: tuple[str, str] | None) -> Series | None:
    """Return the series that comes after this symbol and bar, the first one after None."""
    query = sa.select(_c.symbol, _c.bar).order_by(_c.symbol, _c.bar).limit(1)
    if after is not None:
        query = query.where(sa.tuple_(_c.symbol, _c.bar) > sa.tuple_(*after))
    found = connection.execute(query).first()
    if found is None:
        return None
    symbol, bar = found
    times = (
        sa.select(_c.open_time)
        .where(_c.symbol == symbol, _c.bar == bar, _c.open_time.between(0, LATEST_MS))
        .limit(1)
    )
    first = connection.scalar(times.order_by(_c.open_time))
    last = connection.scalar(times.order_by(_c.open_time.desc()))
    return Series(symbol, bar, first, last)


def next_time(connection: sa.Connection, symbol: str, bar: Bar, since: int) -> int | None:
    """Return when the first candle opens (ms) that does so at this time or later."""
    query = (
        sa.select(_c.open_time)
        .where(_c.symbol == symbol, _c.bar == bar.value, _c.open_time >= since)
        .order_by(_c.open_time)
        .limit(1)
    )
    return connection.scalar(query)


def read(connection: sa.Connection, symbol: str, bar: Bar, span: Span) -> Sequence[Row]:
    """Return the candles of a span, the oldest first.

    By the driver's own means: all candles there are come this way, up to three times.
    """
    values = (symbol, bar.value, span.start, span.end)
    if connection.dialect.name == "sqlite":
        return sqlite.driver_of(connection).execute(_READ.format("?"), values).fetchall()
    with postgresql.cursor_of(connection, binary=True) as cursor:
        return cursor.execute(_READ.format("%s").encode(), values).fetchall()


def count(connection: sa.Connection, symbol: str, bar: str) -> int:
    """Return how many candles there are of a symbol and a bar, by the bar's name."""
    query = sa.select(sa.func.count()).select_from(candles)
    return connection.scalar(query.where(_c.symbol == symbol, _c.bar == bar)) or 0
