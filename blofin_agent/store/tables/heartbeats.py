"""Read and write the table `service_heartbeats`."""

import sqlalchemy as sa

from blofin_agent.store.postgresql.connections import advisory_lock
from blofin_agent.store.schema import service_heartbeats

SERVICE = "backfill"
"""Its row of `service_heartbeats`: started and beat are those of the last pass
in which no symbol failed."""


def record_heartbeat(
    connection: sa.Connection, service: str, started: int, now_ms: int, note: str
) -> None:
    """Write down that a service lives."""
    advisory_lock(connection, "heartbeats")
    c = service_heartbeats.c
    values = {"started": started, "beat": now_ms, "note": note}
    found = connection.execute(
        sa.update(service_heartbeats).where(c.service == service).values(values)
    )
    if not found.rowcount:
        connection.execute(sa.insert(service_heartbeats).values(service=service, **values))


def last_heartbeat(connection: sa.Connection, service: str) -> int | None:
    """Return when the service was last seen alive (ms), None when never."""
    c = service_heartbeats.c
    return connection.execute(sa.select(c.beat).where(c.service == service)).scalar()
