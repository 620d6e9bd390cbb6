"""Parts: what the agent and the one-shot commands are made of, joined."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from blofin_agent import __version__
from blofin_agent.backfill.gap_filler import GapFiller
from blofin_agent.backfill.page_fetcher import PageFetcher
from blofin_agent.backfill.scheduler import MAX_CONCURRENT_SYMBOLS, BackfillScheduler, PassPolicy
from blofin_agent.config import Settings
from blofin_agent.coverage.symbol_universe import SymbolUniverse
from blofin_agent.coverage.tracker import CoverageTracker
from blofin_agent.exchange.rest_client import RestClient
from blofin_agent.observability.database_outage import AWAY
from blofin_agent.observability.metrics import Metrics
from blofin_agent.observability.outage import Outage
from blofin_agent.ratelimit.limiter import RateLimiter
from blofin_agent.runtime.clock import wall_ms
from blofin_agent.store.database import Database
from blofin_agent.writers.candle_writer import CandleWriter


@dataclass(slots=True)
class Services:
    """The parts that the agent and the one-shot backfill have in common."""

    tracker: CoverageTracker
    metrics: Metrics
    trouble: Outage
    rate_limiter: RateLimiter
    writer: CandleWriter
    gap_filler: GapFiller
    passes: BackfillScheduler
    universe: SymbolUniverse


def build_services(
    settings: Settings,
    store: Database,
    client: httpx.AsyncClient,
    *,
    tries: int,
    what_next: str,
    store_patience_s: float = math.inf,
    clock: Callable[[], int] = wall_ms,
) -> Services:
    """Make the parts and join them.

    `what_next`: what to say is done when BloFin is away, or the database, unless that is waited
    for without end: `store_patience_s` says how long.
    """
    clock = store.clock.over(clock)
    tracker = CoverageTracker(
        settings.backfill_timeframe,
        settings.backfill_lookback_hours,
        int(settings.coverage_settle_seconds * 1000),
        clock,
    )
    away = AWAY if math.isinf(store_patience_s) else what_next
    metrics = Metrics(tracker, __version__, store.engine.dialect.name, away)
    metrics.interval.set(settings.backfill_interval_minutes * 60)
    store.observer = metrics.store_operation
    trouble = Outage("BloFin connection problem", "BloFin connection restored", what_next)
    spacing_ms = settings.backfill_request_sleep_ms
    rate_limiter = RateLimiter(
        RestClient(client, clock),
        store,
        metrics,
        clock,
        spacing_ms,
        trouble,
        store_patience_s,
        settings.egress,
    )
    writer = CandleWriter(store, tracker, metrics, patience_s=store_patience_s)
    page_fetcher = PageFetcher(rate_limiter, metrics, clock, settings.backfill_batch_limit)
    gap_filler = GapFiller(page_fetcher, store, tracker, writer, metrics, tries)
    policy = PassPolicy(
        settings.backfill_skip_coverage,
        settings.backfill_top_up,
        settings.backfill_symbol_sleep_ms / 1000,
        spacing_ms,
        1 if settings.backfill_symbol_sleep_ms else MAX_CONCURRENT_SYMBOLS,
    )
    passes = BackfillScheduler(gap_filler, tracker, metrics, policy)
    shared_budget = rate_limiter.shared_budget
    metrics.used, metrics.suspended_until = shared_budget.used, shared_budget.suspended_until
    metrics.share = shared_budget.share
    metrics.eta = passes.eta
    universe = SymbolUniverse(settings.blofin_symbols, store, tracker, metrics, rate_limiter)
    return Services(tracker, metrics, trouble, rate_limiter, writer, gap_filler, passes, universe)
