"""The fleet in the store: who lives, and who keeps which symbol complete.

An agent that lives says so every few seconds, and is believed until its lease is over, by the
server's clock. A symbol has one owner: a row of `symbol_owners`. It passes to another agent when
its owner gives it back, or when the owner's lease is over. Each function is what one transaction
does; one agent at a time is in any of them.
"""

from collections.abc import Collection, Iterable
from typing import NamedTuple

import sqlalchemy as sa

from blofin_agent.domain.candle import DAY, Timeframe
from blofin_agent.domain.symbol_assignment import AgentRecord
from blofin_agent.store.postgresql.connections import advisory_lock
from blofin_agent.store.postgresql.server_clock import now_ms
from blofin_agent.store.schema import instruments, service_heartbeats, symbol_owners
from blofin_agent.store.timing import DEFAULT, StoreTiming

_FORGOTTEN_MS = 7 * DAY

_h, _o = service_heartbeats.c, symbol_owners.c


class AgentIdentity(NamedTuple):
    """What an agent says of itself."""

    service: str
    started: int
    """When this process was started (ms since the epoch)."""
    note: str
    """Which process it is, for a person."""
    egress: str
    """The address its requests are sent from."""
    bar: Timeframe
    wanted: tuple[str, ...]
    page: str
    """Where its page is."""
    token: str = ""
    """Tells this process from another that goes by the same name."""


class HeartbeatResult(NamedTuple):
    """What a heartbeat brought."""

    members: list[AgentRecord]
    """Who lives and keeps candles of this bar, by name; we are one of them."""
    ours: frozenset[str]
    """The symbols that are ours. Fewer than before if our lease was over and others took some, or
    if the database is one that knows less: a standby, a copy."""
    claimed: frozenset[str]
    """The symbols that have an owner who lives."""
    listed_at: int
    """When BloFin's instruments were last read by one of those on this store (ms), 0 when never."""


class NameTaken(Exception):
    """Another process goes by our name."""


def heartbeat(
    connection: sa.Connection, me: AgentIdentity, *, known: bool, timing: StoreTiming = DEFAULT
) -> HeartbeatResult:
    """Say that we live. `known`: whether we said so before. Raises Superseded.

    At first the name is ours even if another process had it: as a rule that is one that was killed.
    """
    advisory_lock(connection, "fleet")
    now = now_ms(connection)
    row = connection.execute(
        sa.select(_h.token, _h.lease).where(_h.service == me.service)
    ).one_or_none()
    if known and row is not None and row.token != me.token:
        raise NameTaken
    if known and row is not None and row.lease <= now:
        _be_patient(connection, me.bar, now, round(timing.return_s * 1000))
    values = {
        "started": me.started,
        "beat": now,
        "lease": now + round(timing.lease_s * 1000),
        "token": me.token,
        "note": me.note,
        "egress": me.egress,
        "bar": me.bar.value,
        "wanted": ",".join(me.wanted),
        "page": me.page,
    }
    if row is None:
        connection.execute(sa.insert(service_heartbeats).values(service=me.service, **values))
        gone = sa.and_(_h.lease > 0, _h.lease < now - _FORGOTTEN_MS)
        connection.execute(sa.delete(service_heartbeats).where(gone))
    else:
        again = sa.update(service_heartbeats).where(_h.service == me.service)
        connection.execute(again.values(values))
    living = (_h.bar == me.bar.value, _h.lease > now)
    members = [
        AgentRecord(service, egress, tuple(wanted.split(",")), page)
        for service, egress, wanted, page in connection.execute(
            sa.select(_h.service, _h.egress, _h.wanted, _h.page).where(*living).order_by(_h.service)
        )
    ]
    owners = {
        row.symbol: row.service
        for row in connection.execute(
            sa.select(_o.symbol, _o.service).where(
                _o.bar == me.bar.value, _o.service.in_([member.service for member in members])
            )
        )
    }
    ours = frozenset(symbol for symbol, service in owners.items() if service == me.service)
    listed_at = connection.scalar(sa.select(sa.func.max(instruments.c.seen)))
    return HeartbeatResult(members, ours, frozenset(owners), listed_at or 0)


def _be_patient(connection: sa.Connection, bar: Timeframe, now: int, return_ms: int) -> None:
    """Lengthen the leases of those who may come back soon, as we did, if nobody's lasts."""
    ours = _h.bar == bar.value
    last = connection.scalar(sa.select(sa.func.max(_h.lease)).where(ours)) or 0
    if last <= now:
        lived = sa.update(service_heartbeats).where(ours, _h.lease > last - return_ms)
        connection.execute(lived.values(lease=now + return_ms))


def claim(
    connection: sa.Connection, me: AgentIdentity, wanted: Collection[str], given_back: Iterable[str]
) -> frozenset[str]:
    """Give symbols back, take those wanted that nobody who lives has; return all that are ours."""
    advisory_lock(connection, "fleet")
    now, bar = now_ms(connection), me.bar.value
    ours = sa.and_(_o.bar == bar, _o.service == me.service)
    connection.execute(sa.delete(symbol_owners).where(ours, _o.symbol.in_(list(given_back))))
    living = set(connection.scalars(sa.select(_h.service).where(_h.bar == bar, _h.lease > now)))
    owners = {
        row.symbol: row.service
        for row in connection.execute(sa.select(_o.symbol, _o.service).where(_o.bar == bar))
    }
    left = [symbol for symbol in wanted if symbol in owners and owners[symbol] not in living]
    takes_over = sa.update(symbol_owners).where(_o.bar == bar, _o.symbol.in_(left))
    connection.execute(takes_over.values(service=me.service, since=now))
    new = [
        {"bar": bar, "symbol": symbol, "service": me.service, "since": now}
        for symbol in sorted(wanted)
        if symbol not in owners
    ]
    if new:
        connection.execute(sa.insert(symbol_owners), new)
    return frozenset(connection.scalars(sa.select(_o.symbol).where(ours)))


def leave(connection: sa.Connection, me: AgentIdentity) -> None:
    """Give all symbols back, and say that we live no longer."""
    advisory_lock(connection, "fleet")
    mine = sa.and_(_h.service == me.service, _h.token == me.token)
    if connection.execute(sa.delete(service_heartbeats).where(mine)).rowcount:
        connection.execute(sa.delete(symbol_owners).where(_o.service == me.service))


class AgentSeen(NamedTuple):
    """A member of a fleet as others see it. Times in ms since the epoch."""

    service: str
    bar: str
    egress: str
    started: int
    beat: int
    lease: int
    wanted: str
    page: str
    note: str
    symbols: list[str]


class FleetListing(NamedTuple):
    """All members, also those whose lease is over, at `now` (ms, by the server's clock)."""

    now: int
    members: list[AgentSeen]


def read_fleet(connection: sa.Connection) -> FleetListing:
    """Return who is known to the fleet, and what each keeps."""
    names = ("service", "bar", "egress", "started", "beat", "lease", "wanted", "page", "note")
    symbols: dict[tuple[str, str], list[str]] = {}
    for bar, symbol, service in connection.execute(
        sa.select(_o.bar, _o.symbol, _o.service).order_by(_o.bar, _o.symbol)
    ):
        symbols.setdefault((bar, service), []).append(symbol)
    members = [
        AgentSeen(**row, symbols=symbols.get((row["bar"], row["service"]), []))
        for row in connection.execute(
            sa.select(*(_h[name] for name in names))
            .where(_h.lease > 0)
            .order_by(_h.bar, _h.service)
        ).mappings()
    ]
    return FleetListing(now_ms(connection), members)
