"""Report: what a one-shot backfill tells: what is needed, how it goes, what came of it."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from blofin_agent.backfill.gap_filler import ProgressCallbacks
from blofin_agent.coverage.tracker import worst_first
from blofin_agent.domain.backfill_run import BackfillRun, RunStatus
from blofin_agent.domain.symbol_coverage import CoverageCounts, SymbolCoverage
from blofin_agent.domain.time_range import TimeRange


@dataclass(frozen=True, slots=True)
class SymbolNeed:
    """What one symbol needs, before anything is fetched."""

    symbol: str
    count: CoverageCounts
    gaps: list[TimeRange]
    pages: int


@dataclass(frozen=True, slots=True)
class BackfillReport:
    """What came of a backfill."""

    window: TimeRange
    runs: list[BackfillRun]
    counts: dict[str, CoverageCounts]
    seconds: float
    stopped: bool = False
    """Whether a signal ended it before its end."""
    published: bool = True
    """Whether the metrics arrived wherever they were to go."""

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return not self.stopped and all(count.missing == 0 for count in self.counts.values())

    @property
    def failed(self) -> bool:
        """Whether it came to nothing: every symbol that was tried failed."""
        return bool(self.runs) and all(run.status is RunStatus.FAILED for run in self.runs)

    def as_json(self) -> dict[str, object]:
        """Return it as plain data; times in ms, coverage from 0 to 1, seconds."""
        worst = worst_first(self.counts)
        return {
            "window": {"start": self.window.start, "end": self.window.end},
            "complete": self.complete,
            "requests": sum(run.requests for run in self.runs),
            "rate_limited": sum(run.rate_limited for run in self.runs),
            "rows_fetched": sum(run.rows_fetched for run in self.runs),
            "rows_inserted": sum(run.rows_inserted for run in self.runs),
            "seconds": round(self.seconds, 3),
            "worst": worst[0][0] if worst else None,
            "symbols": [
                {**asdict(run), "unavailable": self.counts[run.symbol].unavailable}
                for run in self.runs
            ],
        }


@dataclass(slots=True)
class BackfillCallbacks:
    """Whom to tell how it goes. Each function is called in the event loop and must not wait."""

    needs: Callable[[list[SymbolNeed]], None]
    left: Callable[[int], None]
    """BloFin's pages are shorter or longer than thought: so many are left in all."""
    progress: Callable[[SymbolCoverage], ProgressCallbacks]
    unpublished: Callable[[str], None]
    """The metrics did not arrive at a place where they were to go."""


def plan_json(needs: Sequence[SymbolNeed], seconds: float) -> dict[str, object]:
    """Return a plan and the least time it takes as plain data; times in ms, seconds."""
    return {
        "pages": sum(need.pages for need in needs),
        "least_seconds": seconds,
        "symbols": [
            {
                "symbol": need.symbol,
                "expected": need.count.expected,
                "present": need.count.present,
                "missing": need.count.missing,
                "unavailable": need.count.unavailable,
                "coverage": need.count.ratio,
                "gaps": [{"start": gap.start, "end": gap.end} for gap in need.gaps],
                "pages": need.pages,
            }
            for need in needs
        ],
    }
