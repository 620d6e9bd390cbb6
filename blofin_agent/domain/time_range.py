"""Represent half-open ranges of open times, and what is done with them."""

from collections.abc import Iterable, Sequence
from operator import eq
from typing import NamedTuple

from blofin_agent.domain.candle import HOUR, Timeframe


class TimeRange(NamedTuple):
    """A half-open stretch of time `[start, end)` in ms since the epoch; on the bar's grid."""

    start: int
    end: int

    def __bool__(self) -> bool:
        """Return whether it holds any time at all."""
        return self.end > self.start

    def bars(self, bar: Timeframe) -> int:
        """Return how many bars open inside it."""
        return max(0, (self.end - self.start) // bar.ms)

    def meet(self, other: "TimeRange") -> "TimeRange":
        """Return the part that both have, which may be empty."""
        start = max(self.start, other.start)
        return TimeRange(start, max(start, min(self.end, other.end)))

    def less(self, other: "TimeRange") -> "list[TimeRange]":
        """Return what is left of this one without the other: none, one or two spans."""
        parts = (
            TimeRange(self.start, min(self.end, other.start)),
            TimeRange(max(self.start, other.end), self.end),
        )
        return [part for part in parts if part] if other else [self]


def subtract(spans: Iterable[TimeRange], taken: TimeRange) -> list[TimeRange]:
    """Return the spans without the time of `taken`, in the order given."""
    return [part for span in spans for part in span.less(taken)]


def intersect(these: Sequence[TimeRange], those: Sequence[TimeRange]) -> list[TimeRange]:
    """Return the time that both lists have. Each is oldest first and none of its spans overlap."""
    found: list[TimeRange] = []
    first = second = 0
    while first < len(these) and second < len(those):
        if both := these[first].meet(those[second]):
            found.append(both)
        if these[first].end < those[second].end:
            first += 1
        else:
            second += 1
    return found


def window_at(now_ms: int, bar: Timeframe, lookback_hours: int, settle_ms: int) -> TimeRange:
    """Return the window `[end - lookback, end)` with `end = floor(now - settle)`.

    168 hours of 1m bars are exactly 10,080 bars.
    """
    end = bar.floor(now_ms - settle_ms)
    return TimeRange(end - lookback_hours * HOUR // bar.ms * bar.ms, end)


def is_gapless(times: Sequence[int], step: int) -> bool:
    """Return whether there are times, and each but the first is a step after the one before it."""
    if not times or times[-1] - times[0] != (len(times) - 1) * step:
        return False
    return all(map(eq, times, range(times[0], times[-1] + step, step)))


def ranges_of_times(open_times: Iterable[int], bar: Timeframe) -> list[TimeRange]:
    """Join neighbouring open times (ms, on the grid, in any order) into spans, oldest first."""
    times, step = sorted(open_times), bar.ms
    if is_gapless(times, step):
        # One run, as the times of most pages are.
        return [TimeRange(times[0], times[-1] + step)]
    spans: list[TimeRange] = []
    for time in times:
        if spans and time <= spans[-1].end:
            spans[-1] = TimeRange(spans[-1].start, max(spans[-1].end, time + step))
        else:
            spans.append(TimeRange(time, time + step))
    return spans
