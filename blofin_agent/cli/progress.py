"""What a backfill prints: plain lines, and a Rich progress bar on a terminal."""

import sys
from collections.abc import Iterable
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

from blofin_agent.domain.candle_page import CandlePage
from blofin_agent.domain.page_plan import PageRequest
from blofin_agent.domain.sanitize import one_line
from blofin_agent.runtime.format import minute_text, plural


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


def page_line(symbol: str, page: PageRequest, answer: CandlePage) -> str:
    """Return the line that says what a page brought."""
    if not answer.times:
        return f"{symbol}: page before {minute_text(page.after)}: empty"
    newest, oldest = minute_text(max(answer.times)), minute_text(min(answer.times))
    bad = f", {plural(len(answer.bad), 'row')} not usable" if answer.bad else ""
    return f"{symbol}: page of {plural(answer.rows, 'row')} ({newest} back to {oldest}){bad}"


def print_lines(lines: Iterable[str], *, error: bool = False) -> None:
    """Print plain lines."""
    for line in lines:
        print(one_line(line), file=sys.stderr if error else sys.stdout, flush=True)
