"""Strip: a stretch of one symbol's history in few columns, for the gap map and the terminal."""

from collections.abc import Iterable
from typing import NamedTuple

from blofin_agent.core.candle import DAY, HOUR, MINUTE, Bar
from blofin_agent.core.coverage import Span, shared
from blofin_agent.core.history import History

_STEPS = (
    *(minutes * MINUTE for minutes in (1, 2, 3, 5, 6, 10, 15, 20, 30)),
    *(hours * HOUR for hours in (1, 2, 3, 4, 6, 8, 12)),
)
"""Lengths (ms) of a column that a person reads well; beyond them, whole days."""


class Cell(NamedTuple):
    """The bars of one column, told apart. `missing` are those that are not proven unavailable."""

    held: int
    missing: int
    unavailable: int
    unlisted: int


class Cells(NamedTuple):
    """`columns` neighbouring columns from `first` on with the same content."""

    first: int
    columns: int
    cell: Cell


def grid(window: Span, bar: Bar, most: int) -> list[Span]:
    """Return the window in at most `most` columns of equal length, oldest first.

    They lie on a grid of their own in time, so that they stay where they are while the window
    moves on; the first and the last may be shorter for it. `most`: 2 or more.
    """
    step, anchor = _step(window, bar, most), bar.floor(0)
    first = anchor + (window.start - anchor) // step * step
    columns = (Span(start, start + step) for start in range(first, window.end, step))
    return [column.meet(window) for column in columns]


def strip(history: History, columns: Iterable[Span], window: Span) -> list[Cells]:
    """Return what the columns hold, neighbours of the same content joined, oldest first."""
    found: list[Cells] = []
    expected = history.expected(window)
    # Most symbols are whole most of the time: then there is nothing to look for.
    gaps = history.missing(window)
    proven = shared(gaps, [proof.span for proof in history.proofs])
    missing, unavailable = _Counter(gaps, history.bar), _Counter(proven, history.bar)
    for number, column in enumerate(columns):
        total = column.bars(history.bar)
        listed = column.meet(expected).bars(history.bar)
        lacking, known = missing.upto(column.end), unavailable.upto(column.end)
        cell = Cell(listed - lacking, lacking - known, known, total - listed)
        if found and found[-1].cell == cell:
            found[-1] = found[-1]._replace(columns=found[-1].columns + 1)
        else:
            found.append(Cells(number, 1, cell))
    return found


class _Counter:
    """Counts the bars of stretches that come oldest first, column by column."""

    def __init__(self, spans: Iterable[Span], bar: Bar) -> None:
        self._spans = list(spans)[::-1]
        self._bar = bar

    def upto(self, end: int) -> int:
        """Return how many bars open before `end` (ms) that were not counted yet."""
        bars = 0
        while self._spans and self._spans[-1].start < end:
            span = self._spans.pop()
            bars += span.meet(Span(span.start, end)).bars(self._bar)
            if span.end > end:
                self._spans.append(Span(end, span.end))
        return bars


def _step(window: Span, bar: Bar, most: int) -> int:
    """Return the shortest good length (ms) of a column: a multiple of the bar."""
    least = -(-(window.end - window.start) // max(1, most - 1))
    for step in _STEPS:
        if step >= least and step % bar.ms == 0:
            return step
    unit = max(bar.ms, DAY)
    return -(-least // unit) * unit or unit
