"""Laws of blocks: they are coverage, cut at fixed times."""

from hypothesis import given
from hypothesis import strategies as st

from blofin_agent.domain.bar_set import BarSet
from blofin_agent.domain.candle import DAY, Timeframe
from blofin_agent.domain.coverage_blocks import (
    BARS_PER_BLOCK,
    CoverageBlock,
    bits_of,
    block_ms,
    block_starts,
    join_bits,
    pack,
    unpack,
)
from blofin_agent.domain.time_range import TimeRange

bars = st.sampled_from(list(Timeframe))
numbers = st.sets(st.integers(0, 3 * BARS_PER_BLOCK + 7))
runs = st.tuples(st.integers(0, 3 * BARS_PER_BLOCK), st.integers(1, 2 * BARS_PER_BLOCK)).map(
    lambda run: set(range(run[0], run[0] + run[1]))
)
NOW = 1_790_000_000_000


def times_of(bar, found):
    """The open times of some bars, counted from one near the start of a block."""
    first = bar.floor(block_starts(bar, TimeRange(NOW, NOW + 1))[0] + bar.ms - 1)
    return {first + number * bar.ms for number in found}


@given(bars, numbers | runs)
def test_cut_and_joined_it_is_the_same_coverage(bar, found):
    """Whatever is held, in one piece or in many."""
    times = times_of(bar, found)
    joined = join_bits(bar, bits_of(bar, times))
    assert joined.spans() == BarSet.of(bar, times).spans()


@given(bars, numbers | runs)
def test_each_bit_stands_in_the_block_in_which_its_bar_opens(bar, found):
    """A block has 1,440 bits, and none that is empty is told of."""
    times = times_of(bar, found)
    blocks = bits_of(bar, times)
    length = block_ms(bar)
    assert set(blocks) == {time // length * length for time in times}
    assert all(0 < bits < 1 << BARS_PER_BLOCK for bits in blocks.values())
    assert sum(bits.bit_count() for bits in blocks.values()) == len(times)


@given(bars, st.integers(0, NOW), st.integers(1, NOW))
def test_the_blocks_of_a_span_are_those_that_have_a_part_in_it(bar, start, length):
    """Without a hole between them, and none too many."""
    span = TimeRange(start, start + min(length, 100 * block_ms(bar)))
    found = block_starts(bar, span)
    assert found[0] <= span.start < found[0] + block_ms(bar)
    assert found[-1] < span.end <= found[-1] + block_ms(bar)


def test_a_block_of_minutes_is_a_day():
    """Of UTC."""
    assert block_ms(Timeframe.M1) == DAY
    assert list(block_starts(Timeframe.M1, TimeRange(DAY, 2 * DAY))) == [DAY]


@given(bars, numbers)
def test_a_time_a_little_off_the_grid_counts_for_the_bar_it_is_in(bar, found):
    """Somebody wrote it by hand: it is in the way of no other."""
    times = times_of(bar, found)
    assert bits_of(bar, {time + 1 for time in times}) == bits_of(bar, times)


@given(st.integers(0, (1 << BARS_PER_BLOCK) - 1))
def test_packed_bits_come_back(bits):
    """Without a byte too many: a block of which nothing came live costs nothing for that."""
    assert unpack(pack(bits)) == bits
    assert len(pack(bits)) == (bits.bit_length() + 7) // 8


def test_what_is_stored_already_does_not_come_live_any_more():
    """A candle stays what it was."""
    block = CoverageBlock().entered(0b0011, live=False).entered(0b0110, live=True)
    assert block == CoverageBlock(0b0111, 0b0100)
    assert block.entered(0b1111, live=False) == CoverageBlock(0b1111, 0b0100)
