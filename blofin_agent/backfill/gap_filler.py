"""Filler: gaps -> plan -> pages -> writer -> gap_fill_runs.

Live holes, periodic passes and the one-shot command are one engine with other windows and
triggers: `fill` is the engine for one symbol.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import structlog
import trio

from blofin_agent.backfill.page_fetcher import PageFetcher
from blofin_agent.coverage import gap_reasons
from blofin_agent.coverage.tracker import CoverageTracker
from blofin_agent.domain import page_plan, unavailability
from blofin_agent.domain.backfill_run import BackfillRun, RunStatus, RunTrigger
from blofin_agent.domain.candle import Candle
from blofin_agent.domain.candle_page import CandlePage
from blofin_agent.domain.errors import ExchangeError
from blofin_agent.domain.page_plan import PageRequest
from blofin_agent.domain.symbol_coverage import SymbolCoverage
from blofin_agent.domain.time_range import TimeRange, subtract
from blofin_agent.observability.metrics import Metrics
from blofin_agent.runtime.format import plural
from blofin_agent.store.database import Database
from blofin_agent.store.errors import StoreUnavailable
from blofin_agent.store.tables import backfill_runs
from blofin_agent.writers.candle_writer import CandleWriter, PendingBatch

log = structlog.get_logger()

MAX_ROUNDS = 3
"""How often one run goes over bars whose rows came back spoilt."""
MIN_RETRY_ROWS = 100
"""Rows asked for at least when it does so again: what spoils a row of a page by chance is likely
to hit another one then."""


@dataclass(slots=True)
class ProgressCallbacks:
    """What a run tells while it goes on. Each is called in the event loop and must not wait."""

    planned: Callable[[BackfillRun, int], None] = lambda _run, _pages: None
    """The gaps are known, and how many pages they need."""
    fetched: Callable[[BackfillRun, PageRequest, CandlePage], None] = lambda _run, _page, _answer: (
        None
    )
    finished: Callable[[BackfillRun], None] = lambda _run: None


@dataclass(slots=True)
class _SymbolRun:
    """How far one run has got."""

    run: BackfillRun
    window: TimeRange
    left: list[TimeRange]
    spoilt: list[TimeRange] = field(default_factory=list)
    """Bars that pages spoke of without giving them soundly."""
    under_way: list[PendingBatch] = field(default_factory=list)
    empty: bool = False
    oldest: Candle | None = None
    """The oldest candle that came so far."""
    least_rows: int = 1
    """Rows that a page asks for at least."""

    def beside(self, history: SymbolCoverage) -> list[Candle]:
        """Return candles that may be next to those of the next page."""
        return [one for one in (self.oldest, history.newest) if one is not None]


class GapFiller:
    """Fills gaps over REST, for any trigger. One at a time for each symbol."""

    def __init__(
        self,
        page_fetcher: PageFetcher,
        store: Database,
        tracker: CoverageTracker,
        writer: CandleWriter,
        metrics: Metrics,
        tries: int,
    ) -> None:
        self.page_fetcher = page_fetcher
        self.queued: set[str] = set()
        """Symbols that the pass under way will still come to."""
        self._store = store
        self._tracker = tracker
        self._writer = writer
        self._metrics = metrics
        self._tries = tries
        self._busy: dict[str, trio.Lock] = {}

    def busy(self, symbol: str) -> bool:
        """Return whether a run for the symbol is under way."""
        return symbol in self._busy and self._busy[symbol].locked()

    @property
    def working(self) -> bool:
        """Whether a pass or a run of healing is under way."""
        return bool(self.queued) or any(lock.locked() for lock in self._busy.values())

    def pages(self, gaps: Sequence[TimeRange], newest: int) -> int:
        """Return how many pages the gaps need, at the page size known."""
        return len(page_plan.plan(gaps, self._tracker.bar, self.page_fetcher.size, newest))

    async def fill(
        self,
        history: SymbolCoverage,
        window: TimeRange,
        trigger: RunTrigger,
        *,
        progress: ProgressCallbacks | None = None,
        pause_s: float = 0.0,
        tries: int | None = None,
    ) -> BackfillRun:
        """Fetch what is missing of one symbol in the window, store it, and write the run down.

        `pause_s` is waited between two requests; `tries` is how often one page is asked for before
        the run has failed. Never raises for what the exchange does: the run's `status` tells.
        """
        progress = progress or ProgressCallbacks()
        async with self._busy.setdefault(history.symbol, trio.Lock()):
            run = self._begin(history, window, trigger)
            gaps = history.gaps(window, self._tracker.clock())
            progress.planned(run, self.pages(gaps, window.end))
            walk = _SymbolRun(run, window, gaps)
            problem = ""
            try:
                for round_ in range(MAX_ROUNDS):
                    walk.least_rows = MIN_RETRY_ROWS if round_ else 1
                    await self._walk(history, walk, progress, pause_s, tries or self._tries)
                    await self._settle(walk)
                    walk.left = self._spoilt(history, walk)
                    if not walk.left:
                        break
            except ExchangeError as error:
                problem = gap_reasons.failure_text(history.symbol, error)
                await self._settle(walk)
            self._end(history, walk, problem)
            await self._record(run)
            progress.finished(run)
            return run

    async def skip(
        self,
        history: SymbolCoverage,
        window: TimeRange,
        trigger: RunTrigger,
        note: str,
        progress: ProgressCallbacks,
    ) -> BackfillRun:
        """Write down that a symbol was left as it is, and why."""
        run = self._begin(history, window, trigger)
        run.finished, run.status, run.note = self._tracker.clock(), RunStatus.SKIPPED, note
        run.missing_after, run.coverage_after = run.missing_before, run.coverage_before
        await self._record(run)
        progress.finished(run)
        return run

    def _watched(self, history: SymbolCoverage) -> bool:
        """Return whether it is still ours to fill: it may be another agent's by now."""
        return self._tracker.histories.get(history.symbol) is history

    def _begin(
        self, history: SymbolCoverage, window: TimeRange, trigger: RunTrigger
    ) -> BackfillRun:
        count = history.count(window)
        missing = history.missing(window)
        return BackfillRun(
            symbol=history.symbol,
            bar=history.bar.value,
            trigger=trigger,
            started=self._tracker.clock(),
            missing_before=count.missing,
            gaps_found=len(missing),
            first_gap=missing[0].start if missing else None,
            last_gap=missing[-1].end - history.bar.ms if missing else None,
            coverage_before=count.ratio,
        )

    def _end(self, history: SymbolCoverage, walk: _SymbolRun, problem: str) -> None:
        run, count = walk.run, history.count(walk.window)
        run.finished = self._tracker.clock()
        run.missing_after, run.coverage_after = count.missing, count.ratio
        if problem:
            run.status, run.note = RunStatus.FAILED, problem
        elif not self._watched(history):
            run.status, run.note = RunStatus.PARTIAL, gap_reasons.CANCELLED_NOTE
        elif count.missing:
            run.status, run.note = (
                RunStatus.PARTIAL,
                gap_reasons.why_missing(history, walk.window, empty=walk.empty),
            )
        if run.rate_limited and not run.note:
            run.note = f"rate limited {plural(run.rate_limited, 'time')}"

    async def _walk(
        self,
        history: SymbolCoverage,
        walk: _SymbolRun,
        progress: ProgressCallbacks,
        pause_s: float,
        tries: int,
    ) -> None:
        """Ask for pages from the newest gap backward until no gap is left."""
        bar = history.bar
        while walk.left:
            if not self._watched(history):
                break
            page = page_plan.next_page(walk.left, bar, self.page_fetcher.size, walk.window.end)
            if page is None:
                break
            if walk.run.requests:
                await trio.sleep(pause_s)
            page = page._replace(
                limit=min(max(page.limit, walk.least_rows), self.page_fetcher.size)
            )
            page, answer = await self.page_fetcher.fetch(
                history, page, walk.left[-1].end, walk.window, walk.run, tries, walk.beside(history)
            )
            walk.oldest = answer.candles[0] if answer.candles else walk.oldest
            progress.fetched(walk.run, page, answer)
            if not answer.times:
                # Nothing older: the gaps below wait for the next pass. It proves nothing.
                walk.empty = True
                break
            span = page_plan.reached(answer.times, page, walk.left, bar)
            await self._keep(history, walk, answer)
            if answer.clean:
                if history.learn(
                    unavailability.page_holes(answer.times, bar), self._tracker.clock()
                ):
                    await self._writer.save_proofs(history.symbol)
            else:
                walk.spoilt.append(span)
            walk.left = subtract(walk.left, span)

    async def _keep(self, history: SymbolCoverage, walk: _SymbolRun, answer: CandlePage) -> None:
        new = history.new(answer.candles)
        if not new:
            return
        walk.under_way.append(await self._writer.enqueue(history.symbol, new))
        # Fetching and storing overlap, but no more than two pages wait in memory.
        if len(walk.under_way) > 1:
            await walk.under_way[-2].committed.wait()

    async def _settle(self, walk: _SymbolRun) -> None:
        """Wait until all that was fetched is committed."""
        for batch in walk.under_way:
            await batch.committed.wait()
            walk.run.rows_inserted += batch.inserted
        walk.under_way.clear()

    def _spoilt(self, history: SymbolCoverage, walk: _SymbolRun) -> list[TimeRange]:
        """Return the gaps whose rows came back spoilt, to be asked for once more in this run."""
        gaps = history.gaps(walk.window, self._tracker.clock())
        sound = gaps
        for span in walk.spoilt:
            sound = subtract(sound, span)
        for span in sound:
            gaps = subtract(gaps, span)
        walk.spoilt = []
        return gaps

    async def _record(self, run: BackfillRun) -> None:
        self._tracker.last_runs[run.symbol] = run
        with suppress(StoreUnavailable):
            await self._store.write("run", partial(backfill_runs.record, run=run))
