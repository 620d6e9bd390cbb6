"""Watch: the symbols that are kept complete, and the window in which they are judged."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from blofin_agent.domain.backfill_run import BackfillRun
from blofin_agent.domain.candle import DAY, Timeframe
from blofin_agent.domain.symbol_coverage import CoverageCounts, Health, SymbolCoverage, health
from blofin_agent.domain.time_range import TimeRange, window_at
from blofin_agent.fleet.status import FleetStatus


@dataclass(slots=True)
class CoverageTracker:
    """What is watched. `clock` gives ms since the epoch. Read by /metrics from another thread."""

    bar: Timeframe
    lookback_hours: int
    settle_ms: int
    clock: Callable[[], int]
    histories: dict[str, SymbolCoverage] = field(default_factory=dict)
    last_runs: dict[str, BackfillRun] = field(default_factory=dict)
    """The last run of each symbol, for those who look."""
    fixed: TimeRange | None = None
    """The window when it does not move with the clock: a one-shot backfill between two times."""
    loaded: bool = False
    """Whether the coverage was read from the store: before that, counts mean nothing."""
    fleet_status: Callable[[], FleetStatus] | None = None
    """Tells of the agents that share the symbols, where several may. Asked in any thread."""

    @property
    def counted(self) -> bool:
        """Whether the counts are of the store, and ours to show: others may have taken over."""
        return self.loaded and (self.fleet_status is None or self.fleet_status().holds)

    def window(self) -> TimeRange:
        """Return the window as of now: up to the last bar that is over and has settled."""
        moving = window_at(self.clock(), self.bar, self.lookback_hours, self.settle_ms)
        if self.fixed is None:
            return moving
        return TimeRange(self.fixed.start, max(self.fixed.start, min(self.fixed.end, moving.end)))

    def loading(self) -> TimeRange:
        """Return what of the store belongs in memory: the window, and all that came after it."""
        return TimeRange(self.window().start, self.clock() + DAY)

    def all(self) -> list[SymbolCoverage]:
        """Return the histories as of now: a list that no other thread changes."""
        return list(self.histories.values())

    def counts(self) -> dict[str, CoverageCounts]:
        """Count every symbol in the window as of now."""
        window = self.window()
        return {history.symbol: history.count(window) for history in self.all()}


def worst_first(counts: dict[str, CoverageCounts]) -> list[tuple[str, CoverageCounts]]:
    """Return the symbols with their counts, the least complete first, ties by name."""
    return sorted(counts.items(), key=lambda item: (item[1].ratio, item[0]))


def health_of(counts: Iterable[CoverageCounts]) -> Health:
    """Return the health of the worst; CRITICAL when nothing is watched."""
    return health(min((count.ratio for count in counts), default=0.0))
