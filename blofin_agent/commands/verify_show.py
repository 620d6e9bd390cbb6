"""What a verification prints: plain lines, and a progress bar on a terminal."""

from blofin_agent.commands.console import say
from blofin_agent.commands.show import PageBar, page_line
from blofin_agent.coverage.gap_reasons import span_text
from blofin_agent.domain.candle_page import Answer
from blofin_agent.domain.page_plan import Page
from blofin_agent.domain.time_range import Span
from blofin_agent.jobs.verify.report import Mismatch, Report, Teller, Telling
from blofin_agent.runtime.format import minute_text, plural
from blofin_agent.store.tables.verifications import Outcome, Verification

MOST_LINES = 20
"""So many mismatches are shown; `--json` has all."""


class VerifyShow(PageBar):
    """Tells how a verification goes: lines on stdout, a bar on a terminal's stderr."""

    def __init__(self, *, sample: int | None, seed: int, verbose: bool, quiet: bool) -> None:
        super().__init__(verbose=verbose, quiet=quiet)
        self._sample = sample
        self._seed = seed
        self._to_come: dict[str, int] = {}

    def teller(self) -> Teller:
        """Return the functions that the verification calls."""
        return Teller(self._begun, Telling(self._planned, self._fetched), self._finished, say)

    def _begun(self, window: Span, pages: dict[str, int]) -> None:
        what = (
            "all that is stored"
            if self._sample is None
            else f"{plural(self._sample, 'page')} of each symbol (seed {self._seed})"
        )
        self.line(
            f"asking BloFin again for {what} from {span_text(window)} (UTC): "
            f"{plural(len(pages), 'symbol')}, {plural(sum(pages.values()), 'page')}"
        )
        self._to_come = dict(pages)
        self.total(sum(pages.values()))

    def _planned(self, symbol: str, pages: int) -> None:
        self._to_come.pop(symbol, None)
        self.describe(symbol)
        self.total(self.done + pages + sum(self._to_come.values()))

    def _fetched(self, symbol: str, page: Page, answer: Answer) -> None:
        self.advance()
        if self.verbose:
            self.line(page_line(symbol, page, answer))

    def _finished(self, verification: Verification) -> None:
        self.line(symbol_line(verification))


def symbol_line(told: Verification) -> str:
    """Return the line that says what came of a symbol."""
    candles = plural(told.compared, "candle")
    head = f"{told.symbol}: {candles} compared in {plural(told.requests, 'request')}"
    if told.status is Outcome.FAILED:
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


def summary_lines(report: Report) -> list[str]:
    """Return the lines that close a verification."""
    found = report.mismatches
    lines = [mismatch_line(one) for one in found[:MOST_LINES]]
    if len(found) > MOST_LINES:
        lines.append(f"and {len(found) - MOST_LINES} more; --json lists them all")
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


def _verdict(report: Report) -> str:
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
