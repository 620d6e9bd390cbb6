"""StoreTiming: how long agents and the database wait for one another. One value, handed down.

These durations belong together: an agent whose connection is cut must be able to send a heartbeat
before its lease is over.
"""

import math
import os
from dataclasses import dataclass, replace

VARIABLE = "BLOFIN_TIMING"
"""An environment variable for tests that overrides the defaults: `NAME=SECONDS,...`."""


@dataclass(frozen=True, slots=True)
class StoreTiming:
    """Durations in seconds."""

    heartbeat_s: float = 5.0
    """Between two heartbeats of an agent that shares the symbols."""
    heartbeat_retry_s: float = 1.0
    """After a heartbeat that failed, and while another agent has yet to release a symbol."""
    lease_s: float = 25.0
    """After this time without a heartbeat an agent loses its symbols. It covers short network
    failures and the move of a database to another host."""
    return_s: float = 15.0
    """After a database outage, agents that were running when it began have this time to return. The
    first one that returns must not take over the symbols of the others."""
    busy_s: float = 2.0
    """SQLite: how long a transaction waits for another program's lock. Shorter than a shutdown."""
    file_return_s: float = 10.0
    """SQLite: how long to wait for a deleted file to come back (its folder may have been renamed or
    remounted) before a new file is created."""
    lock_s: float = 5.0
    """PostgreSQL: how long a statement waits for a lock that another agent holds."""
    transaction_s: float = 20.0
    """PostgreSQL: a longer transaction is cut off and tried again. The server may be frozen, or
    wait for a standby that is gone."""
    answer_s: float = 5.0
    """PostgreSQL: timeout of a ping on a pooled connection. On timeout the connection is closed and
    replaced."""
    connect_s: float = 5.0
    """PostgreSQL: how long a connection may take. libpq takes whole seconds, 2 at least."""
    idle_s: float = 15.0
    """PostgreSQL: the server ends a transaction that is idle for this time. It may hold locks that
    other agents need for their heartbeats."""
    command_s: float = 30.0
    """How long a one-shot command waits for a database that is locked, full or unreachable."""


DEFAULT = StoreTiming()


def of_environment() -> StoreTiming:
    """Return the defaults, overridden by BLOFIN_TIMING. Raises ValueError."""
    pairs = (pair.partition("=") for pair in os.environ.get(VARIABLE, "").split(",") if pair)
    try:
        values = {name: float(value) for name, _, value in pairs}
        found = replace(DEFAULT, **values)
    except (TypeError, ValueError):
        values = {"": math.nan}
    if not all(0 <= value < math.inf for value in values.values()):
        raise ValueError(f"{VARIABLE} is for tests; it looks like lease_s=5,busy_s=0.2")
    return found
