"""StoreTiming: how long agents and the database wait for one another. One value, handed down.

These durations belong together: an agent whose connection is cut must be able to send a heartbeat
before its lease is over.
"""

import os
from dataclasses import dataclass, replace

VARIABLE = "BLOFIN_TIMING"
"""For tests: other durations than the default ones, `NAME=SECONDS,...` in the environment."""


@dataclass(frozen=True, slots=True)
class StoreTiming:
    """Durations in seconds."""

    heartbeat_s: float = 5.0
    """Between two heartbeats of an agent that shares the symbols."""
    heartbeat_retry_s: float = 1.0
    """After a heartbeat that failed, and while another agent has yet to release a symbol."""
    lease_s: float = 25.0
    """An agent without a heartbeat for so long has lost its symbols: it may be cut off from the
    database for a while, or the database may be moving to another host."""
    return_s: float = 15.0
    """After an outage of the database, those who lived when it began have so long to come back: the
    first one that does must not take over the symbols of the others."""
    busy_s: float = 2.0
    """SQLite: how long a transaction waits for another program's lock. Shorter than a shutdown."""
    file_return_s: float = 10.0
    """SQLite: a file that is gone may come back within so long, because its folder was renamed or
    mounted anew. Then a new one is made."""
    lock_s: float = 5.0
    """PostgreSQL: how long a statement waits for a lock that another agent holds."""
    transaction_s: float = 20.0
    """PostgreSQL: a longer transaction is cut off and tried again. The server may be frozen, or
    wait for a standby that is gone."""
    answer_s: float = 5.0
    """PostgreSQL: a connection on which the server does not answer a ping within so long is cut off
    and made anew."""
    connect_s: float = 5.0
    """PostgreSQL: how long a connection may take. libpq takes whole seconds, 2 at least."""
    idle_s: float = 15.0
    """PostgreSQL: the server ends a transaction whose agent sends nothing for so long. It may hold
    locks that other agents need for their heartbeats."""
    command_s: float = 30.0
    """How long a one-shot command waits for a database that is locked, full or away."""


DEFAULT = StoreTiming()


def of_environment() -> StoreTiming:
    """Return the durations in force: the default ones, less what BLOFIN_TIMING says otherwise.

    Raises ValueError.
    """
    pairs = (pair.partition("=") for pair in os.environ.get(VARIABLE, "").split(",") if pair)
    try:
        return replace(DEFAULT, **{name: float(value) for name, _, value in pairs})
    except (TypeError, ValueError):
        raise ValueError(f"{VARIABLE} is for tests; it looks like lease_s=5,busy_s=0.2") from None
