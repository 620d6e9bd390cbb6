"""Copying: what an agent remembers beside rows that only grow, and how two accounts become one.

Each function is part of a transaction; see `Database.write`.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import NamedTuple

import sqlalchemy as sa

from blofin_agent.domain.clock_correction import WallAndMonotonic
from blofin_agent.domain.rate_limit import HORIZON_MS, Suspension, merge_suspensions
from blofin_agent.store.postgresql.connections import advisory_lock
from blofin_agent.store.postgresql.server_clock import now_ms
from blofin_agent.store.schema import request_ledger, service_heartbeats, suspension, unavailable
from blofin_agent.store.tables import rate_limit

_u, _r = unavailable.c, request_ledger.c

# -- proofs ---------------------------------------------------------------------------------------


class UnavailableRow(NamedTuple):
    """A stretch that BloFin was seen not to have; see `core.proof.Proof`. Times in ms."""

    start: int
    end: int
    proven_at: int
    checks: int
    next_check: int


def next_proven(connection: sa.Connection, after: tuple[str, str] | None) -> tuple[str, str] | None:
    """Return the symbol and bar with proofs that come after these, the first ones after None."""
    query = sa.select(_u.symbol, _u.bar).order_by(_u.symbol, _u.bar).limit(1)
    if after is not None:
        query = query.where(sa.tuple_(_u.symbol, _u.bar) > sa.tuple_(*after))
    found = connection.execute(query).first()
    return None if found is None else (found.symbol, found.bar)


def proven(connection: sa.Connection, symbol: str, bar: str) -> list[UnavailableRow]:
    """Return what is proven of a symbol, oldest first."""
    columns = [_u[name] for name in UnavailableRow._fields]
    query = sa.select(*columns).where(_u.symbol == symbol, _u.bar == bar).order_by(_u.start)
    return [UnavailableRow(*row) for row in connection.execute(query)]


def unproven(
    found: Sequence[UnavailableRow], there: Sequence[UnavailableRow]
) -> list[UnavailableRow]:
    """Return those of what was found that are of no time of which something is proven there."""
    starts = [one.start for one in there]
    return [
        one
        for one in found
        # The last that begins before this one ends; there none overlaps another.
        if not (place := bisect_right(starts, one.end - 1)) or there[place - 1].end <= one.start
    ]


def add_proven(
    connection: sa.Connection, symbol: str, bar: str, found: Sequence[UnavailableRow]
) -> None:
    """Add what is of no time of which something is proven yet."""
    # An agent may replace them just now: see `ledger.save_proofs`.
    advisory_lock(connection, f"proofs of {symbol}")
    if lacking := unproven(found, proven(connection, symbol, bar)):
        rows = [{"symbol": symbol, "bar": bar, **one._asdict()} for one in lacking]
        connection.execute(sa.insert(unavailable), rows)


# -- heartbeats -----------------------------------------------------------------------------------


class HeartbeatRecord(NamedTuple):
    """When a service was last seen alive. Times in ms."""

    started: int
    beat: int
    note: str


def last_beat(connection: sa.Connection, service: str) -> HeartbeatRecord | None:
    """Return when a service was last seen alive, None when never."""
    c = service_heartbeats.c
    query = sa.select(c.started, c.beat, c.note).where(c.service == service)
    found = connection.execute(query).first()
    return None if found is None else HeartbeatRecord(*found)


# -- the budget -----------------------------------------------------------------------------------

Requests = Counter[tuple[int, str]]
"""How many requests were let go then (ms), by what they asked for."""


class BudgetRecord(NamedTuple):
    """What is known of one address: its suspension, and the requests that still count."""

    suspension: Suspension
    requests: Requests

    def graver(self, other: "BudgetRecord") -> bool:
        """Return whether the other one's suspension is graver than this one's."""
        return merge_suspensions(self.suspension, other.suspension) != self.suspension

    def lacks(self, other: "BudgetRecord") -> bool:
        """Return whether the other one knows of something graver, or of more requests."""
        return self.graver(other) or bool(other.requests - self.requests)


NOTHING = BudgetRecord(Suspension(), Counter())
"""What is known of an address that is new."""


def accounts(
    connection: sa.Connection, names: Mapping[str, str], *, all_of_them: bool = False
) -> dict[str, BudgetRecord]:
    """Return what is known of each address. `names`: what those are called that go by another.

    `all_of_them`: requests that no longer count, too.
    """
    found: dict[str, BudgetRecord] = {}

    def enter(egress: str, state: Suspension, requests: Requests) -> None:
        name = names.get(egress, egress)
        known = found.get(name, NOTHING)
        found[name] = BudgetRecord(
            merge_suspensions(known.suspension, state), known.requests + requests
        )

    query = sa.select(suspension.c.egress, *(suspension.c[one.name] for one in fields(Suspension)))
    for egress, *state in connection.execute(query):
        enter(egress, Suspension(*state), Counter())
    requests = sa.select(_r.egress, _r.started, _r.endpoint)
    if not all_of_them:
        requests = requests.where(_r.started > now_ms(connection) - HORIZON_MS)
    for egress, started, endpoint in connection.execute(requests):
        enter(egress, Suspension(), Counter([(started, endpoint)]))
    return found


def add_accounts(connection: sa.Connection, found: Mapping[str, BudgetRecord]) -> None:
    """Let each of these addresses be known for what either account says of it."""
    for egress, account in sorted(found.items()):
        known = rate_limit.LocalBudget(suspension=account.suspension, egress=egress)
        # This locks what is known of the address, and takes the graver suspension.
        rate_limit.reconcile_budget(connection, known, WallAndMonotonic(now_ms(connection), 0))
        there = accounts(connection, {}, all_of_them=True).get(egress, NOTHING)
        rows = [
            {"started": started, "endpoint": endpoint, "egress": egress}
            for started, endpoint in sorted((account.requests - there.requests).elements())
        ]
        if rows:
            connection.execute(sa.insert(request_ledger), rows)
