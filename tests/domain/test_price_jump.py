"""Laws of the leap: what a price does in three minutes of an hour is not what it does in one."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blofin_agent.domain.candle import MINUTE, Candle, Timeframe
from blofin_agent.domain.candle_page import CandlePage
from blofin_agent.domain.price_jump import JUMP_FACTOR, MAX_NEIGHBOR_BARS, agreed, has_jump, jumps

START = 1_790_000_000_000 // MINUTE * MINUTE


def candle(bar, price):
    return Candle(START + bar * MINUTE, price, price, price, price, 1.0, 1.0, 1.0)


def answer(*candles, clean=True):
    return CandlePage(list(candles), [], [one.open_time for one in candles], clean, len(candles))


@given(price=st.floats(1e-9, 1e9), ratio=st.floats(1 / JUMP_FACTOR * 1.01, JUMP_FACTOR * 0.99))
def test_no_ordinary_move_is_a_leap(price, ratio):
    assert not jumps(candle(0, price), candle(1, price * ratio), Timeframe.M1)


@given(price=st.floats(1e-9, 1e9), ratio=st.floats(JUMP_FACTOR * 1.01, 1e6), up=st.booleans())
def test_a_leap_is_one_upward_and_downward(price, ratio, up):
    other = price * ratio if up else price / ratio
    assert jumps(candle(0, price), candle(1, other), Timeframe.M1)


def test_what_is_far_apart_in_time_is_not_compared():
    assert jumps(candle(0, 1), candle(MAX_NEIGHBOR_BARS, 10), Timeframe.M1)
    assert not jumps(candle(0, 1), candle(MAX_NEIGHBOR_BARS + 1, 10), Timeframe.M1)


@pytest.mark.parametrize(
    ("prices", "beside", "leap"),
    [
        ([1, 1, 1], [], False),
        ([1, 9, 1], [], True),
        ([9, 9, 9], [(3, 1)], True),
        ([9, 9, 9], [(-1, 1)], True),
        ([1, 1, 1], [(3, 1), (-1, 1)], False),
        ([9, 9, 9], [(400, 1)], False),
        ([], [(0, 1)], False),
    ],
)
def test_a_leap_is_found_inside_and_to_those_beside(prices, beside, leap):
    page = [candle(bar, price) for bar, price in enumerate(prices)]
    assert has_jump(page, [candle(*one) for one in beside], Timeframe.M1) is leap


@given(
    st.lists(st.floats(1, 10), max_size=8),
    st.lists(st.tuples(st.integers(-2, 9), st.floats(1, 10)), max_size=2),
)
def test_a_page_without_a_leap_has_none_between_any_two_that_are_next_to_one_another(
    prices, beside
):
    """The quick look at the highest and the lowest price overlooks none."""
    page = [candle(bar, price) for bar, price in enumerate(prices)]
    known = [candle(*one) for one in beside if one[0] < 0 or one[0] >= len(prices)]
    pairs = list(itertools.pairwise(page))
    pairs += [(one, page[0]) for one in known if page and one.open_time < page[0].open_time]
    pairs += [(page[-1], one) for one in known if page and one.open_time > page[-1].open_time]
    assert has_jump(page, known, Timeframe.M1) is any(jumps(*pair, Timeframe.M1) for pair in pairs)


def test_of_two_answers_what_both_say_is_believed_and_the_rest_asked_for_again():
    first, second = answer(candle(0, 1), candle(1, 9)), answer(candle(0, 1), candle(1, 8))
    believed = agreed(first, second)
    assert believed.candles == [candle(0, 1)]
    assert not believed.clean
    assert agreed(first, first) == first
