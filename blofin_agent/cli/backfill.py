"""The command `blofin-agent backfill`: its options, what it prints, its exit codes."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import httpx

from blofin_agent import __version__
from blofin_agent.backfill.gap_filler import ProgressCallbacks
from blofin_agent.cli import progress
from blofin_agent.cli.console import opened, opened_to_plan, read_settings, say
from blofin_agent.cli.options import (
    judge_range,
    lookback_option,
    pushgateway_option,
    since_option,
    symbols_option,
    textfile_option,
    until_option,
)
from blofin_agent.cli.progress import PageBar, page_line
from blofin_agent.config import Settings
from blofin_agent.coverage.gap_reasons import ranges_text
from blofin_agent.coverage.tracker import worst_first
from blofin_agent.domain.backfill_run import BackfillRun, RunStatus
from blofin_agent.domain.candle_page import CandlePage
from blofin_agent.domain.page_plan import PageRequest
from blofin_agent.domain.symbol_coverage import CoverageCounts, SymbolCoverage
from blofin_agent.exchange.rest_client import client as make_client
from blofin_agent.jobs.backfill import job
from blofin_agent.jobs.backfill.report import (
    BackfillCallbacks,
    BackfillReport,
    SymbolNeed,
    plan_json,
)
from blofin_agent.observability.push import NOWHERE, PublishTargets
from blofin_agent.observability.pushgateway import Pushgateway
from blofin_agent.runtime import clock
from blofin_agent.runtime.format import duration_text, percent, plural
from blofin_agent.runtime.user_errors import FAILED, INCOMPLETE


@click.command()
@symbols_option
@lookback_option
@since_option
@until_option
@click.option("--dry-run", is_flag=True, help="Print the plan and fetch nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and no lines.")
@textfile_option
@pushgateway_option
@click.option("-v", "--verbose", is_flag=True, help="A line for each page.")
def backfill(
    symbols: tuple[str, ...] | None,
    lookback_hours: int | None,
    since: int | None,
    until: int | None,
    textfile: Path | None,
    pushgateway: Pushgateway | None,
    *,
    dry_run: bool,
    as_json: bool,
    verbose: bool,
) -> None:
    """Fill the gaps once, and exit.

    Exits with 0 when nothing is missing, 3 when something still is.

    Example: blofin-agent backfill --symbols BTC-USDT --since 2026-02-01 --until 2026-02-08
    """
    judge_range(since, until, lookback_hours)
    targets = PublishTargets(textfile, pushgateway)
    if dry_run and targets != NOWHERE:
        raise click.UsageError(
            "--dry-run does nothing that metrics could tell of; leave out --metrics-textfile and "
            "--pushgateway"
        )
    settings = read_settings(blofin_symbols=symbols, backfill_lookback_hours=lookback_hours)
    order = job.BackfillRequest(settings, since, until, symbols is not None, targets)
    if dry_run:
        with opened_to_plan(settings) as store:
            _tell_plan(
                *_with_client(settings, lambda http: job.plan(order, store, http)),
                as_json=as_json,
            )
        return
    with opened(settings) as store, BackfillShow(verbose=verbose, quiet=as_json) as shown:
        report = _with_client(
            settings, lambda http: job.backfill(order, store, http, shown.teller())
        )
    _tell(report, as_json=as_json)


def _tell_plan(needs: list[SymbolNeed], seconds: float, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(plan_json(needs, seconds)))
    else:
        progress.print_lines(plan_lines(needs, seconds))


def _tell(report: BackfillReport, *, as_json: bool) -> None:
    """Print what came of it, and exit with what that means."""
    if as_json:
        click.echo(json.dumps(report.as_json()))
    else:
        progress.print_lines(summary_lines(report))
    if report.stopped or report.failed or not report.published:
        raise click.exceptions.Exit(FAILED)
    if not report.complete:
        raise click.exceptions.Exit(INCOMPLETE)


def _with_client(settings: Settings, work: Callable[[httpx.AsyncClient], Any]) -> Any:
    async def main() -> Any:
        async with make_client(settings.blofin_rest_url, __version__) as http:
            return await work(http)

    return clock.run(main)


def plan_line(need: SymbolNeed) -> str:
    """Return the line that says how complete a symbol is and what it needs."""
    head = f"{need.symbol}: coverage {_coverage(need.count)}"
    if not need.gaps:
        return f"{head}, nothing missing"
    gaps = f"{need.count.missing} missing in {plural(len(need.gaps), 'gap')}"
    if not need.pages:
        return f"{head}, {gaps}: unavailable at BloFin, not yet asked for again"
    return f"{head}, {gaps}: {plural(need.pages, 'page')}"


def done_line(run: BackfillRun, expected: int) -> str:
    """Return the line that says what a run did for a symbol."""
    held = expected - run.missing_after
    coverage = f"coverage now {percent(run.coverage_after)} ({held}/{expected})"
    note = f"; {run.note}" if run.note else ""
    if run.status is RunStatus.FAILED:
        return f"{run.symbol}: failed, {coverage}{note}"
    if run.status is RunStatus.SKIPPED:
        return f"{run.symbol}: skipped, {coverage}{note}"
    candles = plural(run.rows_inserted, "candle")
    return (
        f"{run.symbol}: inserted {candles} in {plural(run.requests, 'request')}, {coverage}{note}"
    )


def _coverage(count: CoverageCounts) -> str:
    return f"{percent(count.ratio)} ({count.present}/{count.expected})"


class BackfillShow(PageBar):
    """Tells how a one-shot backfill goes."""

    def __init__(self, *, verbose: bool, quiet: bool) -> None:
        super().__init__(verbose=verbose, quiet=quiet)
        self._expected: dict[str, int] = {}

    def teller(self) -> BackfillCallbacks:
        """Return the functions that the backfill calls."""
        return BackfillCallbacks(self._needs, self._left, self._progress, say)

    def _needs(self, needs: list[SymbolNeed]) -> None:
        for need in needs:
            self._expected[need.symbol] = need.count.expected
            self.line(plan_line(need))
        self.total(sum(need.pages for need in needs))

    def _left(self, pages: int) -> None:
        self.total(self.done + pages)

    def _progress(self, history: SymbolCoverage) -> ProgressCallbacks:
        def begin(_run: BackfillRun, _pages: int) -> None:
            self.describe(history.symbol)

        def page(_run: BackfillRun, page: PageRequest, answer: CandlePage) -> None:
            self.advance()
            if self.verbose:
                self.line(page_line(history.symbol, page, answer))

        def finished(run: BackfillRun) -> None:
            if run.requests or run.status is not RunStatus.COMPLETE:
                self.line(done_line(run, self._expected[run.symbol]))

        return ProgressCallbacks(begin, page, finished)


def summary_lines(report: BackfillReport) -> list[str]:
    """Return the lines that close a backfill."""
    requests = sum(run.requests for run in report.runs)
    rows = sum(run.rows_inserted for run in report.runs)
    limited = sum(run.rate_limited for run in report.runs)
    head = (
        f"{plural(len(report.counts), 'symbol')}, {plural(requests, 'request')}, "
        f"{plural(rows, 'row')} inserted, {limited} times 429, {report.seconds:.1f} s"
    )
    for symbol, count in worst_first(report.counts)[:1]:
        head += f"; worst: {symbol} {_coverage(count)}"
    lines = [head]
    short = [(symbol, count) for symbol, count in worst_first(report.counts) if count.missing]
    if report.stopped:
        lines.append("stopped before the end; what was stored is kept, and the next run goes on")
    elif short:
        total = sum(count.missing for _, count in short)
        lines.append(f"incomplete: {total} missing in {plural(len(short), 'symbol')}:")
        notes = {run.symbol: run.note for run in report.runs}
        lines += [
            f"  {symbol}: {count.missing} missing: {notes.get(symbol) or 'not reached'}"
            for symbol, count in short
        ]
    else:
        lines.append("complete")
    return lines


def plan_lines(needs: Sequence[SymbolNeed], seconds: float) -> list[str]:
    """Return the lines of a dry run."""
    lines = []
    for need in needs:
        lines.append(plan_line(need))
        if need.gaps:
            lines.append(f"  gaps: {ranges_text(need.gaps, most=5)} (UTC)")
    pages = sum(need.pages for need in needs)
    lines.append(
        f"{plural(pages, 'page')} in all; the limits allow that in {duration_text(seconds)} at "
        "the least; nothing was fetched"
    )
    return lines
