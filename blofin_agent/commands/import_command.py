"""The command `blofin-agent import`: its options, what it prints, its exit codes."""

import json
from functools import partial
from pathlib import Path

import click
import trio

from blofin_agent.commands import show
from blofin_agent.commands.console import opened, opened_to_plan, read_settings
from blofin_agent.commands.import_show import ImportShow, report_lines
from blofin_agent.commands.looking import json_option
from blofin_agent.jobs.legacy_import import source_file
from blofin_agent.jobs.legacy_import.candle_importer import Importer
from blofin_agent.jobs.legacy_import.report import Report
from blofin_agent.jobs.legacy_import.run_importer import import_runs
from blofin_agent.jobs.legacy_import.source_file import OldFile
from blofin_agent.runtime import clock
from blofin_agent.runtime.shutdown import Stop, until_signal
from blofin_agent.runtime.user_errors import FAILED, INCOMPLETE, Failed
from blofin_agent.store.database import Store
from blofin_agent.store.errors import StoreError, StoreUnavailable
from blofin_agent.store.retrying import Patient


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
            report = Report(str(file), store.where, dry_run)
            clock.run(partial(_import, old, store, report, shown))
    if as_json:
        click.echo(json.dumps(report.as_json()))
    else:
        show.print_lines(report_lines(report))
    if report.stopped:
        raise click.exceptions.Exit(FAILED)
    if not report.complete:
        raise click.exceptions.Exit(INCOMPLETE)


def _judge(old: OldFile) -> None:
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


async def _import(old: OldFile, store: Store, report: Report, shown: ImportShow) -> None:
    """Import all of it; a signal ends it after the transaction that is under way."""
    begun, stop = trio.current_time(), Stop(store.lines.cut_all)
    problem: StoreError | Failed | None = None
    old.heed(lambda: stop.came)
    async with until_signal(stop):
        try:
            if "ticks" in old.tables:
                await Importer(old, Patient(store), report, clock.wall_ms(), shown.advance).run()
            if "gap_fill_runs" in old.tables:
                await import_runs(old, Patient(store), report, shown.advance)
        except (StoreError, Failed) as error:
            problem = error
    stop.done()
    report.seconds, report.stopped = trio.current_time() - begun, stop.came
    if isinstance(problem, StoreUnavailable):
        raise Failed(f"{problem}; what was stored is kept: run it again to go on")
    if problem is not None and not stop.came:
        raise problem
