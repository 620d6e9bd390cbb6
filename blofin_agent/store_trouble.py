"""StoreTrouble: from what became of transactions, whether the database can be used.

A locked database can be read, and a full disk may take a small transaction: what failed is over
only once the like of it works.
"""

import time

from blofin_agent.store.engine import Done
from blofin_agent.store.errors import StoreFull
from blofin_agent.trouble import Trouble

READS = ("load", "reconcile")
SMALL_WRITES = ("budget", "run", "proofs", "instruments", "beat")
OPERATIONS = ("insert", "ticks", *SMALL_WRITES, *READS)
FULL_S = 3.0
"""So long after a disk was full it is not called well again: there was room for a last row."""
AWAY = "the agent waits, tries again, and then fetches what is missing"

_ENDS = {
    "insert": (*SMALL_WRITES, *READS),
    "ticks": SMALL_WRITES,
    **dict.fromkeys(SMALL_WRITES, SMALL_WRITES),
}
"""Whose trouble is over, too, when a transaction works; those that only read: READS."""
_FULL = "a full disk"


class StoreTrouble(Trouble):
    """The database's trouble. `what_next`: what to say is done meanwhile."""

    def __init__(self, what_next: str = AWAY) -> None:
        super().__init__(what_next, "the database is back")
        self._full_at = -FULL_S

    def judge(self, done: Done) -> None:
        """Note how a transaction ended."""
        now = time.monotonic()
        if done.problem is None:
            over = [done.operation, *_ENDS.get(done.operation, READS)]
            if now - self._full_at >= FULL_S:
                over.append(_FULL)
            self.gone(*over)
            return
        self.seen(done.problem, done.operation)
        if isinstance(done.problem, StoreFull):
            self.seen(done.problem, _FULL)
            self._full_at = now
