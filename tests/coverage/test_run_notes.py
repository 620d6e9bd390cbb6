"""Laws of the notes: why a run left something missing."""

import pytest

from blofin_agent.coverage.gap_reasons import why_missing
from blofin_agent.domain.bar_set import BarSet
from blofin_agent.domain.candle import MINUTE, Timeframe
from blofin_agent.domain.symbol_coverage import SymbolCoverage
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.domain.unavailability import UnavailableRange

T = 1_790_000_000_000 // MINUTE * MINUTE
WINDOW = TimeRange(T, T + 10 * MINUTE)


def note(held, *, proven=None, empty=True):
    history = SymbolCoverage("A", Timeframe.M1)
    history.held = BarSet.of(Timeframe.M1, [T + minute * MINUTE for minute in held])
    if proven:
        span = TimeRange(T + proven[0] * MINUTE, T + proven[1] * MINUTE)
        history.proofs = [UnavailableRange(span, T, 1, T)]
    return why_missing(history, WINDOW, empty=empty)


@pytest.mark.parametrize("held", [range(7), [-3], [-3, 0, 1]])
def test_after_the_last_candle_there_is_nothing_newer(held):
    """Also where all of the window, an hour of healing say, comes after it."""
    assert "BloFin has no newer candles so far" in note(held)
    assert "so old" not in note(held)


def test_before_the_first_candle_it_may_be_too_old():
    """When BloFin sent an empty page."""
    assert note(range(5, 10)).endswith("BloFin sent an empty page: it may not keep candles so old")
    assert note([]).endswith("BloFin sent an empty page: it may not keep candles so old")
    assert note(range(5, 10), empty=False).endswith("proves nothing yet: asked for again")


def test_what_is_proven_is_told_apart():
    """With how many, and where."""
    told = note([0, 1, 2, 6, 7, 8, 9], proven=(3, 5))
    assert told.startswith("2 unavailable: BloFin has no such candles (2026-09-21")
    assert "; 1 not given" in told
