"""History: one symbol's bars, told apart as held, missing, unavailable and not yet listed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from blofin_agent.domain.bar_set import BarSet
from blofin_agent.domain.candle import Candle, Timeframe
from blofin_agent.domain.time_range import TimeRange, subtract
from blofin_agent.domain.unavailability import (
    PageHoles,
    UnavailableRange,
    confirm_unavailable,
    remove_refuted,
)

GOOD_COVERAGE = 0.995
WARN_COVERAGE = 0.97


class Health(StrEnum):
    """How complete the worst symbol is: GOOD at 99.5 % and more, WARN at 97 % and more."""

    GOOD = "good"
    WARN = "warn"
    CRITICAL = "critical"


class CoverageCounts(NamedTuple):
    """A symbol's bars in a window. `unavailable` is the part of `missing` that is proven."""

    expected: int
    present: int
    missing: int
    unavailable: int

    @property
    def ratio(self) -> float:
        """Coverage from 0 to 1; 1 when nothing is expected yet."""
        return self.present / self.expected if self.expected else 1.0


@dataclass(slots=True)
class SymbolCoverage:
    """What is known of one symbol. Changes are whole replacements: other threads may read."""

    symbol: str
    bar: Timeframe
    list_time: int | None = None
    """When it was listed (ms); None when not known: then the whole window is expected."""
    held: BarSet = field(init=False)
    live: BarSet = field(init=False)
    """Those of the bars held that came over the websocket."""
    newest: Candle | None = None
    """The newest candle that was stored since the start: what further prices are judged by."""
    proofs: Sequence[UnavailableRange] = ()
    doubted: frozenset[TimeRange] = frozenset()
    """Holes that one page showed, and that a second must show too before they are believed."""
    pushed: int = 0
    """When its last push came over the websocket (ms), 0 before the first."""

    def __post_init__(self) -> None:
        self.held = BarSet(self.bar)
        self.live = BarSet(self.bar)

    def expected(self, window: TimeRange) -> TimeRange:
        """Return the part of the window in which candles can exist: `max(start, listTime)` on."""
        if self.list_time is None or self.list_time <= window.start:
            return window
        first = self.bar.floor(self.list_time + self.bar.ms - 1)
        return window.meet(TimeRange(first, max(first, window.end)))

    def count(self, window: TimeRange) -> CoverageCounts:
        """Count the bars of the window."""
        expected = self.expected(window)
        total = expected.bars(self.bar)
        present = self.held.count(expected)
        unavailable = sum(
            shared.bars(self.bar) - self.held.count(shared)
            for proof in self.proofs
            if (shared := proof.span.meet(expected))
        )
        return CoverageCounts(total, present, total - present, unavailable)

    def missing(self, window: TimeRange) -> list[TimeRange]:
        """Return the gaps of the window, proven or not, oldest first."""
        return self.held.gaps(self.expected(window))

    def gaps(self, window: TimeRange, now_ms: int) -> list[TimeRange]:
        """Return the gaps to ask for: those missing, less proofs that need no check yet."""
        gaps = self.missing(window)
        if gaps:
            for proof in self.proofs:
                if proof.next_check > now_ms:
                    gaps = subtract(gaps, proof.span)
        return gaps

    def unavailable(self, window: TimeRange) -> list[TimeRange]:
        """Return the stretches of the window that are proven not to exist, oldest first."""
        return [shared for proof in self.proofs if (shared := proof.span.meet(window))]

    def live_share(self, window: TimeRange) -> float | None:
        """Return the share of the bars held in the window that came live; None without any."""
        held = self.held.count(window)
        return self.live.count(window) / held if held else None

    def forget(self, before: int) -> None:
        """Forget the bars that open before a time (ms)."""
        self.held, self.live = self.held.since(before), self.live.since(before)

    def new(self, candles: Sequence[Candle]) -> Sequence[Candle]:
        """Return those of the candles, oldest first, that are not held."""
        if not candles:
            return candles
        span = TimeRange(candles[0].open_time, candles[-1].open_time + self.bar.ms)
        if not self.held.count(span):
            return candles
        return [candle for candle in candles if not self.held.has(candle.open_time)]

    def hold(self, open_times: Iterable[int], *, live: bool = False) -> bool:
        """Enter bars that are in the store. Return whether that erased a proof.

        `live`: those of them that are new came over the websocket.
        """
        times = list(open_times)
        if live:
            self.live = self.live.add(time for time in times if not self.held.has(time))
        self.held = self.held.add(times)
        if not self.proofs or not times:
            return False
        proofs = remove_refuted(self.proofs, BarSet.of(self.bar, times).spans())
        changed = proofs != list(self.proofs)
        self.proofs = proofs
        return changed

    def learn(self, found: PageHoles, now_ms: int) -> bool:
        """Enter the holes that a page showed. Return whether any was proven that is not held."""
        proven = found.sure + [span for span in found.doubtful if span in self.doubted]
        self.doubted = self.doubted.difference(proven).union(found.doubtful)
        holes = [part for span in proven for part in self.held.gaps(span)]
        if holes:
            self.proofs = confirm_unavailable(self.proofs, holes, now_ms)
        return bool(holes)


def health(worst: float) -> Health:
    """Return the health that the worst symbol's coverage (0 to 1) gives."""
    if worst >= GOOD_COVERAGE:
        return Health.GOOD
    return Health.WARN if worst >= WARN_COVERAGE else Health.CRITICAL
