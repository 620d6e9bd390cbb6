"""Ticks: the trades of the websocket on their way into the store, never at the cost of candles.

They wait in memory until no candle does, and then go in small transactions; so a candle waits for
one of these at most. What finds no room, because candles or the database take so long, is lost.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import TypeVar

import sqlalchemy as sa
import structlog
import trio

from blofin_agent.coverage.tracker import CoverageTracker
from blofin_agent.domain.candle import DAY
from blofin_agent.domain.trade import Trade
from blofin_agent.observability.metrics import Metrics
from blofin_agent.runtime.backoff import Backoff
from blofin_agent.store.database import Database
from blofin_agent.store.errors import StoreUnavailable
from blofin_agent.store.tables import trades
from blofin_agent.writers.candle_writer import CandleWriter

T = TypeVar("T")

log = structlog.get_logger()

QUEUE_CAPACITY = 50_000
"""Ticks that may wait. One that finds no room is dropped."""
MAX_BATCH_ROWS = 2_000
"""Rows that one transaction stores."""
INTERVAL_S = 1.0
MAX_DELETED_ROWS = 5_000
"""Rows that one transaction deletes."""
BUSY_TIMEOUT_S = 0.1
"""How long one of these waits for another program's lock: a candle may come meanwhile."""
DELETE_AFTER_S = 5.0
"""At the start the first trades come in before old ones are looked for: age counts from them."""
DELETE_INTERVAL_S = 60.0
DELETE_PAUSE_S = 0.1
"""Between two such transactions, so that many of them leave the disk to others."""


class TradeWriter:
    """Takes ticks without waiting, and stores them when no candle waits.

    Those older than `retention_days` are deleted.
    """

    def __init__(
        self,
        store: Database,
        tracker: CoverageTracker,
        writer: CandleWriter,
        metrics: Metrics,
        retention_days: float,
        capacity: int = QUEUE_CAPACITY,
    ) -> None:
        self._store = store
        self._tracker = tracker
        self._writer = writer
        self._metrics = metrics
        self._retention_ms = round(retention_days * DAY)
        self._capacity = capacity
        self._waiting: deque[tuple[str, Trade]] = deque()
        self._turn = trio.Lock()
        metrics.count_ticks()
        metrics.ticks_queue_length.set_function(lambda: len(self._waiting))

    def try_enqueue(self, symbol: str, tick: Trade) -> bool:
        """Take a tick without waiting; return False when there was no room for it."""
        if len(self._waiting) >= self._capacity:
            self._metrics.ticks_dropped.inc()
            return False
        self._waiting.append((symbol, tick))
        return True

    async def run(self) -> None:
        """Store what comes and delete what is old, for ever. Waits for a database that is away."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_storing)
            nursery.start_soon(self._keep_forgetting)

    async def drain(self) -> None:
        """Store all that waits, after the candles. A database that is away is waited for."""
        backoff = Backoff(longest_s=5)
        while self._waiting:
            try:
                await self._store_some()
            except StoreUnavailable:
                await self._store.pause(backoff.next())

    async def _keep_storing(self) -> None:
        while True:
            await trio.sleep(INTERVAL_S)
            await self.drain()

    async def _store_some(self) -> None:
        some = list(islice(self._waiting, MAX_BATCH_ROWS))
        inserted = await self._after_candles(partial(trades.insert_trades, found=some))
        for _ in some:
            self._waiting.popleft()
        for symbol, new in inserted.items():
            self._metrics.ticks_written.inc(symbol, by=new)

    async def _keep_forgetting(self) -> None:
        await trio.sleep(DELETE_AFTER_S)
        while True:
            forgotten = await self._forget()
            if forgotten:
                log.debug("old trades deleted", deleted=forgotten)
            await trio.sleep(DELETE_INTERVAL_S)

    async def _forget(self) -> int:
        """Delete what is old now; leave the rest for next time when the database is away."""
        forget = partial(
            trades.delete_trades,
            now_ms=self._tracker.clock(),
            retention_ms=self._retention_ms,
            most=MAX_DELETED_ROWS,
        )
        forgotten = 0
        while True:
            try:
                found = await self._after_candles(forget)
            except StoreUnavailable:
                return forgotten
            forgotten += found
            if found < MAX_DELETED_ROWS:
                return forgotten
            await trio.sleep(DELETE_PAUSE_S)

    async def _after_candles(self, work: Callable[[sa.Connection], T]) -> T:
        """Run one transaction once no candle waits. Raises StoreUnavailable.

        One at a time: a candle that comes meanwhile waits for no second one.
        """
        async with self._turn:
            await self._writer.until_idle()
            return await self._store.write("ticks", work, BUSY_TIMEOUT_S)
