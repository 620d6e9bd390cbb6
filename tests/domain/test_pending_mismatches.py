"""Laws of doubts: two answers that agree are believed, and one garbled one is nothing."""

from hypothesis import given
from hypothesis import strategies as st

from blofin_agent.domain.candle import Candle
from blofin_agent.domain.verification import CandleDifference, Comparison, PendingMismatches

MINE = Candle(0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
answers = st.lists(st.sampled_from(["equal", "nothing", 2.0, 3.0, None]), max_size=6)


def said(answer):
    if answer == "equal":
        return Comparison([0], [], [], [])
    if answer == "nothing":
        return Comparison([], [], [], [MINE])
    given_ = None if answer is None else MINE._replace(close=answer)
    return Comparison([], [CandleDifference(MINE, given_)], [], [])


@given(answers)
def test_a_difference_is_believed_when_the_last_two_that_spoke_say_the_same(several):
    """Equal settles it at once; what says nothing changes nothing."""
    doubts, last = PendingMismatches(), "nothing"
    for answer in several:
        agreed = doubts.settle(said(answer))
        if answer == "nothing":
            assert not agreed
            assert doubts.times == {0}
            continue
        if answer == "equal":
            assert not agreed
            assert doubts.times == set()
            last = "nothing"
        elif answer == last:
            assert agreed == said(answer).differences
            assert doubts.times == set()
            last = "nothing"
        else:
            assert not agreed
            assert doubts.times == {0}
            last = answer
