"""Leader: of those who come at once one goes first, and the others follow in their order."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class FirstRequestGate:
    """Lets one through; those who come meanwhile wait until it is done, or for `patience_s`."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._done: trio.Event | None = None
        """Set once the first is through; None while nobody went."""
        # An event wakes its waiters in any order.
        self._behind = trio.StrictFIFOLock()

    def forget(self) -> None:
        """Let who comes next be the first again."""
        self._done = None

    @asynccontextmanager
    async def first(self) -> AsyncIterator[None]:
        """Go first, or wait for who does."""
        if self._done is not None:
            await self._follow(self._done)
            yield
            return
        self._done = done = trio.Event()
        try:
            yield
        finally:
            done.set()

    async def _follow(self, done: trio.Event) -> None:
        if not done.is_set():
            with trio.move_on_after(self._patience_s):
                async with self._behind:
                    await done.wait()
