"""Laws of the skew."""

from hypothesis import given
from hypothesis import strategies as st

from blofin_agent.domain.clock_offset import SAMPLE_CANDLES, ClockOffset


@given(offset=st.integers(-(10**9), 10**9), delays=st.lists(st.integers(0, 2_000), min_size=1))
def test_it_is_the_clocks_offset_but_for_the_way(offset, delays):
    skew = ClockOffset()
    told = [skew.note(1_000_000, 1_000_000 + offset + delay) for delay in delays]
    assert all(offset / 1000 <= one <= offset / 1000 + 2 for one in told)


def test_some_absurd_candles_change_nothing():
    skew = ClockOffset()
    for number in range(300):
        told = skew.note(0, 10**15 if number % 5 == 0 else 700)
        assert number < 3 or told == 0.7


def test_it_follows_a_clock_that_is_set():
    skew = ClockOffset()
    for _ in range(SAMPLE_CANDLES):
        skew.note(0, 500)
    assert [skew.note(0, 60_500) for _ in range(SAMPLE_CANDLES)][-1] == 60.5
