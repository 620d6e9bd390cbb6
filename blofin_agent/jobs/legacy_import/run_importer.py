"""Imports the old scripts' runs: those of which the file says all that a run of ours says."""

from collections.abc import Callable
from dataclasses import asdict

import sqlalchemy as sa
import trio

from blofin_agent.domain.backfill_run import BackfillRun
from blofin_agent.jobs.legacy_import import row_parsing
from blofin_agent.jobs.legacy_import.report import ImportedRuns, ImportReport
from blofin_agent.jobs.legacy_import.row_parsing import OPTIONAL, RUNS
from blofin_agent.jobs.legacy_import.source_file import SourceFile
from blofin_agent.store.bulk_copy import table_copy
from blofin_agent.store.bulk_copy.table_copy import KINDS, Values
from blofin_agent.store.retrying import RetryingDatabase

BATCH_ROWS = 1_000
"""Rows that are read and written together."""

_KIND = next(kind for kind in KINDS if kind.table.name == "gap_fill_runs")


async def import_runs(
    old: SourceFile, store: RetryingDatabase, report: ImportReport, step: Callable[[int], None]
) -> None:
    """Import them, the oldest first, each once. Raises NotReadable and StoreUnavailable."""
    table = old.tables["gap_fill_runs"]
    columns = old.columns(table)
    names = row_parsing.recognise(columns, RUNS)
    lacking = [name for name in RUNS if name not in (*names, *OPTIONAL)]
    report.runs = told = ImportedRuns(lacking=lacking)
    wanted = [*names] if not lacking else []
    order = [names["started"]] if not lacking else []
    source = old.rows(
        table, [names[name] for name in wanted] or columns[:1], BATCH_ROWS, ordered_by=order
    )
    while part := await trio.to_thread.run_sync(next, source, None):
        step(len(part))
        told.rows += len(part)
        if lacking:
            continue
        found = (row_parsing.run(dict(zip(wanted, row, strict=True))) for row in part)
        usable = [_values(one) for one in found if one is not None]
        engine = store.store.engine.dialect.name
        usable = [row for row in usable if table_copy.takes(engine, _KIND, row)]
        told.usable += len(usable)
        if usable:
            told.stored += await _store(store, [*dict.fromkeys(usable)], dry_run=report.dry_run)


async def _store(store: RetryingDatabase, rows: list[Values], *, dry_run: bool) -> int:
    """Store those that are not there yet; return how many were, or would be, new."""

    def lacking(connection: sa.Connection) -> list[Values]:
        theirs = table_copy.like(connection, _KIND, rows)
        return table_copy.lacking(_KIND, rows, rows, theirs)

    def add(connection: sa.Connection) -> int:
        table_copy.one_at_a_time(connection, _KIND)
        new = lacking(connection)
        table_copy.add(connection, _KIND, new)
        return len(new)

    new = await store.read("import", lacking)
    if dry_run or not new:
        return len(new)
    return await store.write("import", add)


def _values(run: BackfillRun) -> Values:
    values = asdict(run) | {"trigger": run.trigger.value, "status": run.status.value}
    return tuple(values[column.name] for column in _KIND.columns)
