"""Bulk: the ways to store a page of candles in PostgreSQL."""

import statistics
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa

from benchmarks.big import minutes
from benchmarks.figure import Figure
from benchmarks.postgres import PAGE, TURNS, in_transaction, store_of
from blofin_agent.domain.candle import DAY, Candle
from blofin_agent.runtime.clock import wall_ms
from blofin_agent.store.postgresql.connections import driver_of

_NAMES = "symbol, bar, open_time, open, high, low, close, volume, volume_base, volume_quote, source"
_KINDS = ("text", "text", "int8", *("float8",) * 7, "text")
_TABLE = """CREATE TABLE plain (symbol text, bar text, open_time bigint, open float8, high float8,
    low float8, close float8, volume float8, volume_base float8, volume_quote float8, source text,
    PRIMARY KEY (symbol, bar, open_time))"""


def ways(server: Any) -> list[Figure]:
    """Measure each, in turns."""
    start = wall_ms() // DAY * DAY
    rows = minutes(start, PAGE)
    with store_of(server) as store:
        in_transaction(store, lambda db: db.exec_driver_sql(_TABLE))
        every = {
            "COPY beside the table, and from there into it": partial(_copy_beside, rows),
            "arrays of columns": partial(_arrays, rows),
            "rows as parameters, 240 a statement": partial(_values, rows),
            "executemany": partial(_executemany, rows),
            "COPY straight into it (the floor)": partial(_copy_straight, rows),
        }
        taken: dict[str, list[float]] = {name: [] for name in every}
        for turn in range(TURNS):
            for name, way in every.items():
                symbol = f"{name}-{turn}"
                begun = time.perf_counter()
                in_transaction(store, partial(way, symbol))
                taken[name].append((time.perf_counter() - begun) * 1000)
    medians = {name: statistics.median(found) for name, found in taken.items()}
    *others, floor = medians
    return [
        Figure(
            f"a page by {name}, over the floor",
            medians[name] / medians[floor],
            f"{medians[name]:.1f} ms over {medians[floor]:.1f} ms, {PAGE:,} rows and a commit",
        )
        for name in others
    ]


def _copy_beside(rows: Sequence[Candle], symbol: str, connection: sa.Connection) -> None:
    connection.exec_driver_sql(
        "CREATE TEMPORARY TABLE IF NOT EXISTS beside (LIKE plain) ON COMMIT DELETE ROWS"
    )
    _copy_into(connection, "beside", symbol, rows)
    connection.exec_driver_sql("INSERT INTO plain SELECT * FROM beside ON CONFLICT DO NOTHING")


def _copy_straight(rows: Sequence[Candle], symbol: str, connection: sa.Connection) -> None:
    _copy_into(connection, "plain", symbol, rows)


def _copy_into(connection: sa.Connection, table: str, symbol: str, rows: Sequence[Candle]) -> None:
    statement = f"COPY {table} ({_NAMES}) FROM STDIN (FORMAT BINARY)"
    with driver_of(connection).cursor() as cursor, cursor.copy(statement.encode()) as taking:
        taking.set_types(_KINDS)
        for row in rows:
            taking.write_row((symbol, "1m", *row, "historical_fill"))


def _arrays(rows: Sequence[Candle], symbol: str, connection: sa.Connection) -> None:
    doubles = ", ".join(["%s::float8[]"] * 7)
    connection.exec_driver_sql(
        f"INSERT INTO plain SELECT %s, '1m', *, 'historical_fill' "  # noqa: S608 - a constant
        f"FROM unnest(%s::int8[], {doubles}) ON CONFLICT DO NOTHING",
        (symbol, *map(list, zip(*rows, strict=True))),
    )


def _values(rows: Sequence[Candle], symbol: str, connection: sa.Connection) -> None:
    marks = f"({', '.join(['%s'] * 11)})"
    for at in range(0, len(rows), 240):
        some = [(symbol, "1m", *row, "historical_fill") for row in rows[at : at + 240]]
        connection.exec_driver_sql(
            f"INSERT INTO plain VALUES {', '.join([marks] * len(some))} ON CONFLICT DO NOTHING",  # noqa: S608
            tuple(value for row in some for value in row),
        )


def _executemany(rows: Sequence[Candle], symbol: str, connection: sa.Connection) -> None:
    marks = ", ".join(["%s"] * 11)
    connection.exec_driver_sql(
        f"INSERT INTO plain VALUES ({marks}) ON CONFLICT DO NOTHING",  # noqa: S608
        [(symbol, "1m", *row, "historical_fill") for row in rows],
    )
