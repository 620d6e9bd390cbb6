"""Laws of the sample: so many stretches, none shared, all over what is stored."""

import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from blofin_agent.domain.bar_set import BarSet
from blofin_agent.domain.candle import Timeframe
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.domain.verification import sampled_ranges, stored_ranges

STEP = Timeframe.M1.ms
stored = st.sets(st.integers(0, 300), max_size=200).map(sorted)
pages = st.integers(1, 9)
sizes = st.integers(1, 50)
seeds = st.integers(0, 1 << 31)


def drawn(minutes, size, number, seed):
    times = [minute * STEP for minute in minutes]
    return sampled_ranges(times, Timeframe.M1, size, number, random.Random(seed).randint)


@given(stored, sizes, pages, seeds)
def test_there_are_as_many_as_asked_for_and_none_is_longer_than_a_page(minutes, size, number, seed):
    """Fewer only where fewer candles are stored. Each ends in a stored candle; none overlap."""
    found = drawn(minutes, size, number, seed)
    assert len(found) == min(number, len(minutes))
    assert all(0 < span.bars(Timeframe.M1) <= size for span in found)
    assert all(older.end <= newer.start for older, newer in pairwise(found))
    assert all(span.end // STEP - 1 in minutes for span in found)


@given(stored, sizes, pages, seeds)
def test_one_is_drawn_from_each_part_of_what_is_stored(minutes, size, number, seed):
    """So that no corner of the window is never looked at; as long as the part allows."""
    found = drawn(minutes, size, number, seed)
    parts = [
        minutes[len(minutes) * part // number : len(minutes) * (part + 1) // number]
        for part in range(number)
    ]
    for span, part in zip(found, [part for part in parts if part], strict=True):
        assert part[0] * STEP <= span.start < span.end <= (part[-1] + 1) * STEP


@given(st.integers(1, 40), pages, seeds)
def test_a_store_without_gaps_gives_whole_pages(size, number, seed):
    """Each request brings all that a request can."""
    minutes = list(range(size * number + seed % 50))
    assert [span.bars(Timeframe.M1) for span in drawn(minutes, size, number, seed)] == [
        size
    ] * number


@given(stored, sizes, pages, seeds)
def test_the_same_seed_draws_the_same(minutes, size, number, seed):
    """So a sample can be repeated."""
    assert drawn(minutes, size, number, seed) == drawn(minutes, size, number, seed)


def test_every_candle_can_be_drawn():
    """Over many seeds each is looked at about as often as the others, save at the parts' ends."""
    times = [0] * 100
    for seed in range(500):
        for span in drawn(range(100), 10, 2, seed):
            for time in range(*span, STEP):
                times[time // STEP] += 1
    assert min(times) > 0
    assert max(times[10:40]) < 2 * min(times[10:40])


@given(stored, st.integers(0, 150), st.integers(0, 160), sizes)
def test_the_whole_is_all_that_is_stored_of_the_window_and_the_short_gaps_in_it(
    minutes, start, length, size
):
    """A gap of a page or longer is no part of it: there is nothing to verify there."""
    held = BarSet.of(Timeframe.M1, [minute * STEP for minute in minutes])
    window = TimeRange(start * STEP, (start + length) * STEP)
    found = stored_ranges(held, window, size)
    inside = {minute for minute in minutes if start <= minute < start + length}
    asked = {time // STEP for span in found for time in range(*span, STEP)}
    assert inside <= asked
    for span in found:
        assert held.has(span.start)
        assert held.has(span.end - STEP)
        assert all(gap.bars(Timeframe.M1) < size for gap in held.gaps(span))
    for older, newer in pairwise(found):
        assert TimeRange(older.end, newer.start).bars(Timeframe.M1) >= size
