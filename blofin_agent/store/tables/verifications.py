"""Verifications: what `verify` found in each symbol, and the candles that it replaced.

Each function is what one transaction does; see `Database.write`.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import NamedTuple

import sqlalchemy as sa

from blofin_agent.domain.candle import Candle, CandleBatch, Source, Timeframe
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.domain.verification import CandleDifference
from blofin_agent.store.schema import Time, candles, replaced_candles, verifications
from blofin_agent.store.tables import candles as candle_rows


class VerificationOutcome(StrEnum):
    """How a verification ended. The values are public."""

    EQUAL = "equal"
    """All that was asked about is stored as BloFin gives it."""
    REPAIRED = "repaired"
    """It is now."""
    DIFFERENT = "different"
    """Something is not, still."""
    PARTIAL = "partial"
    """Nothing differs, but of some candles BloFin said nothing."""
    FAILED = "failed"


@dataclass(slots=True)
class Verification:
    """One symbol of one run; a row of `verifications`. Times in ms."""

    symbol: str
    bar: str
    started: int
    start: int
    end: int
    sample: int | None = None
    """Pages drawn at random; None when the whole stretch was asked for."""
    seed: int | None = None
    finished: int = 0
    requests: int = 0
    rate_limited: int = 0
    rows_fetched: int = 0
    compared: int = 0
    """Stored candles that BloFin gave: equal or different."""
    different: int = 0
    absent: int = 0
    """Stored, and BloFin was seen twice not to have them."""
    missing: int = 0
    """BloFin gave them, and they were not stored."""
    unanswered: int = 0
    """Stored, and BloFin said nothing of them that could be believed."""
    repaired: int = 0
    """Of those that differed: replaced with what BloFin gave."""
    added: int = 0
    """Of those missing: stored."""
    status: VerificationOutcome = VerificationOutcome.EQUAL
    note: str = ""

    @property
    def left(self) -> int:
        """How many stored candles are still not as BloFin gives them."""
        return self.different - self.repaired + self.absent


class VerificationTotals(NamedTuple):
    """All verifications of a symbol together."""

    equal: int = 0
    different: int = 0
    absent: int = 0
    missing: int = 0
    unanswered: int = 0
    repaired: int = 0
    last: int = 0
    """When the last one ended (ms) that did not fail."""
    left: int = 0
    """How many stored candles that one left otherwise than BloFin gives them."""


def record(connection: sa.Connection, verification: Verification) -> None:
    """Write a verification down."""
    values = asdict(verification) | {"status": verification.status.value}
    connection.execute(sa.insert(verifications).values(values))


def totals(connection: sa.Connection, bar: Timeframe) -> dict[str, VerificationTotals]:
    """Return the sums over all verifications, by symbol, and what the last one left."""
    c = verifications.c
    whole = sa.and_(c.bar == bar.value, c.status != VerificationOutcome.FAILED.value)
    last = sa.select(sa.func.max(c.id)).where(whole).group_by(c.symbol)
    ends = {
        symbol: (finished, different - repaired + absent)
        for symbol, finished, different, repaired, absent in connection.execute(
            sa.select(c.symbol, c.finished, c.different, c.repaired, c.absent).where(c.id.in_(last))
        )
    }
    query = (
        sa.select(
            c.symbol,
            sa.func.sum(c.compared - c.different),
            *(
                sa.func.sum(column)
                for column in (c.different, c.absent, c.missing, c.unanswered, c.repaired)
            ),
        )
        .where(c.bar == bar.value)
        .group_by(c.symbol)
    )
    return {
        symbol: VerificationTotals(*map(int, sums), *ends.get(symbol, ()))
        for symbol, *sums in connection.execute(query)
    }


def stored(connection: sa.Connection, symbol: str, bar: Timeframe, span: TimeRange) -> list[Candle]:
    """Return the stored candles of the span, oldest first."""
    c = candles.c
    query = (
        sa.select(c.open_time, *(c[name] for name in Candle._fields[1:]))
        .where(
            c.symbol == symbol,
            c.bar == bar.value,
            c.open_time >= span.start,
            c.open_time < span.end,
        )
        .order_by(c.open_time)
    )
    return [Candle(*row) for row in connection.execute(query)]


class RepairResult(NamedTuple):
    """What a repair did: open times (ms) of the candles replaced, and how many were added."""

    replaced: frozenset[int]
    added: int


def repair(
    connection: sa.Connection,
    symbol: str,
    bar: Timeframe,
    differences: Iterable[CandleDifference],
    missing: Iterable[Candle],
    now_ms: int,
) -> RepairResult:
    """Replace the candles that differ, and store those that are missing.

    A candle is replaced only if it is still as it was when it was compared, and its row as it was
    goes to `replaced_candles`. One that BloFin does not have is left alone.
    """
    kept = [column.name for column in candles.columns]
    replaced = set()
    for old, new in differences:
        if new is None:
            continue
        this = sa.and_(
            candles.c.symbol == symbol,
            candles.c.bar == bar.value,
            *(candles.c[name] == value for name, value in old._asdict().items()),
        )
        row = sa.select(*(candles.c[name] for name in kept), sa.literal(now_ms, Time)).where(this)
        keep = sa.insert(replaced_candles).from_select(
            [*kept, "replaced_at"], row.with_for_update()
        )
        connection.execute(keep)
        values = new._asdict() | {"source": Source.FILL.value}
        if connection.execute(sa.update(candles).where(this).values(values)).rowcount:
            replaced.add(old.open_time)
    (added,) = candle_rows.insert(
        connection, bar, [CandleBatch(symbol, Source.FILL, list(missing))]
    )
    return RepairResult(frozenset(replaced), added)
