"""Laws of filling: every bar once, in order; what is made up says so and is never a candle."""

from hypothesis import given
from hypothesis import strategies as st

from blofin_agent.domain.candle import MINUTE, Timeframe
from blofin_agent.domain.forward_fill import FilledRow, ForwardFill
from blofin_agent.domain.time_range import TimeRange

T = 1_790_000_000_000 // MINUTE * MINUTE


def span(first, last):
    return TimeRange(T + first * MINUTE, T + last * MINUTE)


def row(minute, close=2.0):
    return FilledRow(T + minute * MINUTE, 1.0, 3.0, 0.5, close, 10.0, 0.1, 20.0, "blofin_ws")


def walk(expected, minutes, **how):
    made = ForwardFill(Timeframe.M1, expected, **how)
    stored = [row(minute, close=minute + 100.0) for minute in sorted(minutes)]
    return made, [*made.over(iter(stored)), *made.end()]


bounds = st.tuples(st.integers(-5, 40), st.integers(-5, 40)).map(sorted)


@given(bounds, st.sets(st.integers(-5, 45)))
def test_what_is_held_and_what_is_missing_is_all_that_is_expected(edges, minutes):
    """Stored rows come back as they are, all of them; gaps do not touch."""
    expected = span(*edges)
    made, rows = walk(expected, minutes)
    assert [one.open_time for one in rows] == [T + minute * MINUTE for minute in sorted(minutes)]
    inside = {minute for minute in minutes if edges[0] <= minute < edges[1]}
    assert made.present == len(inside)
    lacking = [time for gap in made.missing for time in range(gap.start, gap.end, MINUTE)]
    assert lacking == [T + minute * MINUTE for minute in range(*edges) if minute not in inside]
    assert all(a.end < b.start for a, b in zip(made.missing, made.missing[1:], strict=False))
    assert made.synthetic == 0


@given(bounds, st.sets(st.integers(-5, 45)), st.none() | st.just(7.0))
def test_filled_every_bar_is_there_once_the_first_close_is_known(edges, minutes, before):
    """At the last close before it, without volume and source, marked."""
    expected = span(*edges)
    made, rows = walk(expected, minutes, fill=True, close=before)
    times = [one.open_time for one in rows]
    assert times == sorted(set(times))
    close = before
    known = {one.open_time: one for one in rows}
    for minute in range(-5, 46):
        time = T + minute * MINUTE
        one = known.get(time)
        if minute in minutes:
            assert one == row(minute, close=minute + 100.0)
            close = minute + 100.0
        elif edges[0] <= minute < edges[1] and close is not None:
            assert one == FilledRow(time, close, close, close, close, 0.0, 0.0, 0.0, None, True)
        else:
            assert one is None
    assert made.synthetic == sum(one.synthetic for one in rows)
