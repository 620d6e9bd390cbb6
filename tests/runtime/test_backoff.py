"""Laws of waiting before trying again: doubling, capped, jittered."""

from hypothesis import given
from hypothesis import strategies as st

from blofin_agent.runtime.backoff import Backoff


@given(first=st.floats(0.1, 10), times=st.integers(1, 20), tries=st.integers(1, 30))
def test_delays_double_up_to_the_longest_less_a_quarter_at_most(first, times, tries):
    """Never longer than the cap, never shorter than three quarters of the figure."""
    longest = first * times
    backoff = Backoff(first, longest)
    for number in range(tries):
        figure = min(longest, first * 2**number)
        assert 0.75 * figure * 0.999 <= backoff.next() <= figure * 1.001


def test_chance_keeps_clients_apart():
    """No two of many wait equally long."""
    assert len({Backoff().next() for _ in range(100)}) > 90


def test_success_begins_anew():
    """`reset` forgets the failures before it."""
    backoff = Backoff(1, 60)
    for _ in range(10):
        backoff.next()
    assert backoff.next() >= 45
    backoff.reset()
    assert backoff.next() <= 1
