"""Verify: asks BloFin again for what is stored, a sample or a range, and what came of it."""

import random
from dataclasses import dataclass, replace
from functools import partial

import httpx
import trio

from blofin_agent.config import Settings
from blofin_agent.coverage.gap_reasons import range_text
from blofin_agent.domain import page_plan, verification
from blofin_agent.domain.symbol_coverage import SymbolCoverage
from blofin_agent.domain.symbols import unknown_symbols_text
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.jobs.backfill.job import MAX_PAGE_TRIES, UnknownSymbolError, fixed_symbols
from blofin_agent.jobs.verify.report import SymbolVerification, VerifyCallbacks, VerifyReport
from blofin_agent.jobs.verify.verifier import SymbolWork, Verifier
from blofin_agent.observability.push import NOWHERE, PublishTargets, publish_verified
from blofin_agent.runtime.shutdown import ShutdownState, run_until_signal
from blofin_agent.runtime.user_errors import Failed
from blofin_agent.store.database import Database
from blofin_agent.store.errors import StoreUnavailable
from blofin_agent.store.tables import verifications
from blofin_agent.store.tables.verifications import Verification
from blofin_agent.wiring import Services, build_services


class VerifyError(Failed):
    """There is nothing that could be verified. The text is a sentence for a person."""


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """What to verify. `since` and `until` in ms; without them the window of the settings."""

    settings: Settings
    since: int | None = None
    until: int | None = None
    named: bool = False
    """Whether the symbols were named on the command line, so that a wrong one is wrong use."""
    sample: int | None = None
    """Pages of each symbol, drawn at random; None for all that is stored."""
    seed: int = 0
    """The same seed draws the same pages from the same stretch."""
    repair: bool = False
    targets: PublishTargets = NOWHERE


async def verify(
    order: VerifyRequest, store: Database, client: httpx.AsyncClient, tell: VerifyCallbacks
) -> VerifyReport:
    """Verify once. Raises VerifyError, UnknownSymbolError and StoreUnavailable.

    SIGINT and SIGTERM end it early: what was found of the symbols done is told.
    """
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
    begun, stop = trio.current_time(), ShutdownState(store.lines.close_all)
    window = parts.tracker.window()
    report = VerifyReport(window, order.sample, None if order.sample is None else order.seed, 0.0)
    problem: Exception | None = None
    away = False
    async with run_until_signal(stop):
        try:
            histories = await _stored(order, parts, window)
            away = await _each(order, parts, store, histories, report, tell)
        except (VerifyError, UnknownSymbolError, StoreUnavailable) as error:
            problem = error
    if problem is None:
        totals = partial(verifications.totals, bar=parts.tracker.bar)
        parts.metrics.verified = await store.read("load", totals)
        unpublished = await publish_verified(parts.metrics, order.targets)
        for text in unpublished:
            tell.unpublished(text)
    stop.done()
    if problem is not None:
        raise problem
    return replace(
        report,
        seconds=trio.current_time() - begun,
        stopped=stop.requested,
        away=away,
        published=not unpublished,
    )


async def _stored(order: VerifyRequest, parts: Services, window: TimeRange) -> list[SymbolCoverage]:
    """Return the symbols of which something is stored in the window."""
    await parts.universe.load()
    parts.tracker.loaded = True
    histories = [one for one in parts.tracker.all() if one.held.count(window)]
    there = {history.symbol for history in histories}
    unknown = [symbol for symbol in parts.universe.unknown if symbol not in there]
    if order.named and unknown:
        raise UnknownSymbolError(
            "\n".join(unknown_symbols_text(one, parts.universe.listed) for one in unknown)
        )
    if not parts.tracker.histories:
        raise VerifyError(
            "nothing stored to verify: no symbol is known yet; `blofin-agent backfill` reads "
            "BloFin's list of them"
        )
    if not histories:
        symbols, bar = order.settings.blofin_symbols, parts.tracker.bar.value
        raise VerifyError(
            f"nothing stored to verify: there is no {bar} candle of {', '.join(symbols)} from "
            f"{range_text(window)}; `blofin-agent backfill` fetches them"
        )
    return histories


def _targets(
    order: VerifyRequest, history: SymbolCoverage, window: TimeRange, size: int
) -> list[TimeRange]:
    """Return what to look at of a symbol, at so many rows a page."""
    if order.sample is None:
        return verification.stored_ranges(history.held, window, size)
    spans = [part for span in history.held.spans() if (part := span.meet(window))]
    times = [time for span in spans for time in range(*span, history.bar.ms)]
    # Each symbol draws for itself: the others that are named with it make no difference.
    draw = random.Random(f"{order.seed} {history.symbol}")  # noqa: S311 - no secret depends on it
    return verification.sampled_ranges(times, history.bar, size, order.sample, draw.randint)


async def _each(
    order: VerifyRequest,
    parts: Services,
    store: Database,
    histories: list[SymbolCoverage],
    report: VerifyReport,
    tell: VerifyCallbacks,
) -> bool:
    """Verify one symbol after the other; return whether BloFin was away."""
    window, page_fetcher = report.window, parts.gap_filler.page_fetcher
    bar, clock = parts.tracker.bar, parts.tracker.clock
    newest = bar.floor(clock() - parts.tracker.settle_ms)
    chosen = {one.symbol: _targets(order, one, window, page_fetcher.size) for one in histories}
    tell.begun(
        window,
        {
            symbol: len(page_plan.plan(spans, bar, page_fetcher.size, newest))
            for symbol, spans in chosen.items()
        },
    )
    verifier = Verifier(
        page_fetcher,
        store,
        parts.writer,
        clock,
        tries=MAX_PAGE_TRIES,
        repair=order.repair,
    )
    for number, history in enumerate(histories):
        await trio.sleep(order.settings.backfill_symbol_sleep_ms / 1000 if number else 0)
        told = Verification(history.symbol, bar.value, clock(), window.start, window.end)
        told.sample, told.seed = report.sample, report.seed
        found = SymbolVerification(told)
        report.found.append(found)
        await verifier.verify(
            SymbolWork(history, newest, found, tell.progress), chosen[history.symbol]
        )
        tell.finished(told)
        if found.away:
            return True
    return False
