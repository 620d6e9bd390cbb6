"""The command `blofin-agent import`: its options, what it prints, its exit codes."""

import json
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click
import trio
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

from blofin_agent.cli import progress
from blofin_agent.cli.console import opened, opened_to_plan, read_settings
from blofin_agent.cli.progress import TerminalBar
from blofin_agent.cli.queries import json_option
from blofin_agent.jobs.legacy_import import source_file
from blofin_agent.jobs.legacy_import.candle_importer import CandleImporter
from blofin_agent.jobs.legacy_import.report import (
    CloseDifference,
    FileFinding,
    ImportedRuns,
    ImportReport,
)
from blofin_agent.jobs.legacy_import.run_importer import import_runs
from blofin_agent.jobs.legacy_import.source_file import SourceFile
from blofin_agent.runtime import clock
from blofin_agent.runtime.format import minute_text, plural
from blofin_agent.runtime.shutdown import ShutdownState, run_until_signal
from blofin_agent.runtime.user_errors import FAILED, INCOMPLETE, Failed
from blofin_agent.store.database import Database
from blofin_agent.store.errors import StoreError, StoreUnavailable
from blofin_agent.store.retrying import RetryingDatabase


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Say what there is, and store nothing.")
@json_option
def import_command(file: Path, *, dry_run: bool, as_json: bool) -> None:
    """Import the SQLite file of the old scripts, as far as it can be trusted.

    The table ticks becomes candles only where a row has all of one: open, high, low, close and the
    three volumes, of a minute that is over. It becomes ticks only where a row has all of a trade:
    its id, price, size and side. Nothing is made of a price alone. The table gap_fill_runs becomes
    runs only where it says all that a run says.

    Of the rest you are told, symbol by symbol, how many minutes it touches, how many of these are
    stored already, whether the old closes are those of the stored candles, which shows how far the
    old data was right, and how many minutes are missing. `blofin-agent backfill` fetches those from
    BloFin.

    The file is only read. Stop the old scripts first. To import it again adds nothing.

    Exits with 0 when the store holds every minute that the file touches, 3 when some are missing.

    Example: blofin-agent import old/blofin.db --dry-run
    """
    settings = read_settings()
    with source_file.opened(file) as old:
        _judge(old)
        with (
            (opened_to_plan if dry_run else opened)(settings) as store,
            ImportShow(quiet=as_json) as shown,
        ):
            report = ImportReport(str(file), store.where, dry_run)
            clock.run(partial(_import, old, store, report, shown))
    if as_json:
        click.echo(json.dumps(report.as_json()))
    else:
        progress.print_lines(report_lines(report))
    if report.stopped:
        raise click.exceptions.Exit(FAILED)
    if not report.complete:
        raise click.exceptions.Exit(INCOMPLETE)


def _judge(old: SourceFile) -> None:
    """Raise Failed when a file is none of the old scripts'."""
    if old.is_ours:
        raise Failed(
            f"{old.path} is a database of blofin-agent: `blofin-agent copy --from "
            f"sqlite:///{old.path}` copies it"
        )
    if not {"ticks", "gap_fill_runs"} & set(old.tables):
        tables = ", ".join(sorted(old.tables)[:5])
        there = f"it has {tables}" if tables else "it is empty"
        raise Failed(f"{old.path} has neither a table ticks nor gap_fill_runs: {there}")


async def _import(
    old: SourceFile, store: Database, report: ImportReport, shown: "ImportShow"
) -> None:
    """Import all of it; a signal ends it after the transaction that is under way."""
    begun, stop = trio.current_time(), ShutdownState(store.lines.close_all)
    problem: StoreError | Failed | None = None
    old.heed(lambda: stop.requested)
    async with run_until_signal(stop):
        try:
            if "ticks" in old.tables:
                await CandleImporter(
                    old, RetryingDatabase(store), report, clock.wall_ms(), shown.advance
                ).run()
            if "gap_fill_runs" in old.tables:
                await import_runs(old, RetryingDatabase(store), report, shown.advance)
        except (StoreError, Failed) as error:
            problem = error
    stop.done()
    report.seconds, report.stopped = trio.current_time() - begun, stop.requested
    if isinstance(problem, StoreUnavailable):
        raise Failed(f"{problem}; what was stored is kept: run it again to go on")
    if problem is not None and not stop.requested:
        raise problem


MAX_LINES = 20
"""So many closes that differ are shown; `--json` has more."""
MAX_SYMBOLS = 10
"""So many symbols are named in the command that fetches what is missing."""


class ImportShow(TerminalBar):
    """Shows how many rows were read."""

    def __init__(self, *, quiet: bool) -> None:
        super().__init__(
            BarColumn(),
            TextColumn("{task.completed:,.0f} rows read"),
            TimeElapsedColumn(),
            quiet=quiet,
        )


def symbol_line(found: FileFinding, *, dry_run: bool) -> str:
    """Return the line that says what there was of a symbol."""
    span = f"{minute_text(found.first)} to {minute_text(found.last)}"
    parts = [f"{found.symbol}: {plural(found.rows, 'row')} from {span}"]
    if found.minutes:
        minutes = f"{plural(found.minutes, 'minute')}, {found.stored} of them stored"
        if found.missing:
            minutes += f", {found.missing} missing"
        if found.unavailable:
            minutes += f", {found.unavailable} that BloFin does not have"
        parts.append(minutes)
    if found.equal or found.different:
        parts.append(f"closes: {found.equal} as stored, {found.different} otherwise")
    would = "would be stored" if dry_run else "stored now"
    if found.candles:
        parts.append(f"{plural(found.candles, 'whole candle')}, {found.candles_stored} {would}")
    if found.ticks:
        now = "to be stored" if dry_run else f"{found.ticks_stored} stored now"
        parts.append(f"{plural(found.ticks, 'trade')}, {now}")
    return "; ".join(parts)


def difference_line(one: CloseDifference) -> str:
    """Return the line that says how an old close differs."""
    return (
        f"{one.symbol} {minute_text(one.open_time)}: the old close is {one.old}, stored is "
        f"{one.stored} (kept)"
    )


def runs_line(told: ImportedRuns, *, dry_run: bool) -> str:
    """Return the line that says what became of the old runs."""
    head = f"gap_fill_runs: {plural(told.rows, 'row')}"
    if told.lacking:
        return f"{head}, left: no column tells {', '.join(told.lacking)}, and nothing is made up"
    left = told.rows - told.usable
    would = "would be stored" if dry_run else "stored now"
    rest = f", {left} left, as they say not all that a run says" if left else ""
    return f"{head}, {told.stored} {would}, {told.usable - told.stored} already{rest}"


def report_lines(report: ImportReport) -> list[str]:
    """Return all that is to be said of an import."""
    lines = [
        symbol_line(found, dry_run=report.dry_run) for _, found in sorted(report.symbols.items())
    ]
    lines += [difference_line(one) for one in report.differences[:MAX_LINES]]
    different = report.total("different")
    if different > MAX_LINES:
        lines.append(f"and {different - MAX_LINES} more that differ; --json lists them")
    lines += [f"left: {plural(count, 'row')}: {why}" for why, count in report.left.most_common()]
    if report.runs is not None:
        lines.append(runs_line(report.runs, dry_run=report.dry_run))
    lines.append(_sum(report))
    return [*lines, *_verdict(report)]


def _sum(report: ImportReport) -> str:
    equal, different = report.total("equal"), report.total("different")
    compared = equal + different
    right = f", of {compared} closes compared {equal} are right" if compared else ""
    return (
        f"{plural(len(report.symbols), 'symbol')}, {plural(report.total('rows'), 'row')}, "
        f"{plural(report.total('candles_stored'), 'candle')} and "
        f"{plural(report.total('ticks_stored'), 'tick')} stored"
        f"{' (not really: --dry-run)' if report.dry_run else ''}{right}, {report.seconds:.1f} s"
    )


def _verdict(report: ImportReport) -> list[str]:
    if report.stopped:
        return ["stopped before the end; what was stored is kept: run it again to go on"]
    if not (missing := report.total("missing")):
        unavailable = report.total("unavailable")
        but = f", but for {unavailable} that BloFin does not have" if unavailable else ""
        return [f"complete: {report.target} holds a candle of every minute in the file{but}"]
    lacking = sorted(found.symbol for found in report.symbols.values() if found.missing)
    since = min(found.since for found in report.symbols.values() if found.since is not None)
    day = datetime.fromtimestamp(since / 1000, UTC).strftime("%Y-%m-%d")
    named = f"--symbols {','.join(lacking)} " if len(lacking) <= MAX_SYMBOLS else ""
    head = f"missing: {plural(missing, 'minute')} of {plural(len(lacking), 'symbol')}"
    return [
        f"{head}; where BloFin still has them, this fetches them:",
        f"  blofin-agent backfill {named}--since {day}",
    ]
