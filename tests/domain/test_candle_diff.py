"""Laws of likeness: two stores are compared block by block, to the last bit of a figure."""

import math

from hypothesis import given
from hypothesis import strategies as st

from blofin_agent.domain.candle import DAY, LATEST_MS, MINUTE, Source, Timeframe
from blofin_agent.domain.candle_diff import by_source, checksum, compare, is_storable, reach, spread

START = 1_790_000_000_000 // DAY * DAY
figures = st.floats(allow_nan=True, allow_infinity=True)
sources = st.sampled_from([source.value for source in Source])
rows = st.dictionaries(
    st.integers(0, 3 * 1_440), st.tuples(*[figures] * 7, sources), max_size=12
).map(lambda found: [(START + at * MINUTE, *found[at]) for at in sorted(found)])


def row(minute=0, *, close=1.5, source="blofin_ws", **changes):
    figures = {"open": 1.0, "high": 2.0, "low": 0.5, "close": close, "v": 1.0, "b": 2.0, "q": 3.0}
    return (START + minute * MINUTE, *(figures | changes).values(), source)


@given(rows, rows)
def test_equal_means_the_same_rows_and_nothing_else(ours, theirs):
    """Whatever the figures; and what is lacking is told whole."""
    for day in compare(ours, theirs, Timeframe.M1):
        span = range(day.start, day.start + DAY)
        mine = [one for one in ours if one[0] in span]
        other = {one[0]: one for one in theirs if one[0] in span}
        assert day.candles == len(mine)
        assert day.lacking == [one for one in mine if one[0] not in other]
        assert day.equal == (repr_of(mine) == repr_of(other.values()))
        assert day.extra == len(other.keys() - {one[0] for one in mine})
        both = [one for one in mine if one[0] in other]
        alike = [one for one in both if repr_of([one])[0][:8] == repr_of([other[one[0]]])[0][:8]]
        assert {one[0] for one, _ in day.different} == {one[0] for one in both} - {
            one[0] for one in alike
        }
        assert day.renamed == sum(one[8] != other[one[0]][8] for one in alike)
    assert {day.start for day in compare(ours, theirs, Timeframe.M1)} == {
        one[0] // DAY * DAY for one in ours
    }


def repr_of(found):
    return [tuple(repr(0.0 if one == 0 else one) for one in this) for this in found]


@given(rows)
def test_a_checksum_is_of_all_that_a_row_has(found):
    """Its time, each figure, its source, and the order."""
    said = checksum(found)
    assert said == checksum(list(found))
    for place, one in enumerate(found):
        for column in range(9):
            changed = (*one[:column], _other(one[column]), *one[column + 1 :])
            assert checksum([*found[:place], changed, *found[place + 1 :]]) != said


def _other(value):
    if isinstance(value, str):
        return "historical_fill" if value == "blofin_ws" else "blofin_ws"
    return 1 if isinstance(value, int) else (2.5 if value != 2.5 else 3.5)


def test_the_last_bit_counts_and_the_sign_of_zero_does_not():
    """0.1 + 0.2 is not 0.3; SQLite keeps no minus before a zero."""
    (day,) = compare([row(close=0.1 + 0.2)], [row(close=0.3)], Timeframe.M1)
    assert day.different == [(row(close=0.1 + 0.2), row(close=0.3))]
    assert checksum([row(close=-0.0)]) == checksum([row(close=0.0)])
    (day,) = compare([row(close=-0.0)], [row(close=0.0)], Timeframe.M1)
    assert day.equal
    (day,) = compare([row(close=math.nan)], [row(close=math.nan)], Timeframe.M1)
    assert day.equal
    (day,) = compare([row(close=math.nan), row(1)], [row(close=math.nan)], Timeframe.M1)
    assert (day.different, day.lacking) == ([], [row(1)])
    (day,) = compare([row(close=math.nan)], [row(close=1.0)], Timeframe.M1)
    assert len(day.different) == 1


def test_the_same_figures_from_another_source_are_told_apart():
    """It is not equal, and no other candle."""
    (day,) = compare([row()], [row(source="historical_fill")], Timeframe.M1)
    assert (day.equal, day.renamed, day.different, day.lacking) == (False, 1, [], [])


def test_what_is_no_candle_has_no_checksum_and_equals_nothing():
    """SQLite takes anything for a figure."""
    assert checksum([row(close="x")]) is None
    assert checksum([row(close=None)]) is None
    assert checksum([row(source=7)]) is None
    (day,) = compare([row()], [row(close="x")], Timeframe.M1)
    assert len(day.different) == 1
    (day,) = compare([row(close="x")], [row(close="x")], Timeframe.M1)
    assert (day.equal, day.different) == (False, [])
    assert checksum([]) == checksum([])


def test_only_what_a_store_can_hold_is_taken():
    """A good row beside a bad one always is."""
    good = row(5)
    bad = [
        row(close="x"),
        row(close=1),
        row(source="mine"),
        (-MINUTE, *row()[1:]),
        (LATEST_MS + 1, *row()[1:]),
        (1.5, *row()[1:]),
    ]
    for one in bad:
        assert is_storable([one, good], nan=True) == [good]
    nan = row(close=math.nan)
    assert is_storable([nan, good], nan=True) == [nan, good]
    assert is_storable([nan, good], nan=False) == [good]
    both = [row(close=math.inf), row(1, close=-math.inf)]
    assert is_storable(both, nan=False) == both
    assert is_storable([], nan=False) == []


def test_rows_are_cut_by_the_time_that_they_span():
    """None is lost, and none spans as much."""
    found = [row(minute) for minute in (0, 1, 9, 10, 11, 40)]
    parts = list(spread(found, 10 * MINUTE))
    assert [len(part) for part in parts] == [3, 2, 1]
    assert [one for part in parts for one in part] == found


def test_each_source_has_its_candles():
    """As `store.candles.insert` takes them."""
    found = by_source([row(0), row(1, source="historical_fill"), row(2)])
    assert [one.open_time for one in found[Source.LIVE]] == [START, START + 2 * MINUTE]
    assert [tuple(one) for one in found[Source.FILL]] == [row(1)[:8]]


def test_a_stretch_begins_with_a_block():
    """Which for 1m bars is a UTC day."""
    assert reach(START + 5 * MINUTE, Timeframe.M1, 2) == (START, START + 2 * DAY)
    assert reach(0, Timeframe.H1, 1) == (0, 60 * DAY)
