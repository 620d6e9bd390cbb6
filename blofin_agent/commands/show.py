"""What a backfill prints: plain lines, and a Rich progress bar on a terminal."""

import sys
from collections.abc import Iterable, Sequence
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from blofin_agent.backfill.gap_filler import Progress
from blofin_agent.commands.console import say
from blofin_agent.coverage.gap_reasons import spans_text
from blofin_agent.coverage.tracker import worst_first
from blofin_agent.domain.backfill_run import Run, Status
from blofin_agent.domain.candle_page import Answer
from blofin_agent.domain.page_plan import Page
from blofin_agent.domain.sanitize import one_line
from blofin_agent.domain.symbol_coverage import Count, History
from blofin_agent.jobs.backfill.report import Need, Report, Teller
from blofin_agent.runtime.format import duration_text, minute_text, percent, plural


def plan_line(need: Need) -> str:
    """Return the line that says how complete a symbol is and what it needs."""
    head = f"{need.symbol}: coverage {_coverage(need.count)}"
    if not need.gaps:
        return f"{head}, nothing missing"
    gaps = f"{need.count.missing} missing in {plural(len(need.gaps), 'gap')}"
    if not need.pages:
        return f"{head}, {gaps}: unavailable at BloFin, not yet asked for again"
    return f"{head}, {gaps}: {plural(need.pages, 'page')}"


def done_line(run: Run, expected: int) -> str:
    """Return the line that says what a run did for a symbol."""
    held = expected - run.missing_after
    coverage = f"coverage now {percent(run.coverage_after)} ({held}/{expected})"
    note = f"; {run.note}" if run.note else ""
    if run.status is Status.FAILED:
        return f"{run.symbol}: failed, {coverage}{note}"
    if run.status is Status.SKIPPED:
        return f"{run.symbol}: skipped, {coverage}{note}"
    candles = plural(run.rows_inserted, "candle")
    return (
        f"{run.symbol}: inserted {candles} in {plural(run.requests, 'request')}, {coverage}{note}"
    )


def _coverage(count: Count) -> str:
    return f"{percent(count.ratio)} ({count.present}/{count.expected})"


class TerminalBar:
    """A progress bar on a terminal's stderr, and lines above it; without a bar they are plain.

    Neither where `quiet`. `aside`: plain lines go to stderr, as stdout is for something else.
    """

    def __init__(self, *columns: ProgressColumn, quiet: bool = False, aside: bool = False) -> None:
        self._quiet = quiet
        self._aside = aside
        console = Console(stderr=True)
        self._bar = Bar(
            *columns,
            console=console,
            transient=True,
            disable=quiet or not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def line(self, text: str) -> None:
        """Print a line, as it is: nothing in it is Rich's markup or the name of a sign."""
        if self._quiet:
            return
        if self._bar.disable:
            print_lines([text], error=self._aside)
        else:
            text = one_line(text)
            self._bar.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)

    def describe(self, text: str) -> None:
        """Say what is worked at now."""
        self._bar.update(self._task, description=text)

    def total(self, count: int) -> None:
        """Say how much there is in all."""
        self._bar.update(self._task, total=count)

    def advance(self, count: int = 1) -> None:
        """Count what was done."""
        self._bar.advance(self._task, count)

    @property
    def done(self) -> int:
        """How much was done."""
        return int(self._bar.tasks[0].completed)


class PageBar(TerminalBar):
    """Tells how a command goes that asks for pages."""

    def __init__(self, *, verbose: bool, quiet: bool) -> None:
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("pages"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            quiet=quiet,
        )
        self.verbose = verbose


class BackfillShow(PageBar):
    """Tells how a one-shot backfill goes."""

    def __init__(self, *, verbose: bool, quiet: bool) -> None:
        super().__init__(verbose=verbose, quiet=quiet)
        self._expected: dict[str, int] = {}

    def teller(self) -> Teller:
        """Return the functions that the backfill calls."""
        return Teller(self._needs, self._left, self._progress, say)

    def _needs(self, needs: list[Need]) -> None:
        for need in needs:
            self._expected[need.symbol] = need.count.expected
            self.line(plan_line(need))
        self.total(sum(need.pages for need in needs))

    def _left(self, pages: int) -> None:
        self.total(self.done + pages)

    def _progress(self, history: History) -> Progress:
        def begin(_run: Run, _pages: int) -> None:
            self.describe(history.symbol)

        def page(_run: Run, page: Page, answer: Answer) -> None:
            self.advance()
            if self.verbose:
                self.line(page_line(history.symbol, page, answer))

        def finished(run: Run) -> None:
            if run.requests or run.status is not Status.COMPLETE:
                self.line(done_line(run, self._expected[run.symbol]))

        return Progress(begin, page, finished)


def page_line(symbol: str, page: Page, answer: Answer) -> str:
    """Return the line that says what a page brought."""
    if not answer.times:
        return f"{symbol}: page before {minute_text(page.after)}: empty"
    newest, oldest = minute_text(max(answer.times)), minute_text(min(answer.times))
    bad = f", {plural(len(answer.bad), 'row')} not usable" if answer.bad else ""
    return f"{symbol}: page of {plural(answer.rows, 'row')} ({newest} back to {oldest}){bad}"


def summary_lines(report: Report) -> list[str]:
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


def plan_lines(needs: Sequence[Need], seconds: float) -> list[str]:
    """Return the lines of a dry run."""
    lines = []
    for need in needs:
        lines.append(plan_line(need))
        if need.gaps:
            lines.append(f"  gaps: {spans_text(need.gaps, most=5)} (UTC)")
    pages = sum(need.pages for need in needs)
    lines.append(
        f"{plural(pages, 'page')} in all; the limits allow that in {duration_text(seconds)} at "
        "the least; nothing was fetched"
    )
    return lines


def print_lines(lines: Iterable[str], *, error: bool = False) -> None:
    """Print plain lines."""
    for line in lines:
        print(one_line(line), file=sys.stderr if error else sys.stdout, flush=True)
