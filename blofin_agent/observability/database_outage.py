"""StoreTrouble: from what became of transactions, whether the database can be used.

A locked database can be read, and a full disk may take a small transaction: what failed is over
only once the like of it works.
"""

import time
from typing import TYPE_CHECKING

from blofin_agent.observability.outage import Outage
from blofin_agent.store.database import TransactionResult
from blofin_agent.store.errors import StoreFull

if TYPE_CHECKING:
    from collections.abc import Callable

READS = ("load", "reconcile")
SMALL_WRITES = ("budget", "run", "proofs", "instruments", "beat", "coverage", "upkeep")
OPERATIONS = ("insert", "ticks", *SMALL_WRITES, *READS)
FULL_DISK_REPORT_DELAY_S = 3.0
"""So long after a disk was full it is not called well again: there was room for a last row."""
AWAY = "wait and retry; then fetch the missing candles"

_ENDS = {
    "insert": (*SMALL_WRITES, *READS),
    "ticks": SMALL_WRITES,
    **dict.fromkeys(SMALL_WRITES, SMALL_WRITES),
}
"""Whose trouble is over, too, when a transaction works; those that only read: READS."""
_FULL = "a full disk"


class DatabaseOutage(Outage):
    """The database's trouble. `what_next`: what to say is done meanwhile."""

    def __init__(self, what_next: str = AWAY) -> None:
        super().__init__("database unavailable", "database available again", what_next)
        self.recounting: Callable[[], bool] = lambda: False
        """Tells whether the database is another one than that whose candles are counted."""
        self._full_at = -FULL_DISK_REPORT_DELAY_S
        self._tried = False

    def up(self) -> float:
        """Return 1 while the database takes transactions, and what is counted is in it."""
        return float(self._tried and not self and not self.recounting())

    def judge(self, done: TransactionResult) -> None:
        """Note how a transaction ended."""
        now, self._tried = time.monotonic(), True
        if done.problem is None:
            over = [done.operation, *_ENDS.get(done.operation, READS)]
            if done.reading:
                # The budget is read under the name by which it is written: a lock lets that be.
                over = [name for name in over if name not in SMALL_WRITES]
            if now - self._full_at >= FULL_DISK_REPORT_DELAY_S:
                over.append(_FULL)
            self.clear(*over)
            return
        self.report(done.problem, done.operation)
        if isinstance(done.problem, StoreFull):
            self.report(done.problem, _FULL)
            self._full_at = now
