"""Patience: a database that is away for a moment is waited for, for a while."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import sqlalchemy as sa
import trio

from blofin_agent.runtime.backoff import Backoff
from blofin_agent.store.database import Database
from blofin_agent.store.errors import StoreUnavailable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryingDatabase:
    """A store whose transactions are tried again: they must be such that this does no harm."""

    store: Database

    async def read(self, operation: str, work: Callable[[sa.Connection], T]) -> T:
        """Run one transaction that only reads; see `Database.read`. Raises StoreUnavailable."""
        return await self._run(self.store.read, operation, work)

    async def write(self, operation: str, work: Callable[[sa.Connection], T]) -> T:
        """Run one that writes; see `Database.write`. Raises StoreUnavailable."""
        return await self._run(self.store.write, operation, work)

    async def _run(
        self,
        run: Callable[[str, Callable[[sa.Connection], T]], Awaitable[T]],
        operation: str,
        work: Callable[[sa.Connection], T],
    ) -> T:
        backoff = Backoff(longest_s=5)
        give_up_at = trio.current_time() + self.store.timing.command_s
        while True:
            try:
                return await run(operation, work)
            except StoreUnavailable:
                # Who was told to stop tells of that.
                await trio.lowlevel.checkpoint_if_cancelled()
                if trio.current_time() > give_up_at or self.store.lines.are_cut:
                    raise
                await trio.sleep(backoff.next())
