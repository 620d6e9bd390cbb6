"""Passes: periodic backfill. Every symbol in turn, the worst first."""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field

import structlog
import trio

from blofin_agent.backfill.gap_filler import GapFiller, ProgressCallbacks
from blofin_agent.coverage.tracker import CoverageTracker
from blofin_agent.domain import rate_limit
from blofin_agent.domain.backfill_run import BackfillRun, RunStatus, RunTrigger
from blofin_agent.domain.symbol_coverage import SymbolCoverage
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.observability.metrics import Metrics
from blofin_agent.runtime.backoff import Backoff
from blofin_agent.runtime.format import floor_ratio, percent
from blofin_agent.store.errors import StoreUnavailable

log = structlog.get_logger()

RETRY_DELAY_S = 60.0
"""After a pass that left something to do, the symbols concerned are tried again so soon."""
MAX_CONCURRENT_SYMBOLS = 6
"""Symbols filled at once where no pause is asked for: while one is stored another is asked for."""


@dataclass(frozen=True, slots=True)
class PassPolicy:
    """How a pass goes about its symbols; from the settings."""

    skip_coverage: float
    top_up: bool
    symbol_sleep_s: float
    spacing_ms: int
    at_once: int = 1
    """How many symbols are filled at the same time."""


@dataclass(slots=True)
class BackfillPass:
    """What one pass did. Times in ms."""

    started: int
    ended: int = 0
    runs: list[BackfillRun] = field(default_factory=list)
    whole: bool = False
    """Whether it came to its end: nothing cancelled it or broke it off."""

    @property
    def unsettled(self) -> list[str]:
        """The symbols that another pass may help soon: those that failed."""
        return [run.symbol for run in self.runs if run.status is RunStatus.FAILED]

    @property
    def succeeded(self) -> bool:
        """Whether it came to its end and no symbol failed."""
        return self.whole and not self.unsettled


class BackfillScheduler:
    """Runs passes over the watched symbols."""

    def __init__(
        self, gap_filler: GapFiller, tracker: CoverageTracker, metrics: Metrics, policy: PassPolicy
    ) -> None:
        self._gap_filler = gap_filler
        self._tracker = tracker
        self._metrics = metrics
        self._policy = policy
        self._wake = trio.Event()
        self._left: list[str] = []
        """The symbols that failed in the last pass."""
        self.next_at: int | None = None
        """When the next pass begins (ms) if nothing wakes it sooner; None while one goes on."""
        self.succeeded: Callable[[BackfillPass], Awaitable[None]] = _not_told
        """Called by `run` after a pass in which no symbol failed."""

    @property
    def working(self) -> bool:
        """Whether something is being filled now, by a pass or by healing."""
        return self._gap_filler.working

    def wake_if_left(self) -> None:
        """Let the next pass begin now if the last one failed: BloFin is back."""
        if self._left:
            self._wake.set()

    def wake(self) -> None:
        """Let the next pass begin now: there are new symbols."""
        self._wake.set()

    async def run(self, interval_s: float) -> None:
        """Make a pass now and every `interval_s` from start to start, for ever.

        After one in which symbols failed, those are tried again sooner, ever less soon.
        """
        trigger, backoff = RunTrigger.START, Backoff(RETRY_DELAY_S, interval_s)
        next_full = trio.current_time()
        while True:
            if trio.current_time() >= next_full or self._wake.is_set():
                self._wake = trio.Event()
                next_full = trio.current_time() + interval_s
                symbols = None
                backoff.reset()
            else:
                symbols = self._left
            self.next_at = None
            done = await self.once(self._tracker.window(), trigger, symbols)
            trigger = RunTrigger.PERIODIC
            self._left = done.unsettled
            if done.succeeded:
                await self.succeeded(done)
            soon = trio.current_time() + backoff.next() if self._left else next_full
            wait_s = max(0, min(soon, next_full) - trio.current_time())
            self.next_at = self._tracker.clock() + round(wait_s * 1000)
            with trio.move_on_after(wait_s):
                await self._wake.wait()

    async def once(
        self,
        window: TimeRange,
        trigger: RunTrigger,
        symbols: Iterable[str] | None = None,
        *,
        progress: Callable[[SymbolCoverage], ProgressCallbacks] | None = None,
    ) -> BackfillPass:
        """Go over all watched symbols once, or over those named."""
        begun = trio.current_time()
        result = BackfillPass(self._tracker.clock())
        self._gap_filler.page_fetcher.forget_size()
        histories = self._order(window, symbols)
        self._gap_filler.queued |= {history.symbol for history in histories}
        try:
            await self._walk(iter(histories), result, window, trigger, progress)
            result.whole = True
        finally:
            self._report(result, trio.current_time() - begun)
        if symbols is None and trigger is not RunTrigger.ONESHOT:
            _tell_pass(result, trio.current_time() - begun)
        return result

    def eta(self) -> float:
        """Return the least time in seconds to fetch all pages that the gaps of now need."""
        window, now = self._tracker.window(), self._tracker.clock()
        pages = sum(
            self._gap_filler.pages(gaps, window.end)
            for history in self._tracker.all()
            if (gaps := history.gaps(window, now))
        )
        allowed = rate_limit.limits_at(self._gap_filler.page_fetcher.share)
        return rate_limit.least_seconds(pages, (), now, self._policy.spacing_ms, allowed)

    def _order(self, window: TimeRange, symbols: Iterable[str] | None) -> list[SymbolCoverage]:
        """Return the symbols below the bar first, worst first, then the others likewise."""
        chosen = set(symbols) if symbols is not None else None
        histories = [
            history for history in self._tracker.all() if chosen is None or history.symbol in chosen
        ]
        return sorted(histories, key=lambda one: (one.count(window).ratio, one.symbol))

    async def _walk(
        self,
        histories: Iterator[SymbolCoverage],
        result: BackfillPass,
        window: TimeRange,
        trigger: RunTrigger,
        progress: Callable[[SymbolCoverage], ProgressCallbacks] | None,
    ) -> None:
        """Fill one symbol after another, so many of them at once as the policy says.

        Raises StoreUnavailable when the database was away for too long.
        """
        problems: list[StoreUnavailable] = []

        async def take_turns(task_status: trio.TaskStatus[None]) -> None:
            # The worst one is under way before the next is begun.
            task_status.started()
            try:
                asked = False
                for history in histories:
                    if asked:
                        await trio.sleep(self._policy.symbol_sleep_s)
                    asked = False
                    if self._tracker.histories.get(history.symbol) is history:
                        run = await self._one(history, window, trigger, progress)
                        result.runs.append(run)
                        asked = run.requests > 0
                    self._gap_filler.queued.discard(history.symbol)
            except StoreUnavailable as error:
                problems.append(error)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for _ in range(self._policy.at_once):
                await nursery.start(take_turns)
        if problems:
            raise problems[0]

    async def _one(
        self,
        history: SymbolCoverage,
        window: TimeRange,
        trigger: RunTrigger,
        progress: Callable[[SymbolCoverage], ProgressCallbacks] | None,
    ) -> BackfillRun:
        told = progress(history) if progress else ProgressCallbacks()
        ratio = history.count(window).ratio
        if ratio >= self._policy.skip_coverage and not self._policy.top_up and ratio < 1:
            note = f"coverage is {percent(ratio)}, and BACKFILL_TOP_UP is off"
            return await self._gap_filler.skip(history, window, trigger, note, told)
        run = await self._gap_filler.fill(history, window, trigger, progress=told)
        if trigger is not RunTrigger.ONESHOT:
            _tell(run)
        return run

    def _report(self, result: BackfillPass, seconds: float) -> None:
        result.ended = self._tracker.clock()
        now = result.ended / 1000
        self._metrics.last_pass.set(now)
        self._metrics.pass_duration.set(seconds)
        if result.succeeded:
            self._metrics.last_success.set(now)
        for run in result.runs:
            self._metrics.last_pass_requests.set(run.symbol, to=run.requests)
            self._metrics.last_pass_rate_limited.set(run.symbol, to=run.rate_limited)


async def _not_told(_done: BackfillPass) -> None:
    await trio.lowlevel.checkpoint()


def _tell_pass(result: BackfillPass, seconds: float) -> None:
    log.info(
        "backfill pass finished",
        symbols=len(result.runs),
        failed=len(result.unsettled),
        requests=sum(run.requests for run in result.runs),
        stored=sum(run.rows_inserted for run in result.runs),
        missing=sum(run.missing_after for run in result.runs),
        duration_s=round(seconds, 3),
    )


def _tell(run: BackfillRun) -> None:
    """Log what is worth a line: a run that did something, or could not."""
    if run.status is RunStatus.FAILED:
        log.warning(
            "backfill run failed",
            symbol=run.symbol,
            error=run.note,
            stored=run.rows_inserted,
            requests=run.requests,
            coverage=floor_ratio(run.coverage_after),
            action="retry in about a minute",
        )
    elif run.requests:
        log.info(
            "backfill run finished",
            symbol=run.symbol,
            stored=run.rows_inserted,
            requests=run.requests,
            coverage=floor_ratio(run.coverage_after),
            missing=run.missing_after,
            note=run.note or None,
        )
