"""Reconcile: memory follows the store, whoever writes to it.

Another process on the same store (a one-shot backfill, a person with an SQL prompt) adds or takes
rows that this one did not see. Every few seconds the counts are compared, and where they differ
the symbol's coverage is read anew.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import structlog
import trio

from blofin_agent.core.candle import Source
from blofin_agent.metrics import Metrics
from blofin_agent.store import candles, ledger, runs, verifications
from blofin_agent.store.engine import Store
from blofin_agent.store.errors import StoreUnavailable
from blofin_agent.text import plural
from blofin_agent.throttle import Throttle
from blofin_agent.watch import Watch
from blofin_agent.writer import Writer

log = structlog.get_logger()

EVERY_S = 5.0
LOOK_S = 1.0
"""Between two looks whether the database is still the one that was counted."""
SERVICE = "agent"


class Reconciler:
    """Compares memory with the store.

    `note` says in the store who runs here; `lost` is called when rows were taken out of it.
    """

    def __init__(
        self,
        store: Store,
        watch: Watch,
        writer: Writer,
        throttle: Throttle,
        metrics: Metrics,
        note: str,
        lost: Callable[[], None],
    ) -> None:
        self._lost = lost
        self._metrics = metrics
        self._store = store
        self._watch = watch
        self._writer = writer
        self._throttle = throttle
        self._note = note
        self._started = watch.clock()
        self._last: tuple[int, int | None] | None = None

    async def run(self) -> None:
        """Reconcile for ever. A store that is away is met again next time."""
        while True:
            with suppress(StoreUnavailable):
                await self.once()
            if self.behind():
                await trio.sleep(LOOK_S)
                continue
            with trio.move_on_after(EVERY_S):
                await self._until_another()

    def behind(self) -> bool:
        """Return whether the database is another one than that whose candles are counted."""
        return self._last is not None and self._last[0] != self._store.generation

    async def _until_another(self) -> None:
        """Wait until the database is another one: what was counted is no longer there."""
        while not self.behind():
            await trio.sleep(LOOK_S)
            with suppress(StoreUnavailable):
                await self._store.read("reconcile", candles.changes)

    async def once(self) -> None:
        """Compare once, and show that this process lives. Raises StoreUnavailable."""
        beat = partial(
            ledger.beat,
            service=SERVICE,
            started=self._started,
            now_ms=self._watch.clock(),
            note=self._note,
        )
        await self._store.write("beat", beat)
        await self._throttle.allowance.refresh()
        changes = await self._store.read("reconcile", candles.changes)
        # What another database file counts says nothing of this one.
        now = (self._store.generation, changes)
        if changes is None or now != self._last:
            await self._compare()
            totals = partial(verifications.totals, bar=self._watch.bar)
            self._metrics.verified = await self._store.read("reconcile", totals)
        self._last = now
        start = self._watch.window().start
        for history in self._watch.all():
            history.forget(start)

    async def _compare(self) -> None:
        bar = self._watch.bar
        # No transaction of ours is under way meanwhile: what differs was done by others.
        async with self._writer.committing:
            span = self._watch.loading()
            found = await self._store.read("reconcile", partial(candles.counts, bar=bar, span=span))
            for history in self._watch.all():
                before, now = history.held.count(span), found.get(history.symbol, 0)
                if now == before:
                    continue
                held = partial(candles.held, symbol=history.symbol, bar=bar, span=span)
                history.held = await self._store.read("reconcile", held)
                live = partial(held, source=Source.LIVE)
                history.live = await self._store.read("reconcile", live)
                if now < before:
                    log.warning(
                        f"{history.symbol}: {plural(before - now, 'candle')} vanished from the "
                        "database; what is missing is fetched again"
                    )
                    self._lost()
            last_runs = partial(runs.latest_of_each, bar=bar, symbols=list(self._watch.histories))
            self._watch.last_runs |= await self._store.read("reconcile", last_runs)
            proofs = await self._store.read(
                "reconcile", partial(ledger.load_proofs, bar=bar, since=span.start)
            )
            for history in self._watch.all():
                history.proofs = proofs.get(history.symbol, [])
