"""Writer: the one way into the store. Batches candles, commits, and only then counts them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter

import trio

from blofin_agent.coverage.tracker import CoverageTracker
from blofin_agent.domain.candle import Candle, CandleBatch, Source
from blofin_agent.observability.metrics import Metrics
from blofin_agent.runtime.backoff import Backoff
from blofin_agent.store.database import Database
from blofin_agent.store.errors import StoreUnavailable
from blofin_agent.store.tables import candles, unavailable

QUEUE_CAPACITY = 10_000
"""Batches that may wait. A live candle that finds no room is dropped and healed later."""
MAX_BATCH_ROWS = 20_000
"""Rows that one transaction takes, about."""
BATCH_DELAY_S = 0.05
"""So long a live candle waits for the others of its minute: a transaction for all of them costs
little more than one for the first alone."""

_open_time = attrgetter("open_time")


@dataclass(slots=True)
class PendingBatch:
    """Candles of one symbol on their way into the store."""

    rows: CandleBatch
    committed: trio.Event = field(default_factory=trio.Event)
    inserted: int = 0
    """How many of them were new, once `committed`."""


class CandleWriter:
    """Takes candles from producers through a bounded channel, and commits them in batches.

    `patience_s`: how long a database that is away is waited for before `run` raises.
    """

    def __init__(
        self,
        store: Database,
        tracker: CoverageTracker,
        metrics: Metrics,
        capacity: int = QUEUE_CAPACITY,
        patience_s: float = math.inf,
    ) -> None:
        self._patience_s = patience_s
        self._store = store
        self._tracker = tracker
        self._metrics = metrics
        self._in, self._out = trio.open_memory_channel[PendingBatch](capacity)
        self._pending = 0
        self._rest = trio.lowlevel.ParkingLot()
        self.update_lock = trio.Lock()
        """Held from a transaction's start until its rows are counted."""
        self.unsaved_proofs: set[str] = set()
        """Symbols whose proofs in memory are newer than those stored."""
        metrics.queue_capacity.set(capacity)
        metrics.queue_length.set_function(lambda: self._out.statistics().current_buffer_used)

    @property
    def idle(self) -> bool:
        """Whether nothing that was taken waits or is being committed."""
        return self._pending == 0

    async def until_idle(self) -> None:
        """Wait until it is idle; return at once when it is."""
        while not self.idle:
            await self._rest.park()

    def try_enqueue(self, symbol: str, candle: Candle) -> bool:
        """Take a live candle without waiting; return False when there was no room for it."""
        try:
            self._in.send_nowait(PendingBatch(CandleBatch(symbol, Source.LIVE, (candle,))))
        except trio.WouldBlock:
            self._metrics.dropped.inc()
            return False
        self._pending += 1
        return True

    async def enqueue(self, symbol: str, rows: Sequence[Candle]) -> PendingBatch:
        """Take a page's candles; wait while there is no room. `committed` tells the rest."""
        batch = PendingBatch(CandleBatch(symbol, Source.FILL, rows))
        self._pending += 1
        try:
            await self._in.send(batch)
        except BaseException:
            self._done(1)
            raise
        return batch

    async def close(self) -> None:
        """Take no more; `run` returns once all that was taken is committed."""
        await self._in.aclose()

    async def run(self) -> None:
        """Commit what comes until `close`. Waits for a database that is away; loses nothing.

        Raises StoreUnavailable when its patience is over.
        """
        async with self._out:
            async for first in self._out:
                if first.rows.source is Source.LIVE:
                    await trio.sleep(BATCH_DELAY_S)
                batches = [first]
                size = len(first.rows.candles)
                while size < MAX_BATCH_ROWS:
                    try:
                        batches.append(self._out.receive_nowait())
                    except (trio.WouldBlock, trio.EndOfChannel):
                        break
                    size += len(batches[-1].rows.candles)
                await self._commit(batches)

    async def _commit(self, batches: Sequence[PendingBatch]) -> None:
        pages = [batch for batch in batches if batch.rows.source is Source.FILL]
        live: dict[str, list[Candle]] = {}
        for batch in batches:
            if batch.rows.source is Source.LIVE:
                live.setdefault(batch.rows.symbol, []).extend(batch.rows.candles)
        rows = [batch.rows for batch in pages]
        rows += [CandleBatch(symbol, Source.LIVE, found) for symbol, found in sorted(live.items())]
        async with self.update_lock:
            inserted = await self._insert(rows)
            for each, new in zip(rows, inserted, strict=True):
                if each.symbol in self._tracker.histories:
                    self._metrics.candles_written.inc(each.symbol, each.source.value, by=new)
                    await self._hold(each)
        now = self._tracker.clock()
        for candle in (candle for found in live.values() for candle in found):
            close = candle.open_time + self._tracker.bar.ms
            self._metrics.candle_delay.observe(max(0, now - close) / 1000)
        for batch, new in zip(pages, inserted, strict=False):
            batch.inserted = new
        for batch in batches:
            batch.committed.set()
        self._done(len(batches))

    def _done(self, batches: int) -> None:
        self._pending -= batches
        if self.idle:
            self._rest.unpark_all()

    async def _insert(self, rows: Sequence[CandleBatch]) -> list[int]:
        insert = partial(candles.insert, bar=self._tracker.bar, batches=rows)
        backoff = Backoff(longest_s=5)
        give_up_at = trio.current_time() + self._patience_s
        while True:
            try:
                return await self._store.write("insert", insert)
            except StoreUnavailable:
                if trio.current_time() > give_up_at:
                    raise
                await self._store.pause(backoff.next())

    async def _hold(self, rows: CandleBatch) -> None:
        history = self._tracker.histories[rows.symbol]
        live = rows.source is Source.LIVE
        newest = max(rows.candles)
        if history.newest is None or newest >= history.newest:
            history.newest = newest
        if history.hold(map(_open_time, rows.candles), live=live):
            await self._save_proofs(rows.symbol)

    async def save_proofs(self, symbol: str) -> None:
        """Store a symbol's proofs as they are in memory.

        While the database is away they stay in memory; `save_unsaved_proofs` tries again.
        """
        self.unsaved_proofs.add(symbol)
        async with self.update_lock:
            await self._save_proofs(symbol)

    async def save_unsaved_proofs(self) -> None:
        """Store the proofs that could not be stored so far."""
        for symbol in list(self.unsaved_proofs):
            await self.save_proofs(symbol)

    async def _save_proofs(self, symbol: str) -> None:
        """Store them; `committing` is held."""
        history = self._tracker.histories.get(symbol)
        self.unsaved_proofs.add(symbol)
        if history is not None:
            proofs = history.proofs
            save = partial(
                unavailable.save_proofs,
                symbol=symbol,
                bar=history.bar,
                proofs=proofs,
                since=self._tracker.window().start,
            )
            try:
                await self._store.write("proofs", save)
            except StoreUnavailable:
                return
            if history.proofs != proofs:
                return
        self.unsaved_proofs.discard(symbol)
