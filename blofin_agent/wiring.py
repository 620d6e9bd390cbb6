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

    watch: CoverageTracker
    metrics: Metrics
    trouble: Outage
    throttle: RateLimiter
    writer: CandleWriter
    filler: GapFiller
    passes: BackfillScheduler
    roster: SymbolUniverse


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
    watch = CoverageTracker(
        settings.backfill_timeframe,
        settings.backfill_lookback_hours,
        int(settings.coverage_settle_seconds * 1000),
        clock,
    )
    away = AWAY if math.isinf(store_patience_s) else what_next
    metrics = Metrics(watch, __version__, store.engine.dialect.name, away)
    metrics.interval.set(settings.backfill_interval_minutes * 60)
    store.observer = metrics.store_operation
    trouble = Outage(what_next, "all is well again between the agent and BloFin")
    spacing_ms = settings.backfill_request_sleep_ms
    throttle = RateLimiter(
        RestClient(client, clock),
        store,
        metrics,
        clock,
        spacing_ms,
        trouble,
        store_patience_s,
        settings.egress,
    )
    writer = CandleWriter(store, watch, metrics, patience_s=store_patience_s)
    pager = PageFetcher(throttle, metrics, clock, settings.backfill_batch_limit)
    filler = GapFiller(pager, store, watch, writer, metrics, tries)
    policy = PassPolicy(
        settings.backfill_skip_coverage,
        settings.backfill_top_up,
        settings.backfill_symbol_sleep_ms / 1000,
        spacing_ms,
        1 if settings.backfill_symbol_sleep_ms else MAX_CONCURRENT_SYMBOLS,
    )
    passes = BackfillScheduler(filler, watch, metrics, policy)
    allowance = throttle.allowance
    metrics.used, metrics.suspended_until = allowance.used, allowance.suspended_until
    metrics.share = allowance.share
    metrics.eta = passes.eta
    roster = SymbolUniverse(settings.blofin_symbols, store, watch, metrics, throttle)
    return Services(watch, metrics, trouble, throttle, writer, filler, passes, roster)
