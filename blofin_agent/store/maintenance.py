"""Upkeep: room for the weeks to come in the store, and no more kept in it than is wanted.

Nothing of it is urgent: where the database is away it is done an hour later.
"""

from collections.abc import Callable
from functools import partial

import sqlalchemy as sa
import structlog
import trio

from blofin_agent.domain.candle import DAY
from blofin_agent.runtime.format import iso_text
from blofin_agent.store.database import Database
from blofin_agent.store.errors import StoreUnavailable
from blofin_agent.store.postgresql import partitions
from blofin_agent.store.tables import retention

log = structlog.get_logger()

FIRST_DELAY_S = 30.0
"""After a start there is more urgent work."""
INTERVAL_S = 3_600.0
BATCH_PAUSE_S = 0.5
"""Between two transactions that delete, so that candles need not wait for long."""


class Maintenance:
    """Does it for ever. `retention_days`: how long candles are kept at least; None for ever."""

    def __init__(
        self, store: Database, clock: Callable[[], int], retention_days: float | None
    ) -> None:
        self._store = store
        self._clock = clock
        self._days = retention_days

    async def run(self) -> None:
        """Do it now and then."""
        await trio.sleep(FIRST_DELAY_S)
        while True:
            try:
                await self.once()
            except StoreUnavailable as error:
                log.debug("database maintenance failed", error=str(error), retry_after_s=INTERVAL_S)
            await trio.sleep(INTERVAL_S)

    async def once(self) -> None:
        """Do all of it. Raises StoreUnavailable."""
        if self._store.engine.dialect.name == "postgresql":
            ahead = partial(partitions.make_ahead, now_ms=self._clock())
            await self._store.write("upkeep", ahead)
        if self._days is None:
            return
        horizon = partial(
            retention.horizon, now_ms=self._clock(), retention_ms=round(self._days * DAY)
        )
        before_ms = await self._store.read("load", horizon)
        if before_ms is None:
            return
        taken = await self._all(partial(retention.delete_candles, before_ms=before_ms))
        await self._all(partial(retention.delete_other_rows, before_ms=before_ms))
        if taken:
            what = "candles" if self._store.engine.dialect.name == "sqlite" else "partitions"
            log.info(
                "old data deleted",
                **{what: taken},
                before=iso_text(before_ms),
                retention_days=self._days,
            )

    async def _all(self, work: Callable[[sa.Connection], int]) -> int:
        taken = 0
        while part := await self._store.write("upkeep", work):
            taken += part
            await trio.sleep(BATCH_PAUSE_S)
        return taken
