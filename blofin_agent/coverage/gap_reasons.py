"""Gaps: each missing stretch of a symbol, with why it is missing."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from blofin_agent.domain.backfill_run import BackfillRun, RunStatus
from blofin_agent.domain.candle import Timeframe
from blofin_agent.domain.candle_page import NO_SUCH_INSTRUMENT
from blofin_agent.domain.errors import ExchangeError, RequestRejected
from blofin_agent.domain.symbol_coverage import SymbolCoverage
from blofin_agent.domain.time_range import TimeRange, subtract
from blofin_agent.domain.unavailability import UnavailableRange
from blofin_agent.runtime.format import clock_text, minute_text, plural


@dataclass(frozen=True, slots=True)
class Gap:
    """A missing stretch. `unavailable`: BloFin was proven not to have it."""

    symbol: str
    bar: Timeframe
    span: TimeRange
    unavailable: bool
    why: str

    @property
    def bars(self) -> int:
        """How many bars are missing."""
        return self.span.bars(self.bar)

    @property
    def last(self) -> int:
        """Open time (ms) of the last bar that is missing."""
        return self.span.end - self.bar.ms

    def as_json(self) -> dict[str, object]:
        """Return it as plain data; times in ms, the end not included."""
        return {
            "symbol": self.symbol,
            "start": self.span.start,
            "end": self.span.end,
            "bars": self.bars,
            "unavailable": self.unavailable,
            "why": self.why,
        }


def explain_gaps(
    history: SymbolCoverage, window: TimeRange, last_run: BackfillRun | None
) -> list[Gap]:
    """Return the gaps of a symbol in a window, oldest first. `last_run`: its last run."""
    return explain_missing_ranges(history, history.missing(window), last_run)


def explain_missing_ranges(
    history: SymbolCoverage, missing: Sequence[TimeRange], last_run: BackfillRun | None
) -> list[Gap]:
    """Return the gaps that stretches without candles are, oldest first, as the stretches are."""
    found = list(_explain(history, missing, last_run))
    return sorted(found, key=lambda gap: gap.span.start)


def _explain(
    history: SymbolCoverage, missing: Sequence[TimeRange], last_run: BackfillRun | None
) -> Iterator[Gap]:
    # Both are sorted, and there may be thousands of either.
    starts = [proof.span.start for proof in history.proofs]
    ends = [proof.span.end for proof in history.proofs]
    for span in missing:
        left = [span]
        for proof in history.proofs[bisect_right(ends, span.start) : bisect_left(starts, span.end)]:
            shared = proof.span.meet(span)
            yield Gap(history.symbol, history.bar, shared, True, _proven(proof))  # noqa: FBT003
            left = [*left[:-1], *left[-1].less(shared)] if left else []
        for rest in left:
            why = _unproven(rest, history.bar, last_run)
            yield Gap(history.symbol, history.bar, rest, False, why)  # noqa: FBT003


def _proven(proof: UnavailableRange) -> str:
    return (
        f"BloFin has no such candles (seen {plural(proof.checks, 'time')}); asked for again "
        f"after {clock_text(proof.next_check)}"
    )


def _unproven(gap: TimeRange, bar: Timeframe, run: BackfillRun | None) -> str:
    # A gap at the live edge grows by a bar after each run that asked for it.
    if run is None or run.started < gap.start + bar.ms or run.status is RunStatus.COMPLETE:
        return "not asked for yet"
    if run.status in (RunStatus.FAILED, RunStatus.SKIPPED):
        return run.note or run.status.value
    return "asked for and not given, which proves nothing yet; asked for again with every pass"


def range_text(span: TimeRange) -> str:
    """Return a stretch as `2026-02-13 00:19 to 2026-02-13 00:25`, its end not included."""
    return f"{minute_text(span.start)} to {minute_text(span.end)}"


def ranges_text(spans: Sequence[TimeRange], most: int = 3) -> str:
    """Return the first few stretches, and how many more there are."""
    shown = "; ".join(range_text(span) for span in spans[:most])
    return shown if len(spans) <= most else f"{shown}; and {len(spans) - most} more"


CANCELLED_NOTE = "broken off: BloFin no longer lists the symbol, or another agent keeps it now"


def why_missing(history: SymbolCoverage, window: TimeRange, *, empty: bool) -> str:
    """Say why bars are missing after a run in which nothing failed.

    `empty`: a page came without a row.
    """
    parts, proven = [], history.unavailable(window)
    unavailable = history.count(window).unavailable
    if unavailable:
        parts.append(
            f"{unavailable} unavailable: BloFin has no such candles ({ranges_text(proven)})"
        )
    rest = history.missing(window)
    for span in proven:
        rest = subtract(rest, span)
    if rest and rest[-1].end >= window.end and _holds_older(history, window, rest[-1]):
        newest = rest.pop()
        parts.append(
            f"{newest.bars(history.bar)} not given ({range_text(newest)}): BloFin has no newer "
            "candles so far, which proves nothing yet: asked for again; if that lasts, trading "
            "has stopped"
        )
    if rest:
        bars = sum(span.bars(history.bar) for span in rest)
        why = (
            "BloFin sent an empty page: it may not keep candles so old"
            if empty
            else "BloFin's pages do not hold them, which proves nothing yet: asked for again"
        )
        parts.append(f"{bars} not given ({ranges_text(rest)}): {why}")
    return "; ".join(parts)


def _holds_older(history: SymbolCoverage, window: TimeRange, gap: TimeRange) -> bool:
    """Return whether something older than the gap is held, or may be: then it is not too old."""
    oldest = history.held.oldest
    return gap.start > window.start or (oldest is not None and oldest < gap.start)


def failure_text(symbol: str, error: ExchangeError) -> str:
    """Say what went wrong with a symbol."""
    if isinstance(error, RequestRejected) and error.code == NO_SUCH_INSTRUMENT:
        return f"{symbol} is not a BloFin instrument"
    return str(error)
