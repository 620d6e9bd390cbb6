"""What a copy prints: a line a symbol, a progress bar on a terminal, and a summary."""

from datetime import UTC, datetime
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from blofin_agent.commands.copier import Teller
from blofin_agent.commands.copy_report import Copied, Kept, Report, Table
from blofin_agent.commands.show import print_above, print_lines
from blofin_agent.core.candle import Bar
from blofin_agent.text import minute_text, plural

MOST_LINES = 20
"""So many days with other candles are shown; `--json` has more."""


class CopyShow:
    """Tells how a copy goes: lines on stdout, a bar on a terminal's stderr; nothing if `quiet`."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f} bars"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=quiet or not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=0)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def teller(self) -> Teller:
        """Return the functions that the copy calls."""
        return Teller(
            lambda bars: self._bar.update(self._task, total=bars),
            lambda symbol: self._bar.update(self._task, description=symbol),
            lambda bars: self._bar.advance(self._task, bars),
            lambda told: self._line(series_line(told)),
        )

    def _line(self, text: str) -> None:
        if self._quiet:
            return
        if self._bar.disable:
            print_lines([text])
        else:
            print_above(self._bar, text)


def series_line(told: Copied) -> str:
    """Return the line that says what came of a symbol."""
    head = f"{told.symbol} {told.bar}: {_candles(told.candles)} in {_days(told.days, told.bar)}"
    parts = []
    if told.copied:
        parts.append(f"{told.copied} copied")
    elif told.days and told.equal == told.days:
        parts.append("all equal already")
    if told.different:
        parts.append(f"{told.different} that the target has otherwise (kept)")
    if told.renamed:
        parts.append(f"{told.renamed} that it has from another source (kept)")
    if told.extra:
        parts.append(f"{told.extra} more there")
    if told.refused:
        parts.append(f"{told.refused} that it cannot hold")
    if told.lacking:
        parts.append(f"{told.lacking} not there when read again")
    return f"{head}: {', '.join(parts) or 'none to copy'}"


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
    if told.different:
        parts.append(f"{told.different} that the target has otherwise (kept)")
    if told.refused:
        parts.append(f"{told.refused} that it cannot hold")
    if told.lacking:
        parts.append(f"{told.lacking} not there when read again")
    return f"{told.table}: {plural(told.rows, 'row')}, {', '.join(parts)}"


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
    parts = []
    if different := report.everywhere("different"):
        parts.append(f"{different} that the target has otherwise")
    if refused := report.everywhere("refused"):
        parts.append(f"{refused} that it cannot hold")
    if lacking := report.everywhere("lacking"):
        parts.append(f"{lacking} that were not there when they were read again")
    return f"incomplete: not all of {report.source} is in {report.target}: {', '.join(parts)}"


def _candles(count: int) -> str:
    return plural(count, "candle")


def _days(count: int, bar: str) -> str:
    return plural(count, "day" if bar == Bar.M1.value else "block")
