"""Laws of the gaps as they are told: each missing bar once, with why it is missing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blofin_agent.coverage.gap_reasons import explain_gaps
from blofin_agent.domain.backfill_run import BackfillRun, RunStatus, RunTrigger
from blofin_agent.domain.bar_set import BarSet
from blofin_agent.domain.candle import HOUR, MINUTE, Timeframe
from blofin_agent.domain.symbol_coverage import SymbolCoverage
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.domain.unavailability import UnavailableRange

T = 1_790_000_000_000 // MINUTE * MINUTE
WINDOW = TimeRange(T, T + 30 * MINUTE)


def span(start, end):
    return TimeRange(T + start * MINUTE, T + end * MINUTE)


def history(held, *proofs):
    made = SymbolCoverage("A-USDT", Timeframe.M1)
    made.held = BarSet.of(Timeframe.M1, [T + minute * MINUTE for minute in held])
    made.proofs = [UnavailableRange(one, T, 2, T + HOUR) for one in proofs]
    return made


@given(st.sets(st.integers(0, 29)), st.integers(0, 25), st.integers(1, 9))
def test_every_missing_bar_is_in_exactly_one_gap(held, start, length):
    """And what is proven is told apart from what is not."""
    proven = span(start, start + length)
    made = history(held, proven)
    told = explain_gaps(made, WINDOW, None)
    bars = [time for gap in told for time in range(gap.span.start, gap.span.end, MINUTE)]
    assert bars == [T + minute * MINUTE for minute in range(30) if minute not in held]
    for gap in told:
        inside = proven.start <= gap.span.start and gap.span.end <= proven.end
        assert gap.unavailable == inside


def test_what_is_proven_says_so_and_when_it_is_asked_for_again():
    """With how often it was seen."""
    (gap,) = explain_gaps(history(set(range(30)) - {4, 5}, span(4, 6)), WINDOW, None)
    assert (gap.bars, gap.last, gap.unavailable) == (2, T + 5 * MINUTE, True)
    assert gap.why.startswith("BloFin has no such candles (seen 2 times); asked for again after 20")


@pytest.mark.parametrize(
    ("started", "status", "why"),
    [
        (None, None, "not asked for yet"),
        (6, RunStatus.PARTIAL, "not asked for yet"),
        (9, RunStatus.COMPLETE, "not asked for yet"),
        (9, RunStatus.PARTIAL, "asked for and not given"),
        (9, RunStatus.FAILED, "cannot reach BloFin"),
        (9, RunStatus.SKIPPED, "cannot reach BloFin"),
    ],
)
def test_what_is_not_proven_says_what_the_last_run_met(started, status, why):
    """If it came after the gap: before, nobody asked."""
    run = None
    if status:
        run = BackfillRun("A-USDT", "1m", RunTrigger.HEAL, T + started * MINUTE, status=status)
        run.note = "cannot reach BloFin"
    (gap,) = explain_gaps(history(set(range(30)) - {6}), WINDOW, run)
    assert gap.why.startswith(why)
    assert not gap.unavailable


def test_a_gap_that_grows_was_asked_for():
    """A symbol that stopped: only its newest bars came after the last run."""
    run = BackfillRun("A-USDT", "1m", RunTrigger.HEAL, T + 28 * MINUTE, status=RunStatus.PARTIAL)
    (gap,) = explain_gaps(history(range(6)), WINDOW, run)
    assert gap.bars == 24
    assert gap.why.startswith("asked for and not given")


def test_as_json_it_has_its_times_in_ms():
    """The end is not included."""
    (gap,) = explain_gaps(history(set(range(30)) - {6}), WINDOW, None)
    assert gap.as_json() == {
        "symbol": "A-USDT",
        "start": T + 6 * MINUTE,
        "end": T + 7 * MINUTE,
        "bars": 1,
        "unavailable": False,
        "why": "not asked for yet",
    }
