"""Retention: what is older than somebody wants to keep, taken away a little at a time.

Each function is part of a transaction.
"""

import sqlalchemy as sa

from blofin_agent.domain.candle import DAY, Timeframe
from blofin_agent.domain.coverage_blocks import block_ms
from blofin_agent.store.postgresql import partitions
from blofin_agent.store.schema import (
    candles,
    coverage_blocks,
    gap_fill_runs,
    unavailable,
    verifications,
)
from blofin_agent.store.tables.candle_series import CandleSeries, next_series

MAX_ROWS = 5_000
"""Rows that one transaction takes away, about."""


def horizon(connection: sa.Connection, now_ms: int, retention_ms: int) -> int | None:
    """Return the time (ms) before which all may go; None while nothing is known to be stored.

    Age counts from the newest candles when the clock is ahead of them: a clock gone wrong, or an
    agent that was away for long, costs nothing that is stored.
    """
    c = coverage_blocks.c
    newest = [
        start + block_ms(bar)
        for bar in Timeframe
        if (start := connection.scalar(sa.select(sa.func.max(c.start)).where(c.bar == bar.value)))
        is not None
    ]
    return min(now_ms, max(newest)) - retention_ms if newest else None


def delete_candles(connection: sa.Connection, before_ms: int) -> int:
    """Take away candles that open before a time (ms); return how many of what was taken.

    On PostgreSQL those are whole partitions, in which no candle is younger. On SQLite they are
    rows of whole days, MOST_ROWS at most: 0 means that there are none left. The block of coverage
    of what is left of it goes, too; the agent makes it anew.
    """
    if connection.dialect.name == "postgresql":
        return partitions.drop_before(connection, before_ms)
    taken, day = 0, before_ms // DAY * DAY
    one = next_series(connection, None)
    while one is not None and taken < MAX_ROWS:
        if one.first is not None and one.first < day:
            taken += _forget(connection, one, day)
        one = next_series(connection, (one.symbol, one.bar))
    return taken


def delete_other_rows(connection: sa.Connection, before_ms: int) -> int:
    """Take away runs and verifications that ended before, and proofs of before; return how many."""
    taken = 0
    for table in (gap_fill_runs, verifications):
        # Ids go with time: the oldest are the first, and no more than these need be looked at.
        oldest = sa.select(table.c.id, table.c.finished).order_by(table.c.id).limit(MAX_ROWS)
        old = [row.id for row in connection.execute(oldest) if row.finished < before_ms]
        if old:
            connection.execute(sa.delete(table).where(table.c.id.in_(old)))
        taken += len(old)
    for bar in Timeframe:
        c = unavailable.c
        gone = sa.delete(unavailable).where(c.bar == bar.value, c.end <= before_ms)
        taken += connection.execute(gone).rowcount
    return taken


def _forget(connection: sa.Connection, one: CandleSeries, before_ms: int) -> int:
    c = candles.c
    ours = (c.symbol == one.symbol, c.bar == one.bar)
    oldest = sa.select(c.open_time).where(*ours).order_by(c.open_time)
    past = connection.scalar(oldest.offset(MAX_ROWS).limit(1))
    end = before_ms if past is None else min(past, before_ms)
    return connection.execute(sa.delete(candles).where(*ours, c.open_time < end)).rowcount
