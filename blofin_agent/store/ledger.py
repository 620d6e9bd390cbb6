"""What the agent must remember beside candles and runs: proofs, instruments, the rate budget.

Each function is what one transaction does; see `Store.write`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import NamedTuple

import sqlalchemy as sa

from blofin_agent.core import budget
from blofin_agent.core.answers import Instrument
from blofin_agent.core.budget import Suspension
from blofin_agent.core.candle import Bar
from blofin_agent.core.coverage import Span
from blofin_agent.core.proof import Proof
from blofin_agent.store.schema import (
    instruments,
    request_ledger,
    service_heartbeats,
    suspension,
    unavailable,
)

# -- proofs ---------------------------------------------------------------------------------------


def save_proofs(
    connection: sa.Connection, symbol: str, bar: Bar, proofs: Sequence[Proof], since: int
) -> None:
    """Replace the stored proofs of a symbol that end after `since` (ms) with these."""
    c = unavailable.c
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


# -- the rate budget ------------------------------------------------------------------------------


class Grant(NamedTuple):
    """The answer to "may a request go now?"."""

    entered: bool
    """Whether it may: then it is in the ledger. Else `at` says when to ask again, no more."""
    at: int
    starts: list[int]
    suspension: Suspension


def let_go(connection: sa.Connection, endpoint: str, now_ms: int, spacing_ms: int) -> Grant:
    """Enter a request if the budget of all processes on this store lets it go now.

    Otherwise `at` (ms) says when to ask again.
    """
    state = _lock(connection)
    starts = recent(connection, now_ms)
    at = max(state.next_at(now_ms), budget.next_at(starts, now_ms, spacing_ms))
    if at > now_ms:
        return Grant(entered=False, at=at, starts=starts, suspension=state)
    connection.execute(
        sa.delete(request_ledger).where(request_ledger.c.started <= now_ms - budget.HORIZON)
    )
    connection.execute(sa.insert(request_ledger).values(started=now_ms, endpoint=endpoint))
    gone = state.let_go(now_ms)
    _save(connection, state, gone)
    return Grant(entered=True, at=now_ms, starts=[*starts, now_ms], suspension=gone)


def restore(connection: sa.Connection, starts: Sequence[int], state: Suspension) -> None:
    """Enter what is known of the budget into a database that was put in the place of another."""
    known = set(connection.scalars(sa.select(request_ledger.c.started)))
    rows = [{"started": at, "endpoint": "before"} for at in starts if at not in known]
    if rows:
        connection.execute(sa.insert(request_ledger), rows)
    before = _lock(connection)
    if state.until > before.until:
        _save(connection, before, state)


def recent(connection: sa.Connection, now_ms: int) -> list[int]:
    """Return when the requests were let go that still count (ms), oldest first."""
    c = request_ledger.c
    query = sa.select(c.started).where(c.started > now_ms - budget.HORIZON).order_by(c.started)
    return list(connection.scalars(query))


def load_suspension(connection: sa.Connection) -> Suspension:
    """Return the suspension in force, or the empty one."""
    return _load(connection, sa.select(suspension))


def answered(connection: sa.Connection, sent_ms: int) -> Suspension:
    """Note that a request was answered without 429 or 403: it ends the suspension before it."""
    before = _lock(connection)
    after = before.answered(sent_ms)
    _save(connection, before, after)
    return after


def suspend(
    connection: sa.Connection,
    *,
    sent_ms: int,
    now_ms: int,
    reason: str,
    banned: bool,
    retry_after: float | None,
) -> Suspension:
    """Note a 429 or a 403, for every process on this store. See `budget.suspend`."""
    before = _lock(connection)
    after = budget.suspend(
        before,
        recent(connection, now_ms),
        sent_ms=sent_ms,
        now_ms=now_ms,
        reason=reason,
        banned=banned,
        retry_after=retry_after,
    )
    _save(connection, before, after)
    return after


def _lock(connection: sa.Connection) -> Suspension:
    return _load(connection, sa.select(suspension).with_for_update())


def _load(connection: sa.Connection, query: sa.Select[tuple[object, ...]]) -> Suspension:
    row = connection.execute(query).mappings().one()
    return Suspension(
        row["until"], row["strikes"], row["probe"], bool(row["banned"]), row["reason"]
    )


def _save(connection: sa.Connection, before: Suspension, after: Suspension) -> None:
    if after != before:
        connection.execute(sa.update(suspension).values(asdict(after)))


# -- heartbeats -----------------------------------------------------------------------------------


def beat(connection: sa.Connection, service: str, started: int, now_ms: int, note: str) -> None:
    """Write down that a service lives."""
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
