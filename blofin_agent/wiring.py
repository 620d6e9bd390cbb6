"""Parts: what the agent and the one-shot commands are made of, joined."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from blofin_agent import __version__
from blofin_agent.backfill.gap_filler import Filler
from blofin_agent.backfill.page_fetcher import Pager
from blofin_agent.backfill.scheduler import AT_ONCE, Passes, Policy
from blofin_agent.config import Settings
from blofin_agent.coverage.symbol_universe import Roster
from blofin_agent.coverage.tracker import Watch
from blofin_agent.exchange.rest_client import Rest
from blofin_agent.observability.database_outage import AWAY
from blofin_agent.observability.metrics import Metrics
from blofin_agent.observability.outage import Trouble
from blofin_agent.ratelimit.limiter import Throttle
from blofin_agent.runtime.clock import wall_ms
from blofin_agent.store.database import Store
from blofin_agent.writers.candle_writer import Writer


@dataclass(slots=True)
class Parts:
    """The parts that the agent and the one-shot backfill have in common."""

    watch: Watch
    metrics: Metrics
    trouble: Trouble
    throttle: Throttle
    writer: Writer
    filler: Filler
    passes: Passes
    roster: Roster


def assemble(
    settings: Settings,
    store: Store,
    client: httpx.AsyncClient,
    *,
    tries: int,
    what_next: str,
    store_patience_s: float = math.inf,
    clock: Callable[[], int] = wall_ms,
) -> Parts:
    """Make the parts and join them.

    `what_next`: what to say is done when BloFin is away, or the database, unless that is waited
    for without end: `store_patience_s` says how long.
    """
    clock = store.clock.over(clock)
    watch = Watch(
        settings.backfill_timeframe,
        settings.backfill_lookback_hours,
        int(settings.coverage_settle_seconds * 1000),
        clock,
    )
    away = AWAY if math.isinf(store_patience_s) else what_next
    metrics = Metrics(watch, __version__, store.engine.dialect.name, away)
    metrics.interval.set(settings.backfill_interval_minutes * 60)
    store.observer = metrics.store_operation
    trouble = Trouble(what_next, "all is well again between the agent and BloFin")
    spacing_ms = settings.backfill_request_sleep_ms
    throttle = Throttle(
        Rest(client, clock),
        store,
        metrics,
        clock,
        spacing_ms,
        trouble,
        store_patience_s,
        settings.egress,
    )
    writer = Writer(store, watch, metrics, patience_s=store_patience_s)
    pager = Pager(throttle, metrics, clock, settings.backfill_batch_limit)
    filler = Filler(pager, store, watch, writer, metrics, tries)
    policy = Policy(
        settings.backfill_skip_coverage,
        settings.backfill_top_up,
        settings.backfill_symbol_sleep_ms / 1000,
        spacing_ms,
        1 if settings.backfill_symbol_sleep_ms else AT_ONCE,
    )
    passes = Passes(filler, watch, metrics, policy)
    allowance = throttle.allowance
    metrics.used, metrics.suspended_until = allowance.used, allowance.suspended_until
    metrics.share = allowance.share
    metrics.eta = passes.eta
    roster = Roster(settings.blofin_symbols, store, watch, metrics, throttle)
    return Parts(watch, metrics, trouble, throttle, writer, filler, passes, roster)
