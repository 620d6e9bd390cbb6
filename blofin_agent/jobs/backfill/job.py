"""One-shot backfill: one pass over the symbols, and what came of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import httpx
import trio

from blofin_agent.backfill.gap_filler import ProgressCallbacks
from blofin_agent.config import Settings
from blofin_agent.coverage.tracker import CoverageTracker, worst_first
from blofin_agent.domain import rate_limit
from blofin_agent.domain.backfill_run import BackfillRun, RunTrigger
from blofin_agent.domain.candle_page import CandlePage
from blofin_agent.domain.errors import ExchangeError
from blofin_agent.domain.page_plan import PageRequest
from blofin_agent.domain.symbol_coverage import SymbolCoverage
from blofin_agent.domain.symbols import needs_listing, unknown_symbols_text
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.jobs.backfill.report import BackfillCallbacks, BackfillReport, SymbolNeed
from blofin_agent.observability.push import NOWHERE, PublishTargets, publish
from blofin_agent.runtime.backoff import Backoff
from blofin_agent.runtime.gc_tuning import freeze_garbage_collector
from blofin_agent.runtime.shutdown import DRAIN_TIMEOUT_S, ShutdownState, run_until_signal
from blofin_agent.runtime.user_errors import Failed, WrongUse
from blofin_agent.store.database import Database
from blofin_agent.store.errors import StoreUnavailable
from blofin_agent.wiring import Services, build_services

MAX_PAGE_TRIES = 5
"""How often the one-shot asks for one page before it gives the symbol up."""
MAX_LISTING_TRIES = 3


class BackfillError(Failed):
    """The backfill could not be done. The text is a sentence for a person."""


class UnknownSymbolError(WrongUse):
    """A symbol named on the command line does not exist."""


@dataclass(frozen=True, slots=True)
class BackfillRequest:
    """What to backfill. `since` and `until` in ms; without them the window of the settings."""

    settings: Settings
    since: int | None = None
    until: int | None = None
    named: bool = False
    """Whether the symbols were named on the command line, so that a wrong one is wrong use."""
    targets: PublishTargets = NOWHERE
    """Where the metrics go when it is over, however it went; wrong use alone tells them nothing."""


async def backfill(
    order: BackfillRequest, store: Database, client: httpx.AsyncClient, tell: BackfillCallbacks
) -> BackfillReport:
    """Fill once. Raises BackfillError, UnknownSymbolError and StoreUnavailable.

    SIGINT and SIGTERM end it early: what was fetched is stored, and the report says so.
    """
    freeze_garbage_collector()
    parts = _assemble(order, store, client)
    begun, stop = trio.current_time(), ShutdownState(store.lines.close_all)
    window = parts.tracker.window()
    runs: list[BackfillRun] = []
    problem: Exception | None = None
    succeeded = False
    async with trio.open_nursery() as nursery:

        async def write() -> None:
            nonlocal problem
            try:
                await parts.writer.run()
            except StoreUnavailable as error:
                problem = error
                nursery.cancel_scope.cancel()

        nursery.start_soon(write)
        async with run_until_signal(stop):
            try:
                await _prepare(order, parts)
                window = parts.tracker.window()
                tell.needs(needs(parts, window))
                progress = _progress(parts, window, tell, runs)
                done = await parts.passes.once(window, RunTrigger.ONESHOT, progress=progress)
                succeeded = done.succeeded
            except (BackfillError, UnknownSymbolError, StoreUnavailable) as error:
                problem = error
        if stop.requested:
            nursery.cancel_scope.deadline = trio.current_time() + DRAIN_TIMEOUT_S
        await parts.writer.close()
    seconds = trio.current_time() - begun
    if not succeeded:
        # One that did not even come to its pass was made all the same.
        parts.metrics.last_pass.set(parts.tracker.clock() / 1000)
        parts.metrics.pass_duration.set(seconds)
    unpublished = []
    if not isinstance(problem, UnknownSymbolError):
        unpublished = await publish(parts.metrics, order.targets, succeeded=succeeded)
    for text in unpublished:
        tell.unpublished(text)
    stop.done()
    if problem is not None:
        raise problem
    counts = {one.symbol: one.count(window) for one in parts.tracker.all()}
    return BackfillReport(window, runs, counts, seconds, stop.requested, published=not unpublished)


def _progress(
    parts: Services, window: TimeRange, tell: BackfillCallbacks, runs: list[BackfillRun]
) -> Callable[[SymbolCoverage], ProgressCallbacks]:
    """Collect the runs, and tell when pages turn out shorter or longer than thought."""
    size = parts.gap_filler.page_fetcher.size

    def progress(history: SymbolCoverage) -> ProgressCallbacks:
        told = tell.progress(history)

        def fetched(run: BackfillRun, page: PageRequest, answer: CandlePage) -> None:
            nonlocal size
            told.fetched(run, page, answer)
            if parts.gap_filler.page_fetcher.size != size:
                size = parts.gap_filler.page_fetcher.size
                tell.left(sum(need.pages for need in needs(parts, window)))

        def finished(run: BackfillRun) -> None:
            runs.append(run)
            told.finished(run)

        return replace(told, fetched=fetched, finished=finished)

    return progress


async def plan(
    order: BackfillRequest, store: Database, client: httpx.AsyncClient
) -> tuple[list[SymbolNeed], float]:
    """Return what each symbol needs, and the least time (s) that the limits allow for it all."""
    parts = _assemble(order, store, client)
    await _prepare(order, parts)
    needed = needs(parts, parts.tracker.window())
    shared_budget = parts.rate_limiter.shared_budget
    await shared_budget.refresh()
    now = parts.tracker.clock()
    spacing_ms = order.settings.backfill_request_sleep_ms
    pages = sum(need.pages for need in needed)
    return needed, rate_limit.least_seconds(
        pages, shared_budget.starts, now, spacing_ms, shared_budget.limits()
    )


def needs(parts: Services, window: TimeRange) -> list[SymbolNeed]:
    """Return what each symbol needs, the least complete first."""
    now = parts.tracker.clock()
    counts = {history.symbol: history.count(window) for history in parts.tracker.all()}
    found = []
    for symbol, count in worst_first(counts):
        history = parts.tracker.histories[symbol]
        pages = parts.gap_filler.pages(history.gaps(window, now), window.end)
        found.append(SymbolNeed(symbol, count, history.missing(window), pages))
    return found


def _assemble(order: BackfillRequest, store: Database, client: httpx.AsyncClient) -> Services:
    parts = build_services(
        order.settings,
        store,
        client,
        tries=MAX_PAGE_TRIES,
        what_next="retry for a little while",
        store_patience_s=store.timing.command_s,
    )
    parts.universe.aloud = not order.named
    if order.since is not None or order.until is not None:
        parts.tracker.fixed = fixed_symbols(parts.tracker, order.since, order.until)
    return parts


async def _prepare(order: BackfillRequest, parts: Services) -> None:
    """Read the store, and know when the symbols were listed."""
    await parts.universe.load()
    parts.tracker.loaded = True
    wanted, window, now = (
        order.settings.blofin_symbols,
        parts.tracker.window(),
        parts.tracker.clock(),
    )
    whole = not any(history.gaps(window, now) for history in parts.tracker.all())
    # When nothing is missing and no pattern may mean a new listing, there is nothing to ask.
    if not parts.universe.fresh and (needs_listing(wanted) or not whole):
        await _list(parts, wanted)
    if order.named and parts.universe.unknown:
        listed = parts.universe.listed
        raise UnknownSymbolError(
            "\n".join(unknown_symbols_text(one, listed) for one in parts.universe.unknown)
        )
    if not parts.tracker.histories:
        raise BackfillError(
            f"no BloFin instrument is meant by {', '.join(order.settings.blofin_symbols)} "
            "(BLOFIN_SYMBOLS)"
        )


def fixed_symbols(tracker: CoverageTracker, since: int | None, until: int | None) -> TimeRange:
    """Return the window between two times (ms), where None is what the settings give."""
    moving = tracker.window()
    end = moving.end if until is None else min(moving.end, tracker.bar.floor(until))
    start = end - (moving.end - moving.start) if since is None else since
    # A bar that opens before the start is not asked for.
    return TimeRange(tracker.bar.floor(start + tracker.bar.ms - 1), end)


async def _list(parts: Services, wanted: Sequence[str]) -> None:
    backoff = Backoff()
    for attempt in range(1, MAX_LISTING_TRIES + 1):
        try:
            await parts.universe.refresh()
        except ExchangeError as error:
            if attempt == MAX_LISTING_TRIES:
                if parts.trouble or (needs_listing(wanted) and not parts.tracker.histories):
                    raise BackfillError(f"{error}. What was stored before is untouched") from None
                return
            await trio.sleep(backoff.next())
        else:
            return
