"""Laws of comparing: each stored candle is in one list, and only a page that shows a hole is no."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from blofin_agent.domain.bar_set import BarSet
from blofin_agent.domain.candle import Candle, Timeframe
from blofin_agent.domain.candle_page import CandlePage
from blofin_agent.domain.verification import COMPARED_FIELDS, CandleDifference, compare_page, widen

STEP = Timeframe.M1.ms
figures = st.sampled_from([1.0, 2.0, 2.5])
candles = st.builds(lambda *values: values, *[figures] * 7)
shelves = st.dictionaries(st.integers(0, 30), candles, max_size=20)
spoilt = st.sets(st.integers(0, 30), max_size=4)
asked = st.sets(st.integers(0, 30)).map(
    lambda minutes: BarSet.of(Timeframe.M1, [minute * STEP for minute in minutes]).spans()
)


def rows(shelf):
    return [Candle(minute * STEP, *values) for minute, values in sorted(shelf.items())]


def page(shelf, bad=(), *, clean=True):
    sound = rows({minute: values for minute, values in shelf.items() if minute not in bad})
    times = [minute * STEP for minute in {*shelf, *bad}]
    return CandlePage(sound, [], times, clean and not bad, len(times))


def inside(time, spans):
    return any(span.start <= time < span.end for span in spans)


@given(shelves, shelves, spoilt, asked, st.booleans())
def test_every_candle_asked_about_is_in_exactly_one_list(ours, theirs, bad, spans, clean):
    """Stored ones: equal, different, absent or unsure. Given ones: equal, different or missing."""
    found = compare_page(rows(ours), page(theirs, bad, clean=clean), spans, Timeframe.M1)
    stored = [candle.open_time for candle in rows(ours) if inside(candle.open_time, spans)]
    listed = [
        *found.equal,
        *(one.open_time for one in found.differences),
        *(candle.open_time for candle in found.unsure),
    ]
    assert sorted(listed) == stored
    sound = page(theirs, bad).candles
    given_ = [candle.open_time for candle in sound if inside(candle.open_time, spans)]
    both = [one.open_time for one in found.differences if one.given]
    missing = [candle.open_time for candle in found.missing]
    assert sorted([*found.equal, *both, *missing]) == given_
    for each in (found.equal, missing, [one.open_time for one in found.differences]):
        assert each == sorted(each)


@given(shelves, shelves, spoilt, asked)
def test_equal_is_equal_in_every_field_and_a_difference_names_those_that_differ(
    ours, theirs, bad, spans
):
    """As doubles, one by one."""
    found = compare_page(rows(ours), page(theirs, bad), spans, Timeframe.M1)
    for time in found.equal:
        assert ours[time // STEP] == theirs[time // STEP]
    for one in found.differences:
        if one.given is None:
            assert one.fields == ()
            continue
        assert one.given == Candle(one.open_time, *theirs[one.open_time // STEP])
        for name in COMPARED_FIELDS:
            same = getattr(one.stored, name) == getattr(one.given, name)
            assert (name in one.fields) == (not same)
        assert one.fields


@given(shelves, shelves, spoilt, asked, st.booleans())
def test_blofin_lacks_a_candle_only_where_a_sound_page_has_rows_on_both_sides(
    ours, theirs, bad, spans, clean
):
    """An edge, an empty page or one with a garbled row says nothing; all else inside is absent."""
    answer = page(theirs, bad, clean=clean)
    found = compare_page(rows(ours), answer, spans, Timeframe.M1)
    absent = {one.open_time for one in found.differences if one.given is None}
    shown = set()
    if answer.clean and answer.times:
        shown = {
            candle.open_time
            for candle in rows(ours)
            if min(answer.times) < candle.open_time < max(answer.times)
            and candle.open_time not in answer.times
            and inside(candle.open_time, spans)
        }
    assert absent == shown


def test_the_wire_s_own_text_is_compared_as_the_double_it_gives():
    """The last digit of a decimal of 15 counts."""
    stored = Candle(0, 1.0, 1.0, 1.0, float("96432.123456789"), 1.0, 1.0, 1.0)
    given_ = stored._replace(close=float("96432.1234567891"))
    assert CandleDifference(stored, given_).fields == ("close",)
    assert CandleDifference(stored, stored._replace(close=96432.123456789)).fields == ()
    assert CandleDifference(stored, None).fields == ()


@given(st.sets(st.integers(0, 40), max_size=15), st.integers(0, 6), st.integers(0, 8))
def test_wider_spans_hold_what_is_near_and_no_more(minutes, by, room):
    """None touch, and nothing is above the newest."""
    newest = max(minutes, default=0) + 1 + room
    spans = BarSet.of(Timeframe.M1, [minute * STEP for minute in minutes]).spans()
    wide = widen(spans, by * STEP, newest * STEP)
    held = {time // STEP for span in wide for time in range(*span, STEP)}
    near = {minute + off for minute in minutes for off in range(-by, by + 1)}
    assert held == {minute for minute in near if minute < newest}
    assert all(older.end < newer.start for older, newer in pairwise(wide))
