"""The rate budget of all processes behind an address: the ledger of requests, and the suspension.

Each function is what one transaction does; see `Database.write`. `known`: what this process knows.
"""

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import NamedTuple

import sqlalchemy as sa

from blofin_agent.domain import rate_limit
from blofin_agent.domain.clock_correction import (
    ClockCorrection,
    CorrectedLedger,
    LedgerEntry,
    WallAndMonotonic,
)
from blofin_agent.domain.rate_limit import RateLimitResponse, Suspension
from blofin_agent.store.postgresql.connections import advisory_lock
from blofin_agent.store.schema import request_ledger, suspension

MAX_WAITING = 200
"""Websocket connections that may wait for their turn."""

# Made once: a statement costs more to put together than to run.
_ENTRIES = (
    sa.select(request_ledger.c.id, request_ledger.c.started)
    .where(request_ledger.c.egress == sa.bindparam("egress"))
    .order_by(request_ledger.c.id)
)
_ENTER = sa.insert(request_ledger)
_LOAD = sa.select(*(suspension.c[field.name] for field in fields(Suspension))).where(
    suspension.c.egress == sa.bindparam("egress")
)
_LOCK = _LOAD.with_for_update()


class LocalBudget(NamedTuple):
    """What a process knows of the budget by itself."""

    clock_correction: ClockCorrection = ClockCorrection()
    suspension: Suspension | None = None
    """One that the store was not told yet."""
    elsewhere: bool = False
    """Whether the hindsight is of another database, in the place of which this one was put."""
    egress: str = ""
    """The address whose budget it is: the limits are per address."""


class Admission(NamedTuple):
    """The answer to "may these requests go now?"."""

    entered: int
    """How many may: those are in the ledger. When none may, `at` says when to ask again."""
    at: int
    view: CorrectedLedger

    @property
    def under(self) -> int:
        """The strikes under which they were let go; see `SuspensionModel`."""
        return self.view.suspension.strikes


def read_budget(
    connection: sa.Connection, known: LocalBudget, now: WallAndMonotonic
) -> CorrectedLedger:
    """Read what all processes have used, and change nothing."""
    return _look(connection, _load(connection, known.egress), known, now)


def _look(
    connection: sa.Connection, state: Suspension, known: LocalBudget, now: WallAndMonotonic
) -> CorrectedLedger:
    entries = _entries(connection, known.egress)
    clock_correction = (
        known.clock_correction.elsewhere(entries) if known.elsewhere else known.clock_correction
    )
    if known.suspension is not None:
        state = rate_limit.merge_suspensions(state, known.suspension)
    return clock_correction.look(entries, state, now)


def reconcile_budget(
    connection: sa.Connection, known: LocalBudget, now: WallAndMonotonic
) -> CorrectedLedger:
    """Look, and write down what this process knows better than the ledger, for the others."""
    before = _lock(connection, known.egress)
    view = _look(connection, before, known, now)
    for id_, started in view.moved:
        row = sa.update(request_ledger).where(request_ledger.c.id == id_)
        connection.execute(row.values(started=started))
    if view.lost:
        told = [
            LedgerEntry(_enter(connection, "before", at, known.egress), at)
            for at in sorted(started for _, started in view.lost)
        ]
        clock_correction = view.clock_correction.entered(told, view.lost, now)
        view = view._replace(lost=[], clock_correction=clock_correction)
    _save(connection, known.egress, before, view.suspension)
    return view


def admit(
    connection: sa.Connection,
    endpoints: Sequence[str],
    spacing_ms: int,
    known: LocalBudget,
    now: WallAndMonotonic,
) -> Admission:
    """Enter as many of these requests as the budget of all processes on this store lets go now.

    When that is none, `at` (ms) says when to ask again.
    """
    view = reconcile_budget(connection, known, now)
    state, starts, entries = view.suspension, list(view.starts), []
    allowed = rate_limit.limits_at(state.share_at(now.wall))
    at = now.wall
    for endpoint in endpoints:
        next_at = rate_limit.next_request_at(starts, now.wall, spacing_ms, allowed)
        at = max(state.next_at(now.wall), next_at)
        if at > now.wall:
            break
        entries.append(LedgerEntry(_enter(connection, endpoint, now.wall, known.egress), now.wall))
        starts.append(now.wall)
        state = state.let_go(now.wall)
    if not entries:
        return Admission(0, at, view)
    if view.old:
        _forget(connection, now)
    _save(connection, known.egress, view.suspension, state)
    clock_correction = view.clock_correction.entered(entries, [], now)
    view = view._replace(starts=starts, suspension=state, clock_correction=clock_correction)
    return Admission(len(entries), now.wall, view)


def record_response(
    connection: sa.Connection, under: int, known: LocalBudget, now: WallAndMonotonic
) -> CorrectedLedger:
    """Note that a request was answered without 429 or 403: the probe's ends the suspension."""
    view = reconcile_budget(connection, known, now)
    after = view.suspension.answered(under, now.wall)
    _save(connection, known.egress, view.suspension, after)
    return view._replace(suspension=after)


def suspend(
    connection: sa.Connection, refusal: RateLimitResponse, known: LocalBudget, now: WallAndMonotonic
) -> CorrectedLedger:
    """Note a 429 or a 403, for every process on this store. See `budget.suspend`."""
    view = reconcile_budget(connection, known, now)
    after = rate_limit.suspend(view.suspension, view.starts, refusal, now.wall)
    _save(connection, known.egress, view.suspension, after)
    return view._replace(suspension=after)


def connect_at(connection: sa.Connection, egress: str, now_ms: int, every_ms: int) -> int:
    """Return when (ms) a websocket connection may be made from an address, and enter it.

    Many may wait: each comes so long after the one before. A time so far ahead that nobody can
    wait for it is that of a clock gone wrong.
    """
    _lock(connection, egress)
    row = suspension.c.egress == egress
    last = connection.execute(sa.select(suspension.c.connected).where(row)).scalar_one()
    at = max(now_ms, last + every_ms) if last < now_ms + MAX_WAITING * every_ms else now_ms
    connection.execute(sa.update(suspension).where(row).values(connected=at))
    return at


def _forget(connection: sa.Connection, now: WallAndMonotonic) -> None:
    """Take out the entries that no longer matter."""
    horizon = now.wall - rate_limit.HORIZON_MS
    connection.execute(sa.delete(request_ledger).where(request_ledger.c.started <= horizon))


def _entries(connection: sa.Connection, egress: str) -> list[tuple[int, int]]:
    return [(row.id, row.started) for row in connection.execute(_ENTRIES, {"egress": egress})]


def _enter(connection: sa.Connection, endpoint: str, started: int, egress: str) -> int:
    row = {"started": started, "endpoint": endpoint, "egress": egress}
    key = connection.execute(_ENTER, row).inserted_primary_key
    assert key is not None  # noqa: S101 - SQLAlchemy has it for a single row
    return int(key[0])


def _lock(connection: sa.Connection, egress: str) -> Suspension:
    """Return what is known of an address, which nobody else changes before this ends."""
    found = connection.execute(_LOCK, {"egress": egress}).first()
    if found is None:
        # The first request from there.
        advisory_lock(connection, "suspension")
        if connection.execute(_LOAD, {"egress": egress}).first() is None:
            state = asdict(Suspension()) | {"egress": egress}
            connection.execute(sa.insert(suspension).values(state))
        found = connection.execute(_LOCK, {"egress": egress}).one()
    return Suspension(*found)


def _load(connection: sa.Connection, egress: str) -> Suspension:
    found = connection.execute(_LOAD, {"egress": egress}).first()
    return Suspension() if found is None else Suspension(*found)


def _save(connection: sa.Connection, egress: str, before: Suspension, after: Suspension) -> None:
    if after != before:
        row = sa.update(suspension).where(suspension.c.egress == egress)
        connection.execute(row.values(asdict(after)))
