"""Tables: what the commands that look into the store print."""

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from blofin_agent.core.history import GOOD_COVERAGE, WARN_COVERAGE, Count
from blofin_agent.core.run import Run, Status
from blofin_agent.gaps import Gap
from blofin_agent.text import clock_text, duration_text, minute_text, percent
from blofin_agent.watch import worst_first

_COLOURS = ((GOOD_COVERAGE, "green"), (WARN_COVERAGE, "yellow"), (0.0, "red"))
WIDTH = 10_000
"""Columns where no terminal shows a table: there each row is one line."""
_STATUS_COLOURS = {
    Status.COMPLETE: "green",
    Status.PARTIAL: "yellow",
    Status.SKIPPED: "default",
    Status.FAILED: "red",
}


def coverage_table(counts: dict[str, Count], newest: dict[str, int | None]) -> Table:
    """Return the table of `blofin-agent coverage`, worst first."""
    figures = ("coverage", "held", "expected", "missing", "unavailable")
    table = _table(["symbol"], figures, ["newest candle"])
    for symbol, count in worst_first(counts):
        colour = next(name for least, name in _COLOURS if count.ratio >= least)
        last = newest[symbol]
        table.add_row(
            symbol,
            f"[{colour}]{percent(count.ratio)}[/]",
            *(str(n) for n in (count.present, count.expected, count.missing, count.unavailable)),
            "none" if last is None else clock_text(last),
        )
    return table


def gaps_table(gaps: Iterable[Gap]) -> Table:
    """Return the table of `blofin-agent gaps`. An end is that of the last bar missing."""
    table = _table(["symbol", "from", "to"], ["bars"], [], "why")
    for gap in gaps:
        colour = "default" if gap.unavailable else "red"
        table.add_row(
            gap.symbol,
            minute_text(gap.span.start),
            minute_text(gap.last),
            f"[{colour}]{gap.bars}[/]",
            escape(gap.why),
        )
    return table


def runs_table(runs: Iterable[Run]) -> Table:
    """Return the table of `blofin-agent runs`."""
    figures = ("missing", "after", "requests", "429", "inserted", "took")
    table = _table(["started", "symbol", "trigger", "status"], figures, [], "note")
    for run in runs:
        table.add_row(
            clock_text(run.started).removesuffix(" UTC"),
            run.symbol,
            run.trigger.value,
            f"[{_STATUS_COLOURS[run.status]}]{run.status.value}[/]",
            *(
                str(figure)
                for figure in (
                    run.missing_before,
                    run.missing_after,
                    run.requests,
                    run.rate_limited,
                    run.rows_inserted,
                )
            ),
            duration_text((run.finished - run.started) / 1000),
            escape(run.note),
        )
    return table


def _table(
    words: Iterable[str], figures: Iterable[str], more: Iterable[str], text: str = ""
) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in words:
        table.add_column(name, no_wrap=True)
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    for name in more:
        table.add_column(name, no_wrap=True)
    if text:
        table.add_column(text, overflow="fold")
    return table


def print_table(table: Table) -> None:
    """Print a table; as wide as it needs to be where no terminal says otherwise."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    console.print(table)
