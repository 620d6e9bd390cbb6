"""Coverage: which bars of a stretch of time are held; gaps, counts, sliding."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import eq
from typing import NamedTuple

from blofin_agent.core.candle import HOUR, Bar


class Span(NamedTuple):
    """A half-open stretch of time `[start, end)` in ms since the epoch; on the bar's grid."""

    start: int
    end: int

    def __bool__(self) -> bool:
        """Return whether it holds any time at all."""
        return self.end > self.start

    def bars(self, bar: Bar) -> int:
        """Return how many bars open inside it."""
        return max(0, (self.end - self.start) // bar.ms)

    def meet(self, other: "Span") -> "Span":
        """Return the part that both have, which may be empty."""
        start = max(self.start, other.start)
        return Span(start, max(start, min(self.end, other.end)))

    def less(self, other: "Span") -> "list[Span]":
        """Return what is left of this one without the other: none, one or two spans."""
        parts = (
            Span(self.start, min(self.end, other.start)),
            Span(max(self.start, other.end), self.end),
        )
        return [part for part in parts if part] if other else [self]


def subtract(spans: Iterable[Span], taken: Span) -> list[Span]:
    """Return the spans without the time of `taken`, in the order given."""
    return [part for span in spans for part in span.less(taken)]


def shared(these: Sequence[Span], those: Sequence[Span]) -> list[Span]:
    """Return the time that both lists have. Each is oldest first and none of its spans overlap."""
    found: list[Span] = []
    first = second = 0
    while first < len(these) and second < len(those):
        if both := these[first].meet(those[second]):
            found.append(both)
        if these[first].end < those[second].end:
            first += 1
        else:
            second += 1
    return found


def window(now_ms: int, bar: Bar, lookback_hours: int, settle_ms: int) -> Span:
    """Return the window `[end - lookback, end)` with `end = floor(now - settle)`.

    168 hours of 1m bars are exactly 10,080 bars.
    """
    end = bar.floor(now_ms - settle_ms)
    return Span(end - lookback_hours * HOUR // bar.ms * bar.ms, end)


@dataclass(frozen=True, slots=True)
class Coverage:
    """The bars that are held: an immutable bit set over the bar's grid.

    Bit `i` of `bits` stands for the bar that opens at `origin + i * bar.ms`. Adding returns a new
    Coverage, so that a reader in another thread always sees a whole one.
    """

    bar: Bar
    origin: int = 0
    bits: int = 0

    @classmethod
    def of(cls, bar: Bar, open_times: Iterable[int]) -> "Coverage":
        """Return the coverage that holds just these open times."""
        return cls(bar).add(open_times)

    def add(self, open_times: Iterable[int]) -> "Coverage":
        """Return this coverage with the bars of these open times (ms, on the grid) held."""
        spans = runs(open_times, self.bar)
        if not spans:
            return self
        first = spans[0].start
        origin = min(first, self.origin) if self.bits else first
        bits = self.bits << ((self.origin - origin) // self.bar.ms) if self.bits else 0
        for span in spans:
            bits |= self._mask(span) << ((span.start - origin) // self.bar.ms)
        return Coverage(self.bar, origin, bits)

    def since(self, start: int) -> "Coverage":
        """Return this coverage without the bars that open before `start`."""
        behind = (start - self.origin) // self.bar.ms
        if behind <= 0 or not self.bits:
            return self
        return Coverage(self.bar, start, self.bits >> behind)

    def within(self, span: Span) -> "Coverage":
        """Return this coverage without the bars outside of the span. Equal ones compare equal."""
        return Coverage(self.bar, span.start, self._cut(span))

    def count(self, span: Span) -> int:
        """Return how many bars of the span are held."""
        return self._cut(span).bit_count()

    def has(self, open_time: int) -> bool:
        """Return whether the bar that opens then is held."""
        return bool(self._cut(Span(open_time, open_time + self.bar.ms)))

    def gaps(self, span: Span) -> list[Span]:
        """Return the stretches of the span that are not held, oldest first, none touching."""
        size, bits = span.bars(self.bar), self._cut(span)
        if bits == self._mask(span):
            return []
        digits = format(bits, f"0{size}b")[::-1]
        step = self.bar.ms
        return [
            Span(span.start + first * step, span.start + end * step)
            for first, end in _stretches(digits, "0", "1")
        ]

    def spans(self) -> list[Span]:
        """Return the stretches that are held, oldest first, none touching."""
        digits = format(self.bits, "b")[::-1]
        step = self.bar.ms
        return [
            Span(self.origin + first * step, self.origin + end * step)
            for first, end in _stretches(digits, "1", "0")
        ]

    @property
    def newest(self) -> int | None:
        """The open time of the newest bar held."""
        if not self.bits:
            return None
        return self.origin + (self.bits.bit_length() - 1) * self.bar.ms

    @property
    def oldest(self) -> int | None:
        """The open time of the oldest bar held."""
        if not self.bits:
            return None
        return self.origin + ((self.bits & -self.bits).bit_length() - 1) * self.bar.ms

    def _cut(self, span: Span) -> int:
        """Return the bits of the span, bit 0 being its first bar."""
        offset = (span.start - self.origin) // self.bar.ms
        bits = self.bits >> offset if offset >= 0 else self.bits << -offset
        return bits & self._mask(span)

    def _mask(self, span: Span) -> int:
        return _ones(span.bars(self.bar))


@lru_cache(maxsize=16)
def _ones(number: int) -> int:
    """Return so many bits, all 1: hundreds of symbols are counted in one window."""
    return (1 << number) - 1


def _stretches(digits: str, this: str, other: str) -> Iterator[tuple[int, int]]:
    """Yield where neighbouring digits begin and end that are `this` and not the `other`.

    A text of 10,080 digits searched in C beats bit tricks in Python by far, and regular
    expressions if most of it is the other digit.
    """
    first = digits.find(this)
    while first >= 0:
        end = digits.find(other, first)
        end = len(digits) if end < 0 else end
        yield first, end
        first = digits.find(this, end)


def are_steps(times: Sequence[int], step: int) -> bool:
    """Return whether there are times, and each but the first is a step after the one before it."""
    if not times or times[-1] - times[0] != (len(times) - 1) * step:
        return False
    return all(map(eq, times, range(times[0], times[-1] + step, step)))


def runs(open_times: Iterable[int], bar: Bar) -> list[Span]:
    """Join neighbouring open times (ms, on the grid, in any order) into spans, oldest first."""
    times, step = sorted(open_times), bar.ms
    if are_steps(times, step):
        # One run, as the times of most pages are.
        return [Span(times[0], times[-1] + step)]
    spans: list[Span] = []
    for time in times:
        if spans and time <= spans[-1].end:
            spans[-1] = Span(spans[-1].start, max(spans[-1].end, time + step))
        else:
            spans.append(Span(time, time + step))
    return spans
