"""Of the minutes that an old file touches: which are stored, and which of the others can be."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import sqlalchemy as sa

from blofin_agent.domain.candle import DAY, MINUTE, Timeframe
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.jobs.legacy_import.report import FileFinding
from blofin_agent.store.bulk_copy import state_copy
from blofin_agent.store.retrying import RetryingDatabase
from blofin_agent.store.tables import coverage_blocks

DAYS_PER_PART = 100
"""Days that are looked up together."""


class _Day(NamedTuple):
    """A day's minutes as bits: those stored, and those that BloFin was proven not to have."""

    stored: int
    proven: int


async def look_up(found: FileFinding, store: RetryingDatabase, over: int) -> None:
    """Count what the store knows of a symbol's minutes. Raises StoreUnavailable.

    `over`: minutes that open before then (ms) are over.
    """
    days = sorted(found.bits)
    for at in range(0, len(days), DAYS_PER_PART):
        some = days[at : at + DAYS_PER_PART]
        for day, known in zip(
            some,
            await store.read("import", partial(_days, symbol=found.symbol, days=some)),
            strict=True,
        ):
            touched = found.bits[day]
            missing = touched & ~known.stored & ~found.new.get(day, 0)
            missing &= minutes(TimeRange(day, max(day, min(over, day + DAY))), day)
            found.minutes += touched.bit_count()
            found.stored += (touched & known.stored).bit_count()
            found.unavailable += (missing & known.proven).bit_count()
            missing &= ~known.proven
            found.missing += missing.bit_count()
            if missing and found.since is None:
                found.since = day + ((missing & -missing).bit_length() - 1) * MINUTE


def minutes(span: TimeRange, day: int) -> int:
    """Return the minutes of a span inside a day (ms) as bits, the day's first being the lowest."""
    part = span.meet(TimeRange(day, day + DAY))
    return ((1 << part.bars(Timeframe.M1)) - 1) << (part.start - day) // MINUTE


def _days(connection: sa.Connection, symbol: str, days: Sequence[int]) -> list[_Day]:
    whole = TimeRange(days[0], days[-1] + DAY)
    every = state_copy.proven(connection, symbol, Timeframe.M1.value)
    proofs = [span for one in every if (span := TimeRange(one.start, one.end)).meet(whole)]
    found = []
    for day in days:
        span = TimeRange(day, day + DAY)
        stored = coverage_blocks.load(connection, Timeframe.M1, span, [symbol])[symbol]
        proven = 0
        for proof in proofs:
            proven |= minutes(proof, day)
        found.append(_Day(stored.held.within(span).bits, proven))
    return found
