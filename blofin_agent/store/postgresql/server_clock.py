"""ServerClock: how far the database server's clock is ahead of this machine's.

Agents on several machines, whose clocks differ, share a budget and leases: all of them go by the
clock of the server that they share. With SQLite there is one machine, and one clock.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

JITTER_MS = 100
"""Differences so small are the way there and back, and a busy machine."""
_NOW = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"


def now_ms(connection: sa.Connection) -> int:
    """Return the time (ms since the epoch) by the clock that all who share the database go by."""
    if connection.dialect.name == "sqlite":
        return time.time_ns() // 1_000_000
    return int(connection.exec_driver_sql(_NOW).scalar_one())


@dataclass(slots=True)
class ServerClock:
    """Measured now and then; written in worker threads, read in any."""

    ahead_ms: int = 0

    def over(self, clock: Callable[[], int]) -> Callable[[], int]:
        """Return a clock (ms since the epoch) that goes by the server's, given the machine's."""
        return lambda: clock() + self.ahead_ms

    def measure(self, connection: sa.Connection) -> None:
        """Look at both clocks. What may be the way there and back changes nothing."""
        if connection.dialect.name == "sqlite":
            return
        before = time.time_ns()
        server = now_ms(connection)
        after = time.time_ns()
        ahead = server - (before + after) // 2_000_000
        unsure = (after - before) // 2_000_000 + JITTER_MS
        if abs(ahead - self.ahead_ms) > unsure:
            self.ahead_ms = ahead
