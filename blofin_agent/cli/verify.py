"""The command `blofin-agent verify`: its options, what it prints, its exit codes."""

import json
import random
from pathlib import Path

import click

from blofin_agent import __version__
from blofin_agent.cli import progress
from blofin_agent.cli.console import opened, read_settings, say
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
from blofin_agent.coverage.gap_reasons import range_text
from blofin_agent.domain.candle_page import CandlePage
from blofin_agent.domain.page_plan import PageRequest
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.exchange.rest_client import client as make_client
from blofin_agent.jobs.verify import job as verifying
from blofin_agent.jobs.verify.job import VerifyRequest
from blofin_agent.jobs.verify.report import Mismatch, VerifyCallbacks, VerifyProgress, VerifyReport
from blofin_agent.observability.push import PublishTargets
from blofin_agent.observability.pushgateway import Pushgateway
from blofin_agent.runtime import clock
from blofin_agent.runtime.format import minute_text, plural
from blofin_agent.runtime.user_errors import FAILED, INCOMPLETE
from blofin_agent.store.tables.verifications import Verification, VerificationOutcome

PAGES = 3
"""Pages drawn of each symbol, where nothing else is said."""


@click.command()
@symbols_option
@click.option(
    "--sample",
    type=click.IntRange(1, 10_000),
    metavar="N",
    help=f"N pages of each symbol, drawn at random and spread over the window; {PAGES} unless a "
    "range is given.",
)
@click.option("--seed", type=click.IntRange(0, (1 << 63) - 1), help="Draw the same sample again.")
@lookback_option
@since_option
@until_option
@click.option("--repair", is_flag=True, help="Replace what differs, and store what is missing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and no lines.")
@textfile_option
@pushgateway_option
@click.option("-v", "--verbose", is_flag=True, help="A line for each page.")
def verify(
    symbols: tuple[str, ...] | None,
    sample: int | None,
    seed: int | None,
    lookback_hours: int | None,
    since: int | None,
    until: int | None,
    textfile: Path | None,
    pushgateway: Pushgateway | None,
    *,
    repair: bool,
    as_json: bool,
    verbose: bool,
) -> None:
    """Ask BloFin again for stored candles, and compare field by field.

    A random sample of the window; or all that is stored, where --since, --until or
    --lookback-hours names a range. What differs is asked for twice before it is believed. A
    candle that BloFin does not have is told, and never deleted.

    Exits with 0 when all is equal or was repaired, 3 when something still differs or could not be
    compared.

    Example: blofin-agent verify --symbols BTC-USDT --since 2026-02-01 --until 2026-02-02 --repair
    """
    judge_range(since, until, lookback_hours)
    if sample is None and (since, until, lookback_hours) == (None, None, None):
        sample = PAGES
    if sample is None and seed is not None:
        raise click.UsageError("--seed is for a sample; give --sample too, or leave it out")
    settings = read_settings(blofin_symbols=symbols, backfill_lookback_hours=lookback_hours)
    order = VerifyRequest(
        settings,
        since,
        until,
        named=symbols is not None,
        sample=sample,
        seed=random.randrange(1 << 31) if seed is None else seed,  # noqa: S311 - no secret
        repair=repair,
        targets=PublishTargets(textfile, pushgateway),
    )
    shown = VerifyShow(sample=sample, seed=order.seed, verbose=verbose, quiet=as_json)

    async def main() -> VerifyReport:
        async with make_client(settings.blofin_rest_url, __version__) as http:
            return await verifying.verify(order, store, http, shown.teller())

    with opened(settings, existing=True) as store, shown:
        report = clock.run(main)
    _tell(report, as_json=as_json)


def _tell(report: VerifyReport, *, as_json: bool) -> None:
    """Print what came of it, and exit with what that means."""
    if as_json:
        click.echo(json.dumps(report.as_json()))
    else:
        progress.print_lines(summary_lines(report))
    if report.failed or not report.published:
        raise click.exceptions.Exit(FAILED)
    if not report.clean:
        raise click.exceptions.Exit(INCOMPLETE)


MAX_LINES = 20
"""So many mismatches are shown; `--json` has all."""


class VerifyShow(PageBar):
    """Tells how a verification goes: lines on stdout, a bar on a terminal's stderr."""

    def __init__(self, *, sample: int | None, seed: int, verbose: bool, quiet: bool) -> None:
        super().__init__(verbose=verbose, quiet=quiet)
        self._sample = sample
        self._seed = seed
        self._to_come: dict[str, int] = {}

    def teller(self) -> VerifyCallbacks:
        """Return the functions that the verification calls."""
        return VerifyCallbacks(
            self._begun, VerifyProgress(self._planned, self._fetched), self._finished, say
        )

    def _begun(self, window: TimeRange, pages: dict[str, int]) -> None:
        what = (
            "all that is stored"
            if self._sample is None
            else f"{plural(self._sample, 'page')} of each symbol (seed {self._seed})"
        )
        self.line(
            f"asking BloFin again for {what} from {range_text(window)} (UTC): "
            f"{plural(len(pages), 'symbol')}, {plural(sum(pages.values()), 'page')}"
        )
        self._to_come = dict(pages)
        self.total(sum(pages.values()))

    def _planned(self, symbol: str, pages: int) -> None:
        self._to_come.pop(symbol, None)
        self.describe(symbol)
        self.total(self.done + pages + sum(self._to_come.values()))

    def _fetched(self, symbol: str, page: PageRequest, answer: CandlePage) -> None:
        self.advance()
        if self.verbose:
            self.line(page_line(symbol, page, answer))

    def _finished(self, verification: Verification) -> None:
        self.line(symbol_line(verification))


def symbol_line(told: Verification) -> str:
    """Return the line that says what came of a symbol."""
    candles = plural(told.compared, "candle")
    head = f"{told.symbol}: {candles} compared in {plural(told.requests, 'request')}"
    if told.status is VerificationOutcome.FAILED:
        return f"{told.symbol}: failed, {candles} compared; {told.note}"
    parts = [told.note or "all equal"]
    if told.repaired:
        parts.append(f"{told.repaired} replaced with BloFin's (the old: table replaced_candles)")
    if told.missing:
        stored = f", {told.added} stored now" if told.added else ""
        parts.append(f"{told.missing} missing{stored}")
    return "; ".join([f"{head}, {parts[0]}", *parts[1:]])


def mismatch_line(one: Mismatch) -> str:
    """Return the line that says what is stored of a candle, and what BloFin gives."""
    stored, given = one.difference
    head = f"{one.symbol} {minute_text(stored.open_time)}"
    if given is None:
        return f"{head}: stored, and BloFin has no such candle; kept"
    fields = ", ".join(
        f"{name} {getattr(stored, name)} -> {getattr(given, name)}"
        for name in one.difference.fields
    )
    return f"{head}: {fields}{' (repaired)' if one.repaired else ''}"


def summary_lines(report: VerifyReport) -> list[str]:
    """Return the lines that close a verification."""
    found = report.mismatches
    lines = [mismatch_line(one) for one in found[:MAX_LINES]]
    if len(found) > MAX_LINES:
        lines.append(f"and {len(found) - MAX_LINES} more; --json lists them all")
    lines.append(
        f"{plural(len(report.found), 'symbol')}, {plural(report.total('compared'), 'candle')} "
        f"compared in {plural(report.total('requests'), 'request')}, {len(found)} "
        f"{'mismatch' if len(found) == 1 else 'mismatches'}, {report.total('repaired')} repaired, "
        f"{report.seconds:.1f} s"
    )
    if missing := report.total("missing") - report.total("added"):
        lines.append(
            f"not stored: {plural(missing, 'candle')} that BloFin has; `blofin-agent backfill` or "
            "--repair fetches them"
        )
    lines.append(_verdict(report))
    return lines


def _verdict(report: VerifyReport) -> str:
    if report.stopped:
        return "stopped before the end; what was repaired is kept"
    if report.away:
        return "broken off: BloFin is not to be reached"
    if report.failed:
        return "failed"
    left = report.total("different") - report.total("repaired")
    absent = report.total("absent")
    if left or absent:
        return f"different: {left} as they were, {absent} that BloFin does not have"
    if not report.clean:
        return "partial: what was compared is equal, but not all could be compared"
    return "equal now: repaired" if report.total("repaired") or report.total("added") else "equal"
