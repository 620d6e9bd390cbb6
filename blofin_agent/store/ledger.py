"""What the agent must remember beside candles and runs: proofs, instruments, heartbeats.

Each function is what one transaction does; see `Store.write`.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from blofin_agent.domain.candle import Bar
from blofin_agent.domain.instrument import Instrument
from blofin_agent.domain.time_range import Span
from blofin_agent.domain.unavailability import Proof
from blofin_agent.store.postgresql import alone
from blofin_agent.store.schema import (
    instruments,
    service_heartbeats,
    unavailable,
)

# -- proofs ---------------------------------------------------------------------------------------


def save_proofs(
    connection: sa.Connection, symbol: str, bar: Bar, proofs: Sequence[Proof], since: int
) -> None:
    """Replace the stored proofs of a symbol that end after `since` (ms) with these."""
    c = unavailable.c
    alone(connection, f"proofs of {symbol}")
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


def load_proofs(connection: sa.Connection, bar: Bar, since: int) -> dict[str, list[Proof]]:
    """Return the stored proofs that end after `since` (ms), by symbol, oldest first."""
    c = unavailable.c
    query = (
        sa.select(c.symbol, c.start, c.end, c.proven_at, c.checks, c.next_check)
        .where(c.bar == bar.value, c.end > since)
        .order_by(c.symbol, c.start)
    )
    found: dict[str, list[Proof]] = {}
    for symbol, start, end, proven_at, checks, next_check in connection.execute(query):
        proof = Proof(Span(start, end), proven_at, checks, next_check)
        found.setdefault(symbol, []).append(proof)
    return found


# -- instruments ----------------------------------------------------------------------------------


def save_instruments(connection: sa.Connection, found: Iterable[Instrument], now_ms: int) -> None:
    """Replace what is known of BloFin's instruments. An empty list changes nothing."""
    rows = {
        one.symbol: {
            "symbol": one.symbol,
            "list_time": one.list_time,
            "state": one.state,
            "seen": now_ms,
        }
        for one in found
    }
    if rows:
        alone(connection, "instruments")
        connection.execute(sa.delete(instruments))
        connection.execute(sa.insert(instruments), list(rows.values()))


class Listing(NamedTuple):
    """The instruments as last read, and when (ms; 0 when never)."""

    instruments: dict[str, Instrument]
    seen: int


def load_instruments(connection: sa.Connection) -> Listing:
    """Return the instruments as last read."""
    c = instruments.c
    rows = connection.execute(sa.select(c.symbol, c.list_time, c.state, c.seen)).all()
    return Listing(
        {symbol: Instrument(symbol, list_time, state) for symbol, list_time, state, _ in rows},
        min((seen for *_, seen in rows), default=0),
    )


# -- heartbeats -----------------------------------------------------------------------------------


def beat(connection: sa.Connection, service: str, started: int, now_ms: int, note: str) -> None:
    """Write down that a service lives."""
    alone(connection, "heartbeats")
    c = service_heartbeats.c
    values = {"started": started, "beat": now_ms, "note": note}
    found = connection.execute(
        sa.update(service_heartbeats).where(c.service == service).values(values)
    )
    if not found.rowcount:
        connection.execute(sa.insert(service_heartbeats).values(service=service, **values))


def last_beat(connection: sa.Connection, service: str) -> int | None:
    """Return when the service was last seen alive (ms), None when never."""
    c = service_heartbeats.c
    return connection.execute(sa.select(c.beat).where(c.service == service)).scalar()
