"""Laws of spans and coverage, held against plain sets of numbered bars."""

import tracemalloc
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from blofin_agent.domain.bar_set import BarSet
from blofin_agent.domain.candle import HOUR, Timeframe
from blofin_agent.domain.time_range import TimeRange, ranges_of_times, subtract, window_at

bars = st.sampled_from(Timeframe)
starts = st.integers(-(10**12), 2 * 10**12)
indices = st.sets(st.integers(-40, 120), max_size=60)
edges = st.tuples(st.integers(-60, 140), st.integers(-5, 90)).map(lambda e: (e[0], e[0] + e[1]))


class Grid:
    """Bars by number, so that sets of numbers are the model."""

    def __init__(self, bar: Timeframe, time: int) -> None:
        self.bar, self.zero = bar, bar.floor(time)

    def time(self, index: int) -> int:
        return self.zero + index * self.bar.ms

    def times(self, held: set[int]) -> list[int]:
        return [self.time(index) for index in held]

    def span(self, edge: tuple[int, int]) -> TimeRange:
        return TimeRange(self.time(edge[0]), self.time(edge[1]))

    def numbers(self, spans: list[TimeRange]) -> list[int]:
        return [
            (time - self.zero) // self.bar.ms
            for span in spans
            for time in range(span.start, span.end, self.bar.ms)
        ]

    def coverage(self, held: set[int]) -> BarSet:
        return BarSet.of(self.bar, self.times(held))


grids = st.builds(Grid, bars, starts)


def apart(spans: list[TimeRange]) -> bool:
    """Whether the spans are in order, none empty, none touching the next."""
    return all(spans) and all(a.end < b.start for a, b in pairwise(spans))


@given(grids, indices, edges)
def test_gaps_and_held_make_the_window(grid, held, edge):
    """Every bar of a window is either held or in one gap, and gaps do not touch."""
    coverage, span = grid.coverage(held), grid.span(edge)
    gaps = coverage.gaps(span)
    inside = held & set(range(*edge))
    assert grid.numbers(gaps) == sorted(set(range(*edge)) - held)
    assert apart(gaps)
    assert coverage.count(span) == len(inside)
    assert len(grid.numbers(gaps)) + coverage.count(span) == span.bars(grid.bar)


@given(grids, indices)
def test_spans_undo_of(grid, held):
    """The spans of a coverage are the bars that it was made of, joined where they touch."""
    spans = grid.coverage(held).spans()
    assert grid.numbers(spans) == sorted(held)
    assert apart(spans)


@given(grids, indices, st.integers(-70, 150))
def test_has_exactly_what_was_added(grid, held, index):
    """A bar is held when it was added, and only then."""
    assert grid.coverage(held).has(grid.time(index)) == (index in held)


@given(grids, indices, indices, edges)
def test_adding_is_a_union(grid, first, second, edge):
    """In either order, twice or as a repeated jumble: the bars are those of both."""
    a, b = grid.times(first), grid.times(second)
    coverage = grid.coverage(first).add(b)
    assert coverage.spans() == grid.coverage(first | second).spans()
    assert coverage.spans() == grid.coverage(second).add(a).spans()
    assert coverage.add(b) == coverage
    assert coverage.add([]) is coverage
    assert coverage == BarSet.of(grid.bar, iter(a + b + a[::-1]))
    assert coverage.count(grid.span(edge)) == len((first | second) & set(range(*edge)))


@given(grids, indices, st.integers(-60, 140), indices)
def test_since_forgets_exactly_the_older(grid, held, start, later):
    """What opens before the start is forgotten, the rest is kept, and adding goes on from there."""
    coverage = grid.coverage(held).since(grid.time(start))
    kept = {index for index in held if index >= start}
    assert grid.numbers(coverage.spans()) == sorted(kept)
    assert coverage.bits.bit_length() <= max(0, max(held, default=start) - min(held, default=0) + 1)
    assert grid.numbers(coverage.add(grid.times(later)).spans()) == sorted(kept | later)


@given(grids, indices, st.integers(-60, 140))
def test_newest_and_oldest_are_the_ends(grid, held, start):
    """They are the last and the first bar held, and None when there is none."""
    coverage = grid.coverage(held).since(grid.time(start))
    kept = [index for index in held if index >= start]
    assert coverage.newest == (grid.time(max(kept)) if kept else None)
    assert coverage.oldest == (grid.time(min(kept)) if kept else None)


@given(grids, edges, edges)
def test_spans_meet_and_part_like_sets(grid, one, other):
    """`meet` is the intersection, `less` and `subtract` the difference."""
    a, b = grid.span(one), grid.span(other)
    left, right = set(range(*one)), set(range(*other))
    assert set(grid.numbers([a.meet(b)])) == left & right
    assert bool(a) == bool(left)
    assert a.bars(grid.bar) == len(left)
    if a:
        assert grid.numbers(a.less(b)) == sorted(left - right)
        assert all(a.less(b))
        assert subtract([a, a], b) == a.less(b) * 2


@given(bars, starts, st.integers(0, 1_000), st.integers(0, 120_000))
@example(Timeframe.M1, 1_767_225_600_000, 168, 15_000)
def test_the_window_ends_with_the_last_settled_bar(bar, now, lookback, settle):
    """Its end is the newest grid time not after `now - settle`; as many bars as fit look back."""
    found = window_at(now, bar, lookback, settle)
    assert bar.floor(found.end) == found.end
    assert found.end <= now - settle < found.end + bar.ms
    assert bar.floor(found.start) == found.start
    assert 0 <= lookback * HOUR - (found.end - found.start) < bar.ms
    assert found.bars(bar) == lookback * HOUR // bar.ms


def test_a_week_of_minutes_is_10080_bars():
    """168 hours of 1m bars; the candle that closed less than `settle` ago is not yet in it."""
    minute = 1_767_225_600_000
    assert window_at(minute + 14_999, Timeframe.M1, 168, 15_000).bars(Timeframe.M1) == 10_080
    assert window_at(minute + 14_999, Timeframe.M1, 168, 15_000).end == minute - 60_000
    assert window_at(minute + 15_000, Timeframe.M1, 168, 15_000).end == minute
    assert len(BarSet(Timeframe.M1).gaps(window_at(minute, Timeframe.M1, 168, 15_000))) == 1


def test_a_time_ages_before_the_others_costs_nothing():
    """One stray row of a page must not be counted up to, minute by minute."""
    now = Timeframe.M1.floor(1_795_631_220_000)
    tracemalloc.start()
    try:
        spans = ranges_of_times([now, 0, now + Timeframe.M1.ms], Timeframe.M1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert spans == [TimeRange(0, Timeframe.M1.ms), TimeRange(now, now + 2 * Timeframe.M1.ms)]
    assert peak < 100_000
