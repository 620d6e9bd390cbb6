"""Runs: what each pass did to each symbol, in the table `gap_fill_runs`."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from heapq import nlargest

import sqlalchemy as sa

from blofin_agent.domain.backfill_run import BackfillRun, RunStatus, RunTrigger
from blofin_agent.domain.candle import Timeframe
from blofin_agent.store.schema import gap_fill_runs

_RECORD = sa.insert(gap_fill_runs)


def record(connection: sa.Connection, run: BackfillRun) -> None:
    """Write a run down."""
    values = asdict(run)
    del values["id"]
    values["trigger"], values["status"] = run.trigger.value, run.status.value
    connection.execute(_RECORD, values)


def latest(
    connection: sa.Connection,
    bar: Timeframe,
    *,
    most: int,
    symbols: Sequence[str] | None = None,
    statuses: Sequence[RunStatus] | None = None,
    before: int | None = None,
) -> list[BackfillRun]:
    """Return the last runs, the newest first: of these symbols, that ended so, where named.

    `before`: only those with a lower `id`.
    """
    c = gap_fill_runs.c
    query = sa.select(c.id).where(c.bar == bar.value).order_by(c.id.desc()).limit(most)
    if before is not None:
        query = query.where(c.id < before)
    # One short look into an index for each: in one query all runs of a symbol would be sorted, or
    # all there are looked through for those few that failed.
    chosen = [c.status == status.value for status in set(statuses or RunStatus)]
    if symbols is not None:
        chosen = [sa.and_(c.symbol == one, way) for one in set(symbols) for way in chosen]
    ids = (id_ for these in chosen for id_ in connection.scalars(query.where(these)))
    found = sa.select(gap_fill_runs).where(c.id.in_(nlargest(most, ids))).order_by(c.id.desc())
    return [_read(row) for row in connection.execute(found).mappings()]


def latest_of_each(
    connection: sa.Connection, bar: Timeframe, symbols: Iterable[str]
) -> dict[str, BackfillRun]:
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


def _read(row: sa.RowMapping) -> BackfillRun:
    values = dict(row)
    values["trigger"], values["status"] = RunTrigger(row["trigger"]), RunStatus(row["status"])
    return BackfillRun(**values)
