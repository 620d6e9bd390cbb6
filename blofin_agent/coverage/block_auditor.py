"""Audit: proves at its leisure that the blocks of coverage say what the candles say.

Blocks go with the candles they tell of, whoever deletes those, and where they hold nothing the
candles are looked at. What is left is somebody who wrote to the blocks, took the triggers away or
replaced candles in one stroke; and blocks that were never made, in a database of an older version.
"""

import time
from collections.abc import Callable
from functools import partial

import structlog
import trio

from blofin_agent.coverage.tracker import CoverageTracker
from blofin_agent.domain.coverage_blocks import block_starts
from blofin_agent.store.database import Database
from blofin_agent.store.errors import StoreUnavailable
from blofin_agent.store.tables import coverage_blocks

log = structlog.get_logger()

MAX_BLOCKS_PER_STEP = 2
"""So many are compared in one transaction: a few milliseconds."""
MAX_TIME_FRACTION = 0.05
"""Of the time, at most so much is spent in the store."""
PAUSE_S = 900.0
"""Between two rounds, at least."""
RETRY_DELAY_S = 5.0
"""A store that is away is met again so much later."""


class CoverageBlockAuditor:
    """Compares blocks with candles. `mended` is called when some were wrong and now are right."""

    def __init__(
        self, store: Database, tracker: CoverageTracker, mended: Callable[[], None]
    ) -> None:
        self._store = store
        self._tracker = tracker
        self._mended = mended
        self._asked = trio.Event()

    def ask(self) -> None:
        """Ask for another round: somebody else wrote."""
        self._asked.set()

    async def run(self) -> None:
        """Go through all that is watched whenever that was asked for, for ever."""
        while True:
            await self._asked.wait()
            self._asked = trio.Event()
            for symbol in list(self._tracker.histories):
                await self._prove(symbol)
            await trio.sleep(PAUSE_S)

    async def _prove(self, symbol: str) -> None:
        these = block_starts(self._tracker.bar, self._tracker.loading())
        for at in range(0, len(these), MAX_BLOCKS_PER_STEP):
            begun = time.perf_counter()
            try:
                await self._compare(symbol, these[at : at + MAX_BLOCKS_PER_STEP])
            except StoreUnavailable as error:
                log.debug(
                    "coverage block check failed",
                    symbol=symbol,
                    error=str(error),
                    retry_after_s=RETRY_DELAY_S,
                )
                self.ask()
                await trio.sleep(RETRY_DELAY_S)
            else:
                await trio.sleep((time.perf_counter() - begun) * (1 / MAX_TIME_FRACTION - 1))

    async def _compare(self, symbol: str, these: range) -> None:
        look = partial(
            coverage_blocks.find_wrong_blocks, bar=self._tracker.bar, symbol=symbol, these=these
        )
        if wrong := await self._store.read("reconcile", look):
            mend = partial(
                coverage_blocks.repair_blocks, bar=self._tracker.bar, symbol=symbol, these=wrong
            )
            await self._store.write("coverage", mend)
            self._mended()
