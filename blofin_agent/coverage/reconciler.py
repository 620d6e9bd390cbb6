"""Reconcile: memory follows the store, whoever writes to it.

Another process on the same store (a one-shot backfill, a person with an SQL prompt) adds or takes
rows that this one did not see. Once it did, what is stored of each symbol is read anew within a few
seconds, some symbols at a time, so that no commit of ours waits for long.
"""

import math
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import structlog
import trio

from blofin_agent.coverage.block_auditor import CoverageBlockAuditor
from blofin_agent.coverage.tracker import CoverageTracker
from blofin_agent.domain.symbol_coverage import SymbolCoverage
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.observability.metrics import Metrics
from blofin_agent.ratelimit.limiter import RateLimiter
from blofin_agent.store.database import Database
from blofin_agent.store.errors import StoreUnavailable
from blofin_agent.store.tables import (
    backfill_runs,
    candles,
    coverage_blocks,
    heartbeats,
    unavailable,
    verifications,
)
from blofin_agent.store.tables.coverage_blocks import StoredCoverage
from blofin_agent.writers.candle_writer import CandleWriter

log = structlog.get_logger()

INTERVAL_S = 5.0
FULL_COMPARE_INTERVAL_S = 30.0
"""So often where the database does not tell whether another process wrote."""
RETRY_DELAY_S = 1.0
"""Between two looks whether the database is still the one that was counted."""
SERVICE = "agent"


class CoverageReconciler:
    """Compares memory with the store.

    `note` says in the store who runs here, unless it is empty; `lost` is called when rows were
    taken out of it.
    """

    def __init__(
        self,
        store: Database,
        tracker: CoverageTracker,
        writer: CandleWriter,
        rate_limiter: RateLimiter,
        metrics: Metrics,
        note: str,
        lost: Callable[[], None],
    ) -> None:
        self._lost = lost
        self._metrics = metrics
        self._store = store
        self._tracker = tracker
        self._writer = writer
        self._rate_limiter = rate_limiter
        self._note = note
        self._started = tracker.clock()
        self._last: tuple[int, int | None] | None = None
        self._audit = CoverageBlockAuditor(store, tracker, self._compare_again)
        self._mended = False
        self._compared = -math.inf

    async def run(self) -> None:
        """Reconcile for ever, and audit meanwhile. A store that is away is met again next time."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._audit.run)
            while True:
                with suppress(StoreUnavailable):
                    await self.once()
                if self.behind():
                    await trio.sleep(RETRY_DELAY_S)
                    continue
                with trio.move_on_after(INTERVAL_S):
                    await self._until_another()

    def _compare_again(self) -> None:
        """Compare at the next turn, whoever wrote."""
        self._mended = True

    def behind(self) -> bool:
        """Return whether the database is another one than that whose candles are counted."""
        return self._last is not None and self._last[0] != self._store.generation

    async def _until_another(self) -> None:
        """Wait until the database is another one: what was counted is no longer there."""
        while not self.behind():
            await trio.sleep(RETRY_DELAY_S)
            with suppress(StoreUnavailable):
                await self._store.read("reconcile", candles.changes)

    async def once(self) -> None:
        """Compare once, and show that this process lives. Raises StoreUnavailable."""
        beat = partial(
            heartbeats.record_heartbeat,
            service=SERVICE,
            started=self._started,
            now_ms=self._tracker.clock(),
            note=self._note,
        )
        if self._note:
            await self._store.write("beat", beat)
        await self._rate_limiter.shared_budget.refresh()
        await self._writer.save_unsaved_proofs()
        changes = await self._store.read("reconcile", candles.changes)
        # What another database file counts says nothing of this one.
        now = (self._store.generation, changes)
        long_ago = trio.current_time() - self._compared >= FULL_COMPARE_INTERVAL_S
        others_wrote = now != self._last or (changes is None and long_ago)
        if others_wrote or self._mended:
            self._mended = False
            await self._compare()
            self._compared = trio.current_time()
            totals = partial(verifications.totals, bar=self._tracker.bar)
            self._metrics.verified = await self._store.read("reconcile", totals)
        if others_wrote:
            self._audit.ask()
        self._last = now
        start = self._tracker.window().start
        for history in self._tracker.all():
            history.forget(start)

    async def _compare(self) -> None:
        bar, span = self._tracker.bar, self._tracker.loading()
        for symbols in coverage_blocks.portions(list(self._tracker.histories), bar, span):
            load = partial(coverage_blocks.load, bar=bar, span=span, symbols=symbols)
            # No transaction of ours is under way meanwhile: what differs was done by others.
            async with self._writer.update_lock:
                for symbol, stored in (await self._store.read("reconcile", load)).items():
                    if symbol in self._tracker.histories:
                        self._follow(self._tracker.histories[symbol], stored, span)
            last_runs = partial(backfill_runs.latest_of_each, bar=bar, symbols=symbols)
            self._tracker.last_runs |= await self._store.read("reconcile", last_runs)
        load_proofs = partial(unavailable.load_proofs, bar=bar, since=span.start)
        async with self._writer.update_lock:
            proofs = await self._store.read("reconcile", load_proofs)
            # What a page proved meanwhile is about to be stored.
            for history in self._tracker.all():
                if history.symbol not in self._writer.unsaved_proofs:
                    history.proofs = proofs.get(history.symbol, [])

    def _follow(self, history: SymbolCoverage, stored: StoredCoverage, span: TimeRange) -> None:
        """Take what is stored for what is held, and tell of what is no longer there."""
        held, live = history.held.within(span), history.live.within(span)
        if (held, live) == stored:
            return
        history.held, history.live = stored
        if vanished := (held.bits & ~stored.held.bits).bit_count():
            log.warning(
                "candles deleted by another process",
                symbol=history.symbol,
                deleted=vanished,
                action="refetch them",
            )
            self._lost()
