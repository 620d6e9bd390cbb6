"""Copying: rows of the tables that only grow: runs, verifications, replaced candles, ticks.

Each function is part of a transaction; see `Database.write`. The numbers of runs and their like are
each store's own: a row is known again by all its other columns.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import sqlalchemy as sa

from blofin_agent.store.postgresql.connections import advisory_lock
from blofin_agent.store.schema import (
    gap_fill_runs,
    replaced_candles,
    ticks,
    unavailable,
    verifications,
)

Values = tuple[Any, ...]
"""A row without its number, in the order of `Kind.columns`."""

_MOST: dict[type[sa.types.TypeEngine[Any]], int] = {sa.Integer: 1 << 31, sa.BigInteger: 1 << 63}
_TYPES: dict[type[sa.types.TypeEngine[Any]], type] = {
    sa.Text: str,
    sa.Double: float,
    sa.Integer: int,
    sa.BigInteger: int,
}
_IN_POSTGRESQL: dict[type[sa.types.TypeEngine[Any]], str] = {sa.Text: "text", sa.BigInteger: "int8"}


class TableKind:
    """A table that is copied row by row.

    `key`: the columns in the order of which it is read. `known_by`: those by whose index rows are
    found again; where they are the key, there can be but one row known by the same.
    """

    def __init__(self, table: sa.Table, key: Sequence[str], known_by: Sequence[str]) -> None:
        self.table = table
        self.columns = [column for column in table.columns if column.name != "id"]
        """What is copied: all but the number."""
        self.keys = [table.c[name] for name in key]
        self.known_by = [table.c[name] for name in known_by]
        self.one_of_each = key == known_by
        names = [column.name for column in self.columns]
        self.mark: Callable[[Values], Values] = itemgetter(*map(names.index, known_by))
        """Returns what a row is known by."""
        self.figures = [
            place for place, one in enumerate(self.columns) if isinstance(one.type, sa.Double)
        ]
        """Where the doubles of a row are."""
        self.names = _listed(self.columns)


def _listed(columns: Sequence[sa.Column[Any]]) -> str:
    return ", ".join(f'"{column.name}"' for column in columns)


_RUN = ("symbol", "started")
_TICK = ("symbol", "trade_id")
_PROOF = ("symbol", "bar", "start")
KINDS = (
    TableKind(gap_fill_runs, ("id",), _RUN),
    TableKind(verifications, ("id",), _RUN),
    TableKind(replaced_candles, ("id",), ("symbol", "open_time")),
    TableKind(ticks, _TICK, _TICK),
)
PROOFS = TableKind(unavailable, _PROOF, _PROOF)
"""Not among them: of proofs none may overlap another. See `copying_state`."""


class TablePart(NamedTuple):
    """Some rows, in the order in which they were written, and the key of the last one."""

    rows: list[Values]
    last: Values


def part(
    connection: sa.Connection,
    kind: TableKind,
    after: Values | None,
    most: int,
    symbols: Collection[str] | None,
) -> TablePart | None:
    """Return at most so many rows that come after this key: of these symbols, where named."""
    query = sa.select(*kind.columns, *kind.keys).order_by(*kind.keys).limit(most)
    if after is not None:
        query = query.where(sa.tuple_(*kind.keys) > sa.tuple_(*after))
    if symbols is not None:
        query = query.where(kind.table.c.symbol.in_(symbols))
    found = connection.execute(query).all()
    if not found:
        return None
    width = len(kind.columns)
    return TablePart([tuple(row[:width]) for row in found], tuple(found[-1][width:]))


def like(
    connection: sa.Connection, kind: TableKind, rows: Sequence[Values], up_to: Values | None = None
) -> list[Values]:
    """Return the rows that are known by the same as any of these. `up_to`: no later ones.

    In the engines' own words: SQLite would read the whole table, and PostgreSQL plan for longer
    than it reads.
    """
    marks = sorted({kind.mark(row) for row in rows})
    names, table, known_by = kind.names, kind.table.name, _listed(kind.known_by)
    values: list[object]
    if sqlite := connection.dialect.name == "sqlite":
        one = f"({', '.join('?' for _ in kind.known_by)})"
        # SQLite has no other way to name the columns of such rows.
        listed = f"WITH these ({known_by}) AS (VALUES {', '.join([one] * len(marks))})"
        these = f"({listed} SELECT * FROM these)"  # noqa: S608 - of the schema
        values = [value for some in marks for value in some]
    else:
        arrays = ", ".join(f"%s::{_IN_POSTGRESQL[type(one.type)]}[]" for one in kind.known_by)
        these = f"unnest({arrays}) AS these ({known_by})"
        values = [[*column] for column in zip(*marks, strict=True)]
    join = "CROSS JOIN" if sqlite else "JOIN"
    query = f"SELECT {names} FROM {these} {join} {table} USING ({known_by})"  # noqa: S608 - of the schema
    if up_to is not None:
        query += f" WHERE id <= {'?' if sqlite else '%s'}"
        values += up_to
    return [tuple(row) for row in connection.exec_driver_sql(query, tuple(values))]


def add(connection: sa.Connection, kind: TableKind, rows: Sequence[Values]) -> None:
    """Insert rows, in the order given. One that a key forbids is left out."""
    if not rows:
        return
    mark = "?" if connection.dialect.name == "sqlite" else "%s"
    marks = ", ".join([mark] * len(kind.columns))
    connection.exec_driver_sql(
        f"INSERT INTO {kind.table.name} ({kind.names}) VALUES ({marks}) "  # noqa: S608 - of the schema
        "ON CONFLICT DO NOTHING",
        [*rows],
    )


def one_at_a_time(connection: sa.Connection, kind: TableKind) -> None:
    """Let no other copy add rows to this table before the transaction ends."""
    advisory_lock(connection, f"copy of {kind.table.name}")


def takes(engine: str, kind: TableKind, row: Values) -> bool:
    """Return whether an engine, by its name, can hold a row as it is."""
    return all(
        _holds(engine, column, value) for column, value in zip(kind.columns, row, strict=True)
    )


def _holds(engine: str, column: sa.Column[Any], value: object) -> bool:
    if value is None:
        return bool(column.nullable)
    if not isinstance(value, _TYPES[type(column.type)]):
        return False
    if isinstance(value, str):
        return engine == "sqlite" or "\0" not in value
    if isinstance(value, float):
        return engine != "sqlite" or not math.isnan(value)
    most = _MOST[type(column.type)]
    return isinstance(value, int) and -most <= value < most


def lacking(
    kind: TableKind, rows: Sequence[Values], ours: Sequence[Values], theirs: Sequence[Values]
) -> list[Values]:
    """Return those of the rows that are not in the target, each as often as it is missing there.

    `ours` and `theirs`: all rows of source and target that are known by the same.
    """
    if kind.one_of_each:
        marks = set(map(kind.mark, theirs))
        return [row for row in rows if kind.mark(row) not in marks]
    missing = Counter(known(kind, row) for row in ours)
    missing -= Counter(known(kind, row) for row in theirs)
    found = []
    for row in rows:
        if missing[known(kind, row)] > 0:
            missing[known(kind, row)] -= 1
            found.append(row)
    return found


def known(kind: TableKind, row: Values) -> Values:
    """Return a row as it can be compared: NaN is equal to NaN."""
    if not any(_is_nan(row[place]) for place in kind.figures):
        return row
    return tuple("NaN" if _is_nan(one) else one for one in row)


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)
