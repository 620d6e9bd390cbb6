"""Watch: the symbols that are kept complete, and the window in which they are judged."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from blofin_agent.domain.backfill_run import Run
from blofin_agent.domain.candle import DAY, Bar
from blofin_agent.domain.symbol_coverage import Count, Health, History, health
from blofin_agent.domain.time_range import Span, window
from blofin_agent.fleet.status import Crew


@dataclass(slots=True)
class Watch:
    """What is watched. `clock` gives ms since the epoch. Read by /metrics from another thread."""

    bar: Bar
    lookback_hours: int
    settle_ms: int
    clock: Callable[[], int]
    histories: dict[str, History] = field(default_factory=dict)
    last_runs: dict[str, Run] = field(default_factory=dict)
    """The last run of each symbol, for those who look."""
    fixed: Span | None = None
    """The window when it does not move with the clock: a one-shot backfill between two times."""
    loaded: bool = False
    """Whether the coverage was read from the store: before that, counts mean nothing."""
    crew: Callable[[], Crew] | None = None
    """Tells of the agents that share the symbols, where several may. Asked in any thread."""

    @property
    def counted(self) -> bool:
        """Whether the counts are of the store, and ours to show: others may have taken over."""
        return self.loaded and (self.crew is None or self.crew().holds)

    def window(self) -> Span:
        """Return the window as of now: up to the last bar that is over and has settled."""
        moving = window(self.clock(), self.bar, self.lookback_hours, self.settle_ms)
        if self.fixed is None:
            return moving
        return Span(self.fixed.start, max(self.fixed.start, min(self.fixed.end, moving.end)))

    def loading(self) -> Span:
        """Return what of the store belongs in memory: the window, and all that came after it."""
        return Span(self.window().start, self.clock() + DAY)

    def all(self) -> list[History]:
        """Return the histories as of now: a list that no other thread changes."""
        return list(self.histories.values())

    def counts(self) -> dict[str, Count]:
        """Count every symbol in the window as of now."""
        window = self.window()
        return {history.symbol: history.count(window) for history in self.all()}


def worst_first(counts: dict[str, Count]) -> list[tuple[str, Count]]:
    """Return the symbols with their counts, the least complete first, ties by name."""
    return sorted(counts.items(), key=lambda item: (item[1].ratio, item[0]))


def health_of(counts: Iterable[Count]) -> Health:
    """Return the health of the worst; CRITICAL when nothing is watched."""
    return health(min((count.ratio for count in counts), default=0.0))
