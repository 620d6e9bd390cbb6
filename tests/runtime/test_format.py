"""Laws of how figures and times are told to a person."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blofin_agent.coverage.gap_reasons import range_text, ranges_text
from blofin_agent.domain.candle import MINUTE
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.runtime.format import (
    clock_text,
    duration_text,
    floor_ratio,
    iso_text,
    minute_text,
    percent,
    plural,
)

T = 1_790_000_000_000 // MINUTE * MINUTE


def test_times_are_told_in_utc():
    """To the second with the zone, or to the minute."""
    assert clock_text(T + 7_999) == "2026-09-21 14:13:07 UTC"
    assert minute_text(T) == "2026-09-21 14:13"
    assert iso_text(T + 7_999) == "2026-09-21T14:13:07Z"
    assert range_text(TimeRange(T, T + 6 * MINUTE)) == "2026-09-21 14:13 to 2026-09-21 14:19"


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(0, "0.0 %"), (0.201, "20.1 %"), (0.9949, "99.4 %"), (0.99999, "99.9 %"), (1, "100.0 %")],
)
def test_a_percentage_is_rounded_down(ratio, text):
    """99.5 % is told only of what is 99.5 %."""
    assert percent(ratio) == text


@given(present=st.integers(0, 10_079))
def test_only_what_is_complete_reads_as_100(present):
    """One missing minute of a week shows."""
    assert not percent(present / 10_080).startswith("100")
    assert percent(1.0) == "100.0 %"
    assert floor_ratio(present / 10_080) < 1 == floor_ratio(1.0)


@given(tenths=st.integers(0, 1_000))
def test_a_ratio_of_whole_tenths_is_told_exactly(tenths):
    """Binary fractions do not lower it."""
    assert percent(tenths / 1_000) == f"{tenths // 10}.{tenths % 10} %"
    assert floor_ratio(tenths / 1_000) == tenths / 1_000


def test_a_noun_has_its_number():
    """0 and 2 are many, 1 is one."""
    assert [plural(n, "gap") for n in (0, 1, 2)] == ["0 gaps", "1 gap", "2 gaps"]


def test_many_stretches_are_shortened():
    """The first three, and how many more."""
    spans = [TimeRange(T + n * 10 * MINUTE, T + (n * 10 + 1) * MINUTE) for n in range(5)]
    assert ranges_text(spans[:1]) == range_text(spans[0])
    assert ranges_text(spans[:3]) == "; ".join(range_text(span) for span in spans[:3])
    assert ranges_text(spans).endswith("; and 2 more")
    assert ranges_text([]) == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (250, "4 min 10 s"),
        (3_599, "59 min 59 s"),
        (3_900, "1 h 5 min"),
        (90_000, "25 h 0 min"),
    ],
)
def test_a_length_of_time_is_told_in_two_figures(seconds, text):
    """Seconds, minutes, hours."""
    assert duration_text(seconds) == text
