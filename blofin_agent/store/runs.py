"""Runs: what each pass did to each symbol, in the table `gap_fill_runs`."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

import sqlalchemy as sa

from blofin_agent.core.candle import Bar
from blofin_agent.store.schema import gap_fill_runs


class Trigger(StrEnum):
    """What began a run. The values are public."""

    START = "start"
    PERIODIC = "periodic"
    HEAL = "heal"
    ONESHOT = "oneshot"


class Status(StrEnum):
    """How a run ended. The values are public."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(slots=True)
class Run:
    """One symbol in one pass; a row of `gap_fill_runs`. Times in ms, coverage from 0 to 1."""

    symbol: str
    bar: str
    trigger: Trigger
    started: int
    finished: int = 0
    missing_before: int = 0
    missing_after: int = 0
    gaps_found: int = 0
    requests: int = 0
    rate_limited: int = 0
    rows_fetched: int = 0
    rows_inserted: int = 0
    first_gap: int | None = None
    last_gap: int | None = None
    coverage_before: float = 1.0
    coverage_after: float = 1.0
    status: Status = Status.COMPLETE
    note: str = ""
    id: int = 0
    """Its number in the table, 0 before it is there; later ones are higher."""


def record(connection: sa.Connection, run: Run) -> None:
    """Write a run down."""
    values = asdict(run)
    del values["id"]
    values["trigger"], values["status"] = run.trigger.value, run.status.value
    connection.execute(sa.insert(gap_fill_runs).values(values))


def latest(
    connection: sa.Connection,
    bar: Bar,
    *,
    most: int,
    symbols: Sequence[str] | None = None,
    statuses: Sequence[Status] | None = None,
    before: int | None = None,
) -> list[Run]:
    """Return the last runs, the newest first: of these symbols, that ended so, where named.

    `before`: only those with a lower `id`.
    """
    c = gap_fill_runs.c
    query = sa.select(gap_fill_runs).where(c.bar == bar.value).order_by(c.id.desc()).limit(most)
    if symbols is not None:
        query = query.where(c.symbol.in_(symbols))
    if statuses is not None:
        query = query.where(c.status.in_([status.value for status in statuses]))
    if before is not None:
        query = query.where(c.id < before)
    return [_read(row) for row in connection.execute(query).mappings()]


def latest_of_each(connection: sa.Connection, bar: Bar, symbols: Iterable[str]) -> dict[str, Run]:
    """Return the last run of each of these symbols that has one."""
    c = gap_fill_runs.c
    # One short look into the index for each: the table holds millions of rows after some years.
    query = (
        sa.select(gap_fill_runs)
        .where(c.symbol == sa.bindparam("of"), c.bar == bar.value)
        .order_by(c.started.desc(), c.id.desc())
        .limit(1)
    )
    found = (connection.execute(query, {"of": symbol}).mappings().first() for symbol in symbols)
    return {row["symbol"]: _read(row) for row in found if row is not None}


def _read(row: sa.RowMapping) -> Run:
    values = dict(row)
    values["trigger"], values["status"] = Trigger(row["trigger"]), Status(row["status"])
    return Run(**values)
