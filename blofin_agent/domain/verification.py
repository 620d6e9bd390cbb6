"""Compare: what is stored, field by field with what BloFin gives when it is asked again."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from blofin_agent.domain import unavailability
from blofin_agent.domain.bar_set import BarSet
from blofin_agent.domain.candle import Candle, Timeframe
from blofin_agent.domain.candle_page import CandlePage
from blofin_agent.domain.time_range import TimeRange

COMPARED_FIELDS = Candle._fields[1:]
"""What is compared: all but the open time, as the doubles that the wire's text gives."""


class CandleDifference(NamedTuple):
    """A stored candle, and what BloFin gives for its open time: None when it has none."""

    stored: Candle
    given: Candle | None

    @property
    def open_time(self) -> int:
        """Open time (ms) of the candle."""
        return self.stored.open_time

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields that differ; none when BloFin has no such candle."""
        if self.given is None:
            return ()
        return tuple(
            name
            for name, ours, theirs in zip(
                COMPARED_FIELDS, self.stored[1:], self.given[1:], strict=True
            )
            if ours != theirs
        )


class Comparison(NamedTuple):
    """What one page says of the stored candles, each list oldest first."""

    equal: list[int]
    """Open times (ms) of those that BloFin gives with the same figures."""
    differences: list[CandleDifference]
    """Those that it gives otherwise, and those that it does not have."""
    missing: list[Candle]
    """What it gives and is not stored."""
    unsure: list[Candle]
    """Stored candles of which the page says nothing that could be believed."""


def compare_page(
    stored: Iterable[Candle], answer: CandlePage, asked: Sequence[TimeRange], bar: Timeframe
) -> Comparison:
    """Compare the stored candles of the spans `asked` with a page that speaks of them.

    BloFin has no such candle where a page without a fault has rows on both sides of it and none
    there; a page's edges say nothing. `stored` and the page may reach beyond the spans.
    """
    given = {candle.open_time: candle for candle in answer.candles}
    holes = [span for found in unavailability.page_holes(answer.times, bar) for span in found]
    result = Comparison([], [], [], [])
    left = dict(given)
    for candle in stored:
        theirs = left.pop(candle.open_time, None)
        if not _inside(candle.open_time, asked):
            continue
        if theirs is not None:
            difference = CandleDifference(candle, theirs)
            if difference.fields:
                result.differences.append(difference)
            else:
                result.equal.append(candle.open_time)
        elif answer.clean and _inside(candle.open_time, holes):
            result.differences.append(CandleDifference(candle, None))
        else:
            result.unsure.append(candle)
    result.missing.extend(left[time] for time in sorted(left) if _inside(time, asked))
    return result


def widen(spans: Iterable[TimeRange], by_ms: int, newest: int) -> list[TimeRange]:
    """Return the spans (oldest first) longer by `by_ms` on both sides, up to `newest`, joined.

    A page over them has rows around what is asked for, so that it can say that there is nothing.
    """
    wide: list[TimeRange] = []
    for span in spans:
        start, end = span.start - by_ms, max(span.end, min(span.end + by_ms, newest))
        if wide and start <= wide[-1].end:
            wide[-1] = TimeRange(wide[-1].start, max(wide[-1].end, end))
        else:
            wide.append(TimeRange(start, end))
    return wide


def _inside(time: int, spans: Iterable[TimeRange]) -> bool:
    return any(span.start <= time < span.end for span in spans)


@dataclass(slots=True)
class PendingMismatches:
    """Stored candles that did not agree with BloFin, by open time (ms), until that is settled."""

    said: dict[int, Candle | None] = field(default_factory=dict)
    """What BloFin last gave for each that differs; None when it has no such candle."""
    unsure: set[int] = field(default_factory=set)
    """Those of which an answer said nothing that could be believed."""

    def settle(self, found: Comparison) -> list[CandleDifference]:
        """Take in what a page says; return the differences that two answers agree on.

        One answer is enough for a candle that is equal: what was said before was garbled.
        """
        agreed = []
        for time in found.equal:
            self._forget(time)
        for one in found.differences:
            time = one.open_time
            again = time in self.said and self.said[time] == one.given
            self._forget(time)
            if again:
                agreed.append(one)
            else:
                self.said[time] = one.given
        self.unsure.update(candle.open_time for candle in found.unsure)
        return agreed

    @property
    def times(self) -> set[int]:
        """Open times (ms) of all that is to be asked for again."""
        return self.unsure.union(self.said)

    def _forget(self, time: int) -> None:
        self.said.pop(time, None)
        self.unsure.discard(time)


def stored_ranges(held: BarSet, window: TimeRange, size: int) -> list[TimeRange]:
    """Return the stretches of the window that are stored, oldest first.

    A gap shorter than a page (of `size` rows) belongs to them: what BloFin has there is seen.
    """
    joined: list[TimeRange] = []
    for span in held.spans():
        part = span.meet(window)
        if not part:
            continue
        if joined and TimeRange(joined[-1].end, part.start).bars(held.bar) < size:
            joined[-1] = TimeRange(joined[-1].start, part.end)
        else:
            joined.append(part)
    return joined


def sampled_ranges(
    times: Sequence[int], bar: Timeframe, size: int, pages: int, draw: Callable[[int, int], int]
) -> list[TimeRange]:
    """Return at most `pages` stretches, each of at most `size` bars, oldest first, none shared.

    `times`: the open times (ms) stored, oldest first: cut into as many parts of the same number,
    and one stretch drawn from each. `draw(low, high)` draws a number, both ends included.
    """
    found = []
    for number in range(pages):
        low, high = (len(times) * part // pages for part in (number, number + 1))
        if low == high:
            continue
        last = draw(low + min(size, high - low) - 1, high - 1)
        end = times[last] + bar.ms
        found.append(TimeRange(max(times[low], end - size * bar.ms), end))
    return found
