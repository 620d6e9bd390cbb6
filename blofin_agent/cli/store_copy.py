"""The command `blofin-agent copy`: its options, what it prints, its exit codes."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

import click
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from blofin_agent.cli import progress
from blofin_agent.cli.console import read_settings
from blofin_agent.cli.options import copied_option
from blofin_agent.cli.progress import TerminalBar
from blofin_agent.cli.queries import json_option
from blofin_agent.jobs.store_copy import job
from blofin_agent.jobs.store_copy.candle_copier import CopyCallbacks
from blofin_agent.jobs.store_copy.job import CopyRequest
from blofin_agent.jobs.store_copy.report import (
    CopiedRows,
    CopiedSeries,
    CopiedTable,
    CopyReport,
    DifferingDay,
    unit,
)
from blofin_agent.runtime import clock
from blofin_agent.runtime.format import minute_text, plural
from blofin_agent.runtime.user_errors import FAILED, INCOMPLETE, WrongUse
from blofin_agent.store.database import Database, open_store
from blofin_agent.store.errors import InvalidDatabaseUrl
from blofin_agent.store.timing import of_environment


@click.command("copy")
@click.option("--from", "source", required=True, metavar="URL", help="The store to copy from.")
@click.option("--to", "target", required=True, metavar="URL", help="The store to copy into.")
@copied_option
@json_option
def copy_command(
    source: str, target: str, symbols: tuple[str, ...] | None, *, as_json: bool
) -> None:
    """Copy a whole store into another: from SQLite to PostgreSQL, back, or to one of its kind.

    Candles are compared by count and checksum, symbol by symbol and day by day: a day that is
    equal on both sides is not written again, so after `kill -9`, a signal or an outage run it again
    and it goes on. What the target has is never overwritten: a candle that it has with other
    figures is told, and kept. Runs, verifications, replaced candles, proofs, ticks, BloFin's list
    of instruments, bans and used budget come too; who keeps which symbol does not.

    The source is only read, and must have been made or migrated by this version. The target is
    made where there is none. Agents may run on both meanwhile; what they store while this runs
    comes with the next run of it. So copy once while the agent runs, stop it, copy once more,
    which takes little time, and start it on the target.

    A password need not stand in a URL, where others on this machine may see it: PGPASSWORD and
    ~/.pgpass do as well.

    Exits with 0 when all of the source is in the target, 3 when something of it is not, as the
    target has other figures for a candle or cannot hold it, 1 when it was broken off.

    Example: blofin-agent copy --from sqlite:///data/blofin.db --to postgresql://blofin@db/blofin
    """
    shown = CopyShow(quiet=as_json)
    with (
        _opened(source, "--from", read_only=True) as one,
        _opened(target, "--to", read_only=False) as other,
        shown,
    ):
        here = read_settings(blofin_database_url=source).egress
        there = read_settings(blofin_database_url=target).egress
        order = CopyRequest.of(one, other, symbols, {"": there, here: there})
        report = clock.run(partial(job.copy, order, shown.teller()))
    if as_json:
        click.echo(json.dumps(report.as_json()))
    else:
        progress.print_lines(summary_lines(report))
    if report.stopped:
        raise click.exceptions.Exit(FAILED)
    if not report.complete:
        raise click.exceptions.Exit(INCOMPLETE)


@contextmanager
def _opened(url: str, option: str, *, read_only: bool) -> Iterator[Database]:
    """Open a store for the length of a block. Raises StoreUnusable, and WrongUse for its URL."""
    try:
        store = open_store(url, read_only=read_only, timing=of_environment())
    except InvalidDatabaseUrl as error:
        raise WrongUse(str(error).replace("BLOFIN_DATABASE_URL", option)) from None
    try:
        yield store
    finally:
        store.close()


MAX_LINES = 20
"""So many days with other candles are shown; `--json` has more."""


class CopyShow(TerminalBar):
    """Tells how a copy goes."""

    def __init__(self, *, quiet: bool) -> None:
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f} bars"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            quiet=quiet,
        )
        self.total(0)

    def teller(self) -> CopyCallbacks:
        """Return the functions that the copy calls."""
        return CopyCallbacks(
            self.total, self.describe, self.advance, lambda told: self.line(series_line(told))
        )


def series_line(told: CopiedSeries) -> str:
    """Return the line that says what came of a symbol."""
    days = plural(told.days, unit(told.bar))
    head = f"{told.symbol} {told.bar}: {_candles(told.candles)} in {days}"
    parts = []
    if told.copied:
        parts.append(f"{told.copied} copied")
    elif told.days and told.equal == told.days:
        parts.append("all equal already")
    if told.renamed:
        parts.append(f"{told.renamed} that it has from another source (kept)")
    if told.extra:
        parts.append(f"{told.extra} more there")
    return f"{head}: {', '.join([*parts, *_losses(told)]) or 'none to copy'}"


def kept_line(one: DifferingDay) -> str:
    """Return the line that says what the target has otherwise on a day."""
    day = datetime.fromtimestamp(one.start / 1000, UTC).strftime("%Y-%m-%d")
    figures = ", ".join(f"{name} {this}, there {that}" for name, (this, that) in one.fields.items())
    number = f"{one.candles} others there, the first at" if one.candles > 1 else "another there at"
    return f"{one.symbol} {one.bar} {day}: {number} {minute_text(one.first)}: {figures} (kept)"


def table_line(told: CopiedTable) -> str:
    """Return the line that says what came of another table."""
    parts = [f"{told.copied} copied" if told.copied else "none to copy"]
    if told.kept:
        parts.append(f"{told.kept} of which the target knows as well")
    return f"{told.table}: {plural(told.rows, 'row')}, {', '.join([*parts, *_losses(told)])}"


def summary_lines(report: CopyReport) -> list[str]:
    """Return the lines that close a copy."""
    lines = [kept_line(one) for one in report.kept[:MAX_LINES]]
    if report.days_kept > MAX_LINES:
        lines.append(f"and {report.days_kept - MAX_LINES} more days; --json lists them")
    lines += [table_line(one) for one in report.tables if one.rows]
    symbols = len({one.symbol for one in report.series})
    candles, copied = report.total("candles"), report.total("copied")
    took = report.candle_seconds
    rate = f", {candles / took:.0f} candles/s" if took and candles else ""
    days, equal = plural(report.total("days"), "day"), plural(report.total("equal"), "day")
    lines.append(
        f"{plural(symbols, 'symbol')}, {_candles(candles)} in {days} compared, {copied} copied, "
        f"{equal} equal before, {report.seconds:.1f} s{rate}"
    )
    lines.append(_verdict(report))
    return lines


def _verdict(report: CopyReport) -> str:
    if report.stopped:
        return "stopped before the end; what was copied is kept: run it again to go on"
    if report.complete:
        return f"complete: all of {report.source} is in {report.target}, by count and checksum"
    losses = ", ".join(_losses(report.losses()))
    return f"incomplete: not all of {report.source} is in {report.target}: {losses}"


def _losses(told: CopiedRows) -> list[str]:
    """Say what of the source is not in the target."""
    counts = {
        "that the target has otherwise (kept)": told.different,
        "that it cannot hold": told.refused,
        "not there when read again": told.lacking,
    }
    return [f"{count} {what}" for what, count in counts.items() if count]


def _candles(count: int) -> str:
    return plural(count, "candle")
