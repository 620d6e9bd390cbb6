"""Tables: what the commands that look into the store print."""

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from blofin_agent.coverage.gap_reasons import Gap
from blofin_agent.coverage.tracker import CoverageTracker, worst_first
from blofin_agent.domain.backfill_run import BackfillRun, RunStatus
from blofin_agent.domain.sanitize import one_line
from blofin_agent.domain.symbol_coverage import GOOD_COVERAGE, WARN_COVERAGE
from blofin_agent.domain.timeline import TimelineRun, make_timeline, timeline_runs
from blofin_agent.fleet.overview import FleetOverview
from blofin_agent.runtime.format import clock_text, duration_text, minute_text, percent

_COLOURS = ((GOOD_COVERAGE, "green"), (WARN_COVERAGE, "yellow"), (0.0, "red"))
WIDTH = 10_000
"""Columns where no terminal shows a table: there each row is one line."""
_PARTS = "░▒▓"
"""Columns in which something is missing, by the share that is held."""
_BESIDE_BAR = 71
"""Columns that the other figures of the coverage take; the bar has the rest."""
_BAR = (10, 60)
_STATUS_COLOURS = {
    RunStatus.COMPLETE: "green",
    RunStatus.PARTIAL: "yellow",
    RunStatus.SKIPPED: "default",
    RunStatus.FAILED: "red",
}


def coverage_table(tracker: CoverageTracker, columns: int) -> Table:
    """Return the table of `blofin-agent coverage`, worst first.

    `columns`: how long the bar is that shows each symbol's window.
    """
    table = _table(
        ["symbol"], ("coverage", "held", "missing", "unavailable"), ["newest candle", "window"]
    )
    over = make_timeline(tracker.window(), tracker.bar, columns)
    for symbol, count in worst_first(tracker.counts()):
        colour = next(name for least, name in _COLOURS if count.ratio >= least)
        history = tracker.histories[symbol]
        last = history.held.newest
        table.add_row(
            _plain(symbol),
            f"[{colour}]{percent(count.ratio)}[/]",
            *(str(n) for n in (count.present, count.missing, count.unavailable)),
            "none" if last is None else minute_text(last),
            _strip_bar(timeline_runs(history, over)),
        )
    return table


def _strip_bar(cells: Iterable[TimelineRun]) -> Text:
    """Return a window as one line: a full block is held, less is missing, dots not yet listed."""
    text = Text()
    for one in cells:
        held, missing, unavailable, _ = one.cell
        if missing or unavailable:
            part = held / (held + missing + unavailable)
            sign = _PARTS[int(part * len(_PARTS))]
            text.append(sign * one.columns, style="red" if missing else "yellow")
        else:
            text.append(("█" if held else "·") * one.columns, style="green" if held else "dim")
    return text


def gaps_table(gaps: Iterable[Gap]) -> Table:
    """Return the table of `blofin-agent gaps`. An end is that of the last bar missing."""
    table = _table(["symbol", "from", "to"], ["bars"], [], "why")
    for gap in gaps:
        colour = "default" if gap.unavailable else "red"
        table.add_row(
            _plain(gap.symbol),
            minute_text(gap.span.start),
            minute_text(gap.last),
            f"[{colour}]{gap.bars}[/]",
            _plain(gap.why),
        )
    return table


def runs_table(runs: Iterable[BackfillRun]) -> Table:
    """Return the table of `blofin-agent runs`."""
    figures = ("missing", "after", "requests", "429", "inserted", "took")
    table = _table(["started", "symbol", "trigger", "status"], figures, [], "note")
    for run in runs:
        table.add_row(
            clock_text(run.started).removesuffix(" UTC"),
            _plain(run.symbol),
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
            _plain(run.note),
        )
    return table


def fleet_table(fleets: Iterable[FleetOverview]) -> Table:
    """Return the table of `blofin-agent fleet`."""
    table = _table(["agent", "bar", "address", "state"], ["kept"], ["page"], "symbols")
    for each in fleets:
        for one in each.members:
            ago = duration_text(max(0, each.now - one.beat) / 1000)
            alive = one.lease > each.now
            table.add_row(
                _plain(one.service),
                _plain(one.bar),
                _plain(one.egress),
                f"[green]alive[/], seen {ago} ago" if alive else f"[red]gone[/], seen {ago} ago",
                str(len(one.symbols)),
                _plain(one.page),
                _plain(" ".join(one.symbols)),
            )
    return table


def _plain(text: str) -> str:
    """Return what the database has as it is shown: an older version may have written it."""
    return escape(one_line(text))


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


def bar_columns() -> int:
    """Return how long a window's bar may be on this terminal."""
    console = Console()
    room = console.width - _BESIDE_BAR if console.is_terminal else 0
    return max(_BAR[0], min(_BAR[1], room)) if room else _BAR[1] // 2


def print_table(table: Table) -> None:
    """Print a table; as wide as it needs to be where no terminal says otherwise."""
    console = Console(emoji=False)
    if not console.is_terminal:
        console = Console(width=WIDTH, emoji=False)
    console.print(table)
