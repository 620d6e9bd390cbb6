"""What a copy prints: a line a symbol, a progress bar on a terminal, and a summary."""

from datetime import UTC, datetime

from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from blofin_agent.commands.show import TerminalBar
from blofin_agent.jobs.store_copy.candle_copier import Teller
from blofin_agent.jobs.store_copy.report import Copied, Kept, Outcome, Report, Table, unit
from blofin_agent.runtime.format import minute_text, plural

MOST_LINES = 20
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

    def teller(self) -> Teller:
        """Return the functions that the copy calls."""
        return Teller(
            self.total, self.describe, self.advance, lambda told: self.line(series_line(told))
        )


def series_line(told: Copied) -> str:
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


def kept_line(one: Kept) -> str:
    """Return the line that says what the target has otherwise on a day."""
    day = datetime.fromtimestamp(one.start / 1000, UTC).strftime("%Y-%m-%d")
    figures = ", ".join(f"{name} {this}, there {that}" for name, (this, that) in one.fields.items())
    number = f"{one.candles} others there, the first at" if one.candles > 1 else "another there at"
    return f"{one.symbol} {one.bar} {day}: {number} {minute_text(one.first)}: {figures} (kept)"


def table_line(told: Table) -> str:
    """Return the line that says what came of another table."""
    parts = [f"{told.copied} copied" if told.copied else "none to copy"]
    if told.kept:
        parts.append(f"{told.kept} of which the target knows as well")
    return f"{told.table}: {plural(told.rows, 'row')}, {', '.join([*parts, *_losses(told)])}"


def summary_lines(report: Report) -> list[str]:
    """Return the lines that close a copy."""
    lines = [kept_line(one) for one in report.kept[:MOST_LINES]]
    if report.days_kept > MOST_LINES:
        lines.append(f"and {report.days_kept - MOST_LINES} more days; --json lists them")
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


def _verdict(report: Report) -> str:
    if report.stopped:
        return "stopped before the end; what was copied is kept: run it again to go on"
    if report.complete:
        return f"complete: all of {report.source} is in {report.target}, by count and checksum"
    losses = ", ".join(_losses(report.losses()))
    return f"incomplete: not all of {report.source} is in {report.target}: {losses}"


def _losses(told: Outcome) -> list[str]:
    """Say what of the source is not in the target."""
    counts = {
        "that the target has otherwise (kept)": told.different,
        "that it cannot hold": told.refused,
        "not there when read again": told.lacking,
    }
    return [f"{count} {what}" for what, count in counts.items() if count]


def _candles(count: int) -> str:
    return plural(count, "candle")
