"""Verdict: the health of the whole, with its reason in one sentence for a person."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from blofin_agent.domain.candle import Timeframe
from blofin_agent.domain.symbol_coverage import GOOD_COVERAGE, CoverageCounts, Health, health
from blofin_agent.runtime.format import clock_text, duration_text, percent, plural


class RecoveryState(StrEnum):
    """What is being done about what is missing. The values are public."""

    NOTHING_TO_DO = "nothing_to_do"
    FILLING = "filling"
    WAITING = "waiting"
    """For the next pass."""
    UNAVAILABLE = "unavailable"
    """All that is missing was proven not to exist: it is asked for again, ever less often."""
    SUSPENDED = "suspended"
    EXCHANGE_AWAY = "exchange_away"
    STORE_AWAY = "store_away"


@dataclass(frozen=True, slots=True)
class RecoveryOutlook:
    """What is being done, and how long it takes. Times in ms since the epoch."""

    recovery: RecoveryState
    eta_seconds: float
    """Least time to fetch what the gaps need."""
    suspended_until: int = 0
    next_pass_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class HealthSummary:
    """The health of the worst symbol, and why, in words."""

    health: Health
    reason: str


def judge_health(
    worst_first: Sequence[tuple[str, CoverageCounts]], bar: Timeframe, outlook: RecoveryOutlook
) -> HealthSummary:
    """Judge the symbols' counts. `worst_first`: the least complete symbol first."""
    if not worst_first:
        return HealthSummary(
            Health.CRITICAL, "no symbol is watched: BloFin's list of instruments was not read yet"
        )
    symbol, worst = worst_first[0]
    state = health(worst.ratio)
    short = [count for _, count in worst_first if count.missing]
    if not short:
        count = len(worst_first)
        whole = "the one symbol is" if count == 1 else f"all {count} symbols are"
        return HealthSummary(state, f"{whole} complete")
    if state is Health.GOOD:
        where = symbol if len(short) == 1 else plural(len(short), "symbol")
        bars = sum(count.missing for count in short)
        text = (
            f"every symbol is at {percent(GOOD_COVERAGE)} or better; "
            f"{bars_text(bars, bar)} missing in {where}"
        )
    else:
        text = f"{symbol} {percent(worst.ratio)}, {bars_text(worst.missing, bar)} missing"
        if worst.unavailable and worst.unavailable < worst.missing:
            text += f" ({worst.unavailable} of them BloFin does not have)"
        others = sum(1 for count in short[1:] if count.ratio < GOOD_COVERAGE)
        if others:
            text += f", and {plural(others, 'more symbol')} below {percent(GOOD_COVERAGE)}"
    return HealthSummary(state, f"{text}; {outlook_text(outlook)}")


def outlook_text(outlook: RecoveryOutlook) -> str:
    """Say what is being done about it."""
    soon = outlook.next_pass_seconds
    texts = {
        RecoveryState.STORE_AWAY: "the database cannot be used now, and the agent waits for it",
        RecoveryState.SUSPENDED: "BloFin suspended this address, and nothing is asked for before "
        + clock_text(outlook.suspended_until),
        RecoveryState.EXCHANGE_AWAY: "BloFin cannot be reached, and the agent keeps trying",
        RecoveryState.FILLING: f"filling, about {duration_text(max(1, outlook.eta_seconds))} left",
        RecoveryState.UNAVAILABLE: "BloFin was proven not to have them; they are asked for again "
        "now and then",
        RecoveryState.WAITING: "asked for again soon"
        if soon is None
        else f"asked for again in {duration_text(soon)}",
        RecoveryState.NOTHING_TO_DO: "nothing is missing",
    }
    return texts[outlook.recovery]


def bars_text(bars: int, bar: Timeframe) -> str:
    """Return `181 minutes` for 1m bars, `3 5m bars` for others."""
    return plural(bars, "minute" if bar is Timeframe.M1 else f"{bar.value} bar")
