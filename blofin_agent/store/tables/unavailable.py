"""Read and write the table `unavailable`: the candles that BloFin was proven not to have."""

from collections.abc import Sequence

import sqlalchemy as sa

from blofin_agent.domain.candle import Timeframe
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.domain.unavailability import UnavailableRange
from blofin_agent.store.postgresql.connections import advisory_lock
from blofin_agent.store.schema import (
    unavailable,
)


def save_proofs(
    connection: sa.Connection,
    symbol: str,
    bar: Timeframe,
    proofs: Sequence[UnavailableRange],
    since: int,
) -> None:
    """Replace the stored proofs of a symbol that end after `since` (ms) with these."""
    c = unavailable.c
    advisory_lock(connection, f"proofs of {symbol}")
    connection.execute(
        sa.delete(unavailable).where(c.symbol == symbol, c.bar == bar.value, c.end > since)
    )
    rows = [
        {
            "symbol": symbol,
            "bar": bar.value,
            "start": proof.span.start,
            "end": proof.span.end,
            "proven_at": proof.proven_at,
            "checks": proof.checks,
            "next_check": proof.next_check,
        }
        for proof in proofs
        if proof.span.end > since
    ]
    if rows:
        connection.execute(sa.insert(unavailable), rows)


def load_proofs(
    connection: sa.Connection, bar: Timeframe, since: int
) -> dict[str, list[UnavailableRange]]:
    """Return the stored proofs that end after `since` (ms), by symbol, oldest first."""
    c = unavailable.c
    query = (
        sa.select(c.symbol, c.start, c.end, c.proven_at, c.checks, c.next_check)
        .where(c.bar == bar.value, c.end > since)
        .order_by(c.symbol, c.start)
    )
    found: dict[str, list[UnavailableRange]] = {}
    for symbol, start, end, proven_at, checks, next_check in connection.execute(query):
        proof = UnavailableRange(TimeRange(start, end), proven_at, checks, next_check)
        found.setdefault(symbol, []).append(proof)
    return found


# -- heartbeats -----------------------------------------------------------------------------------
