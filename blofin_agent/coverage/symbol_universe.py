"""Roster: keeps the list of BloFin's instruments, and with it which symbols are watched."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import structlog
import trio

from blofin_agent.coverage.tracker import CoverageTracker
from blofin_agent.domain.candle import HOUR, RejectedRow
from blofin_agent.domain.errors import ExchangeError
from blofin_agent.domain.symbol_coverage import SymbolCoverage
from blofin_agent.domain.symbols import choose, suggest_symbol
from blofin_agent.observability.metrics import Metrics
from blofin_agent.ratelimit.limiter import RateLimiter
from blofin_agent.runtime.backoff import Backoff
from blofin_agent.store.database import Database
from blofin_agent.store.errors import StoreUnavailable
from blofin_agent.store.tables import coverage_blocks, instruments, unavailable

if TYPE_CHECKING:
    from blofin_agent.domain.instrument import Instrument

log = structlog.get_logger()

MAX_LISTING_AGE_MS = HOUR
"""So long the stored list is believed: then new listings and delistings are looked for."""
CHECK_INTERVAL_S = 5.0
"""Between two looks whether the store still has the list."""
UNKNOWN_SYMBOL_GRACE_MS = HOUR // 6
"""So long it is believed while it does not know a symbol of ours."""


class SymbolUniverse:
    """Decides which symbols are watched: `wanted` is the setting, names, patterns or `all`."""

    def __init__(
        self,
        wanted: Sequence[str],
        store: Database,
        tracker: CoverageTracker,
        metrics: Metrics,
        rate_limiter: RateLimiter,
    ) -> None:
        self.listed: dict[str, Instrument] = {}
        self.unknown: list[str] = []
        """Symbols that the setting names and BloFin does not list."""
        self.owned: frozenset[str] | None = None
        """The symbols that are ours where several agents share them; None when all are."""
        self.aloud = True
        """Whether unknown symbols and instruments are logged."""
        self._wanted = wanted
        self._store = store
        self._tracker = tracker
        self._metrics = metrics
        self._rate_limiter = rate_limiter
        self._seen = 0
        self._generation = store.generation
        self._left_out: Sequence[RejectedRow] = ()
        self._choosing = trio.Lock()

    async def load(self) -> None:
        """Watch what the store's list of instruments gives. Raises StoreUnavailable."""
        self.listed, self._seen = await self._store.read(
            "instruments", instruments.load_instruments
        )
        await self._choose()

    @property
    def fresh(self) -> bool:
        """Whether the list is young enough, and knows every symbol named."""
        return not self.unknown and self._due_in_s() > 0 and not self._lost

    @property
    def _lost(self) -> bool:
        """Whether the list was written into a database that is another one by now."""
        return self._store.generation != self._generation

    def _due_in_s(self) -> float:
        """Return in how many seconds the list is to be read again."""
        if not self.listed:
            return 0
        believed = UNKNOWN_SYMBOL_GRACE_MS if self.unknown else MAX_LISTING_AGE_MS
        age = self._tracker.clock() - self._seen
        # A list from the future was written by a clock gone wrong.
        return max(0, believed - age) / 1000 if age >= 0 else 0

    async def refresh(self) -> list[str]:
        """Ask BloFin for its instruments; return the symbols that are watched anew.

        Raises ExchangeError and StoreUnavailable.
        """
        answer = await self._rate_limiter.request(
            "instruments", self._rate_limiter.rest.instruments
        )
        self._leave_out(answer.bad)
        found = answer.instruments
        if not found:
            log.warning("BloFin's instrument list is empty", action="keep the last known list")
            return []
        now, generation = self._tracker.clock(), self._store.generation
        self.listed = {one.symbol: one for one in found}
        await self._store.write(
            "instruments", partial(instruments.save_instruments, found=found, now_ms=now)
        )
        added = await self._choose()
        # Not before all of it is done: a list half taken in is not believed for an hour.
        self._seen, self._generation = now, generation
        return added

    def _leave_out(self, bad: Sequence[RejectedRow]) -> None:
        """Count the entries that are no instruments; log them once while they are the same."""
        for row in bad:
            self._metrics.rows_rejected.labels("instruments", row.reason.value).inc()
        if bad and self.aloud and bad != self._left_out:
            log.warning(
                "rows rejected",
                feed="instruments",
                reason=bad[0].reason.value,
                count=len(bad),
                example=bad[0].text,
            )
        self._left_out = bad

    async def catch_up(self, seen: int) -> bool:
        """Read the stored list if another agent stored it (ms) since; return whether it was read.

        Raises StoreUnavailable. `keep` is to be called then.
        """
        if seen <= self._seen:
            return False
        self.listed, self._seen = await self._store.read(
            "instruments", instruments.load_instruments
        )
        return True

    async def keep(
        self, owned: frozenset[str], changed: Callable[[list[str], list[str]], None]
    ) -> None:
        """Watch these of the symbols wanted from now on; tell `changed` of what that changes.

        Raises StoreUnavailable: then no symbol that is not among them is watched any more.
        """
        self.owned = owned
        before = set(self._tracker.histories)
        try:
            await self._choose()
        finally:
            now = set(self._tracker.histories)
            changed(sorted(now - before), sorted(before - now))

    async def run(self, changed: Callable[[list[str], list[str]], None], asked: trio.Event) -> None:
        """Keep the list fresh for ever; tell `changed` of symbols added and taken out.

        `asked` is set once BloFin was asked for the first time, or needed not be.
        """
        backoff = Backoff(5, 300)
        while True:
            if not self.fresh:
                before = set(self._tracker.histories)
                try:
                    added = await self.refresh()
                except (ExchangeError, StoreUnavailable) as error:
                    log.debug("instrument list refresh failed", error=str(error))
                else:
                    backoff.reset()
                    changed(added, sorted(before - set(self._tracker.histories)))
            asked.set()
            due_in_s = self._due_in_s()
            if due_in_s and not self._lost:
                await self._rest(due_in_s)
            else:
                await trio.sleep(backoff.next())

    async def _rest(self, seconds: float) -> None:
        """Sleep so long, or until the store has lost the list."""
        with trio.move_on_after(seconds):
            while not self._lost:  # noqa: ASYNC110 - a worker thread finds out
                await trio.sleep(CHECK_INTERVAL_S)

    async def _choose(self) -> list[str]:
        """Bring the watch in line with the setting; return what is watched anew."""
        async with self._choosing:
            return await self._choose_alone()

    async def _choose_alone(self) -> list[str]:
        chosen = choose(self._wanted, self.listed)
        for symbol in chosen.unknown:
            if self.aloud and symbol not in self.unknown:
                log.error(
                    "symbol not listed by BloFin",
                    symbol=symbol,
                    suggestion=suggest_symbol(symbol, self.listed),
                    action="correct BLOFIN_SYMBOLS",
                )
        self.unknown = chosen.unknown
        symbols = [one for one in chosen.symbols if self.owned is None or one in self.owned]
        for symbol in set(self._tracker.histories) - set(symbols):
            del self._tracker.histories[symbol]
            self._tracker.last_runs.pop(symbol, None)
            self._metrics.remove_symbol(symbol)
            if symbol not in chosen.symbols:
                log.info(
                    "symbol no longer listed by BloFin", symbol=symbol, action="stop recording it"
                )
        added = [symbol for symbol in symbols if symbol not in self._tracker.histories]
        fresh = {symbol: SymbolCoverage(symbol, self._tracker.bar) for symbol in added}
        for symbol, history in (self._tracker.histories | fresh).items():
            if symbol in self.listed:
                history.list_time = self.listed[symbol].list_time
        await self._load_coverage(fresh)
        for symbol in added:
            self._metrics.add_symbol(symbol)
        self._tracker.histories |= fresh
        return added

    async def _load_coverage(self, histories: dict[str, SymbolCoverage]) -> None:
        bar, span = self._tracker.bar, self._tracker.loading()
        proofs = await self._store.read(
            "load", partial(unavailable.load_proofs, bar=bar, since=span.start)
        )
        for symbols in coverage_blocks.portions(list(histories), bar, span):
            load = partial(coverage_blocks.load, bar=bar, span=span, symbols=symbols)
            for symbol, stored in (await self._store.read("load", load)).items():
                history = histories[symbol]
                history.held, history.live = stored
                history.proofs = proofs.get(symbol, [])
