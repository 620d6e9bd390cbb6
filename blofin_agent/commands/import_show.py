"""What an import prints: a line a symbol, what was left and why, and what to do next."""

from datetime import UTC, datetime

from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

from blofin_agent.commands.show import TerminalBar
from blofin_agent.jobs.legacy_import.report import Difference, Found, Report, Runs
from blofin_agent.runtime.format import minute_text, plural

MOST_LINES = 20
"""So many closes that differ are shown; `--json` has more."""
MOST_SYMBOLS = 10
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


def symbol_line(found: Found, *, dry_run: bool) -> str:
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


def difference_line(one: Difference) -> str:
    """Return the line that says how an old close differs."""
    return (
        f"{one.symbol} {minute_text(one.open_time)}: the old close is {one.old}, stored is "
        f"{one.stored} (kept)"
    )


def runs_line(told: Runs, *, dry_run: bool) -> str:
    """Return the line that says what became of the old runs."""
    head = f"gap_fill_runs: {plural(told.rows, 'row')}"
    if told.lacking:
        return f"{head}, left: no column tells {', '.join(told.lacking)}, and nothing is made up"
    left = told.rows - told.usable
    would = "would be stored" if dry_run else "stored now"
    rest = f", {left} left, as they say not all that a run says" if left else ""
    return f"{head}, {told.stored} {would}, {told.usable - told.stored} already{rest}"


def report_lines(report: Report) -> list[str]:
    """Return all that is to be said of an import."""
    lines = [
        symbol_line(found, dry_run=report.dry_run) for _, found in sorted(report.symbols.items())
    ]
    lines += [difference_line(one) for one in report.differences[:MOST_LINES]]
    different = report.total("different")
    if different > MOST_LINES:
        lines.append(f"and {different - MOST_LINES} more that differ; --json lists them")
    lines += [f"left: {plural(count, 'row')}: {why}" for why, count in report.left.most_common()]
    if report.runs is not None:
        lines.append(runs_line(report.runs, dry_run=report.dry_run))
    lines.append(_sum(report))
    return [*lines, *_verdict(report)]


def _sum(report: Report) -> str:
    equal, different = report.total("equal"), report.total("different")
    compared = equal + different
    right = f", of {compared} closes compared {equal} are right" if compared else ""
    return (
        f"{plural(len(report.symbols), 'symbol')}, {plural(report.total('rows'), 'row')}, "
        f"{plural(report.total('candles_stored'), 'candle')} and "
        f"{plural(report.total('ticks_stored'), 'tick')} stored"
        f"{' (not really: --dry-run)' if report.dry_run else ''}{right}, {report.seconds:.1f} s"
    )


def _verdict(report: Report) -> list[str]:
    if report.stopped:
        return ["stopped before the end; what was stored is kept: run it again to go on"]
    if not (missing := report.total("missing")):
        unavailable = report.total("unavailable")
        but = f", but for {unavailable} that BloFin does not have" if unavailable else ""
        return [f"complete: {report.target} holds a candle of every minute in the file{but}"]
    lacking = sorted(found.symbol for found in report.symbols.values() if found.missing)
    since = min(found.since for found in report.symbols.values() if found.since is not None)
    day = datetime.fromtimestamp(since / 1000, UTC).strftime("%Y-%m-%d")
    named = f"--symbols {','.join(lacking)} " if len(lacking) <= MOST_SYMBOLS else ""
    head = f"missing: {plural(missing, 'minute')} of {plural(len(lacking), 'symbol')}"
    return [
        f"{head}; where BloFin still has them, this fetches them:",
        f"  blofin-agent backfill {named}--since {day}",
    ]
