"""Compare: what is stored, field by field with what BloFin gives when it is asked again."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from blofin_agent.core import proof
from blofin_agent.core.answers import Answer
from blofin_agent.core.candle import Bar, Candle
from blofin_agent.core.coverage import Span

FIELDS = Candle._fields[1:]
"""What is compared: all but the open time, as the doubles that the wire's text gives."""


class Difference(NamedTuple):
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
            for name, ours, theirs in zip(FIELDS, self.stored[1:], self.given[1:], strict=True)
            if ours != theirs
        )


class Comparison(NamedTuple):
    """What one page says of the stored candles, each list oldest first."""

    equal: list[int]
    """Open times (ms) of those that BloFin gives with the same figures."""
    differences: list[Difference]
    """Those that it gives otherwise, and those that it does not have."""
    missing: list[Candle]
    """What it gives and is not stored."""
    unsure: list[Candle]
    """Stored candles of which the page says nothing that could be believed."""


def compare(
    stored: Iterable[Candle], answer: Answer, asked: Sequence[Span], bar: Bar
) -> Comparison:
    """Compare the stored candles of the spans `asked` with a page that speaks of them.

    BloFin has no such candle where a page without a fault has rows on both sides of it and none
    there; a page's edges say nothing. `stored` and the page may reach beyond the spans.
    """
    given = {candle.open_time: candle for candle in answer.candles}
    holes = [span for found in proof.holes(answer.times, bar) for span in found]
    result = Comparison([], [], [], [])
    left = dict(given)
    for candle in stored:
        theirs = left.pop(candle.open_time, None)
        if not _inside(candle.open_time, asked):
            continue
        if theirs is not None:
            difference = Difference(candle, theirs)
            if difference.fields:
                result.differences.append(difference)
            else:
                result.equal.append(candle.open_time)
        elif answer.clean and _inside(candle.open_time, holes):
            result.differences.append(Difference(candle, None))
        else:
            result.unsure.append(candle)
    result.missing.extend(left[time] for time in sorted(left) if _inside(time, asked))
    return result


def widen(spans: Iterable[Span], by_ms: int, newest: int) -> list[Span]:
    """Return the spans (oldest first) longer by `by_ms` on both sides, up to `newest`, joined.

    A page over them has rows around what is asked for, so that it can say that there is nothing.
    """
    wide: list[Span] = []
    for span in spans:
        start, end = span.start - by_ms, max(span.end, min(span.end + by_ms, newest))
        if wide and start <= wide[-1].end:
            wide[-1] = Span(wide[-1].start, max(wide[-1].end, end))
        else:
            wide.append(Span(start, end))
    return wide


def _inside(time: int, spans: Iterable[Span]) -> bool:
    return any(span.start <= time < span.end for span in spans)
