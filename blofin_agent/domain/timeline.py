"""Strip: a stretch of one symbol's history in few columns, for the gap map and the terminal."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from blofin_agent.domain.candle import DAY, HOUR, MINUTE, Timeframe
from blofin_agent.domain.symbol_coverage import SymbolCoverage
from blofin_agent.domain.time_range import TimeRange, intersect

_STEPS = (
    *(minutes * MINUTE for minutes in (1, 2, 3, 5, 6, 10, 15, 20, 30)),
    *(hours * HOUR for hours in (1, 2, 3, 4, 6, 8, 12)),
)
"""Lengths (ms) of a column that a person reads well; beyond them, whole days."""


class ColumnCounts(NamedTuple):
    """The bars of one column, told apart. `missing` are those that are not proven unavailable."""

    held: int
    missing: int
    unavailable: int
    unlisted: int


class TimelineRun(NamedTuple):
    """`columns` neighbouring columns from `first` on with the same content."""

    first: int
    columns: int
    cell: ColumnCounts


@dataclass(frozen=True, slots=True)
class Timeline:
    """A window in columns. `bars`: how many open in each; `whole`: a strip that holds them all."""

    window: TimeRange
    bar: Timeframe
    columns: Sequence[TimeRange]
    starts: Sequence[int]
    bars: Sequence[int]
    whole: Sequence[TimelineRun]


def make_timeline(window: TimeRange, bar: Timeframe, most: int) -> Timeline:
    """Return the window in at most `most` columns of equal length, oldest first.

    They lie on a grid of their own in time, so that they stay where they are while the window
    moves on; the first and the last may be shorter for it. `most`: 2 or more.
    """
    step, anchor = _step(window, bar, most), bar.floor(0)
    first = anchor + (window.start - anchor) // step * step
    columns = [
        TimeRange(start, start + step).meet(window) for start in range(first, window.end, step)
    ]
    bars = [column.bars(bar) for column in columns]
    starts = [column.start for column in columns]
    return Timeline(
        window, bar, columns, starts, bars, _join(ColumnCounts(total, 0, 0, 0) for total in bars)
    )


def timeline_runs(history: SymbolCoverage, over: Timeline) -> Sequence[TimelineRun]:
    """Return what the columns hold, neighbours of the same content joined, oldest first."""
    expected = history.expected(over.window)
    gaps = history.missing(over.window)
    before = over.window.less(expected)
    # Most symbols are whole most of the time: then there is nothing to look for.
    if not gaps and not before:
        return over.whole
    proven = intersect(gaps, [proof.span for proof in history.proofs])
    lacking, known, unlisted = (_spread(spans, over) for spans in (gaps, proven, before))
    return _join(
        ColumnCounts(total - gone - early, gone - sure, sure, early)
        for total, gone, sure, early in zip(over.bars, lacking, known, unlisted, strict=True)
    )


def _spread(spans: Iterable[TimeRange], over: Timeline) -> list[int]:
    """Return how many bars of the spans, which lie in the window, open in each column."""
    found = [0] * len(over.columns)
    for span in spans:
        start, number = span.start, bisect_right(over.starts, span.start) - 1
        while start < span.end:
            end = min(span.end, over.columns[number].end)
            found[number] += (end - start) // over.bar.ms
            start, number = end, number + 1
    return found


def _join(cells: Iterable[ColumnCounts]) -> list[TimelineRun]:
    found: list[TimelineRun] = []
    last, first, number = None, 0, 0
    for number, cell in enumerate(cells):
        if cell != last:
            if last is not None:
                found.append(TimelineRun(first, number - first, last))
            last, first = cell, number
    if last is not None:
        found.append(TimelineRun(first, number + 1 - first, last))
    return found


def _step(window: TimeRange, bar: Timeframe, most: int) -> int:
    """Return the shortest good length (ms) of a column: a multiple of the bar."""
    least = -(-(window.end - window.start) // max(1, most - 1))
    for step in _STEPS:
        if step >= least and step % bar.ms == 0:
            return step
    unit = max(bar.ms, DAY)
    return -(-least // unit) * unit or unit
