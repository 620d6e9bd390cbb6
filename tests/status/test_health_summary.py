"""Laws of the verdict: the worst symbol's health, and why, in a sentence for a person."""

import pytest

from blofin_agent.domain.candle import Timeframe
from blofin_agent.domain.symbol_coverage import CoverageCounts, Health
from blofin_agent.status.health_summary import (
    RecoveryOutlook,
    RecoveryState,
    bars_text,
    judge_health,
)

FILLING = RecoveryOutlook(RecoveryState.FILLING, 40.2)


def of(**missing):
    """Return the counts of symbols that lack so many of 10,000 bars, of these unavailable."""
    counts = []
    for name, lacking in missing.items():
        bars, proven = lacking if isinstance(lacking, tuple) else (lacking, 0)
        counts.append((f"{name}-USDT", CoverageCounts(10_000, 10_000 - bars, bars, proven)))
    return sorted(counts, key=lambda item: item[1].ratio)


@pytest.mark.parametrize(
    ("counts", "health", "reason"),
    [
        ({"PEPE": 181, "BTC": 0}, "warn", "PEPE-USDT 98.1 %, 181 minutes missing"),
        (
            {"PEPE": 400, "BTC": 60, "ETH": 51, "SOL": 50},
            "critical",
            "PEPE-USDT 96.0 %, 400 minutes missing, and 2 more symbols below 99.5 %",
        ),
        (
            {"PEPE": (400, 399), "BTC": 51},
            "critical",
            (
                "PEPE-USDT 96.0 %, 400 minutes missing (399 of them BloFin does not have), "
                "and 1 more symbol below 99.5 %"
            ),
        ),
        (
            {"PEPE": 1, "BTC": 0},
            "good",
            "every symbol is at 99.5 % or better; 1 minute missing in PEPE-USDT",
        ),
        (
            {"PEPE": 50, "BTC": 2, "ETH": 0},
            "good",
            "every symbol is at 99.5 % or better; 52 minutes missing in 2 symbols",
        ),
    ],
)
def test_what_is_missing_is_told_with_what_is_done(counts, health, reason):
    """The worst symbol by name, and how many are as bad; then what the agent does."""
    found = judge_health(of(**counts), Timeframe.M1, FILLING)
    assert found.health.value == health
    assert found.reason == f"{reason}; filling, about 40 s left"


def test_what_is_complete_is_told_as_such():
    """Nothing is said of what is being done: nothing is."""
    done = RecoveryOutlook(RecoveryState.NOTHING_TO_DO, 0)
    assert (
        judge_health(of(A=0, B=0, C=0), Timeframe.M1, done).reason == "all 3 symbols are complete"
    )
    assert judge_health(of(A=0), Timeframe.M1, done).reason == "the one symbol is complete"
    assert judge_health(of(A=0), Timeframe.M1, done).health is Health.GOOD


def test_watching_nothing_is_no_good_news():
    """CRITICAL, and why."""
    found = judge_health([], Timeframe.M1, RecoveryOutlook(RecoveryState.NOTHING_TO_DO, 0))
    assert found.health is Health.CRITICAL
    assert "BloFin's list of instruments was not read yet" in found.reason


@pytest.mark.parametrize(
    ("outlook", "words"),
    [
        (RecoveryOutlook(RecoveryState.FILLING, 0.0), "filling, about 1 s left"),
        (RecoveryOutlook(RecoveryState.FILLING, 250.0), "filling, about 4 min 10 s left"),
        (RecoveryOutlook(RecoveryState.WAITING, 1.0, 0, 754.0), "asked for again in 12 min 34 s"),
        (RecoveryOutlook(RecoveryState.WAITING, 1.0), "asked for again soon"),
        (
            RecoveryOutlook(RecoveryState.SUSPENDED, 1.0, 1_790_000_000_000),
            "suspended this address, and nothing is asked for before 2026-09-21 14:13:20 UTC",
        ),
        (
            RecoveryOutlook(RecoveryState.EXCHANGE_AWAY, 1.0),
            "BloFin cannot be reached, and the agent keeps",
        ),
        (
            RecoveryOutlook(RecoveryState.STORE_AWAY, 1.0),
            "the database cannot be used now, and the agent waits",
        ),
        (
            RecoveryOutlook(RecoveryState.UNAVAILABLE, 1.0),
            "BloFin was proven not to have them; they are asked",
        ),
    ],
)
def test_every_outlook_has_words(outlook, words):
    """What is in the way, and what the agent does about it."""
    assert words in judge_health(of(PEPE=181), Timeframe.M1, outlook).reason


def test_bars_are_minutes_only_when_they_are():
    """An hour's bar is a bar."""
    assert bars_text(1, Timeframe.M1) == "1 minute"
    assert bars_text(2, Timeframe.M1) == "2 minutes"
    assert bars_text(2, Timeframe.H1) == "2 1H bars"
