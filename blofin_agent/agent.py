"""Agent: puts the parts together; what runs beside what, signals, shutdown."""

import os
import socket
import sys
from collections.abc import Callable
from functools import partial

import httpx
import structlog
import trio

from blofin_agent import __version__
from blofin_agent.backfill import last_success
from blofin_agent.backfill.recent_gap_filler import RecentGapFiller
from blofin_agent.config import Settings
from blofin_agent.coverage.reconciler import CoverageReconciler
from blofin_agent.fleet.membership import FleetMembership
from blofin_agent.live.connection_manager import ConnectionManager
from blofin_agent.runtime.backoff import Backoff
from blofin_agent.runtime.gc_tuning import freeze_garbage_collector
from blofin_agent.runtime.shutdown import DRAIN_TIMEOUT_S, ShutdownState, run_until_signal
from blofin_agent.status.snapshot import STALE_REASON, StatusSnapshotter
from blofin_agent.status.store_reader import StoreReader
from blofin_agent.store.database import Database
from blofin_agent.store.errors import StoreUnavailable
from blofin_agent.store.maintenance import Maintenance
from blofin_agent.store.tables import backfill_runs
from blofin_agent.store.tables.fleet import AgentIdentity
from blofin_agent.web.app import create_app
from blofin_agent.web.listen import access
from blofin_agent.web.server import serve
from blofin_agent.wiring import Services, build_services
from blofin_agent.writers.trade_writer import TradeWriter

log = structlog.get_logger()

MAX_PAGE_TRIES = 8
"""How often the agent asks for one page before it goes on to the next symbol."""
SWITCH_INTERVAL_S = 0.001
"""A thread that renders lets the event loop have Python's lock after so long. With the 5 ms that
are usual, each look at a socket costs the loop as much while a scrape is rendered."""


async def run(
    settings: Settings,
    store: Database,
    client: httpx.AsyncClient,
    bound: socket.socket,
    announce: Callable[[], None],
) -> None:
    """Run the agent until SIGINT or SIGTERM. `bound`: where the page and /metrics are served.

    `announce` is called once signals are heeded and the socket is served. An unexpected error of
    any task ends them all and is raised.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    parts = build_services(
        settings,
        store,
        client,
        tries=MAX_PAGE_TRIES,
        what_next="keep retrying; the page and /metrics stay up. Without a route to BloFin, "
        "`make demo` shows the agent at work",
    )
    snapshotter = StatusSnapshotter(
        parts.tracker,
        parts.metrics,
        parts.rate_limiter.shared_budget,
        parts.passes,
        parts.trouble,
        lambda: _not_ready(parts),
        version=__version__,
        where=store.where,
    )
    ticks = None
    if settings.blofin_store_ticks:
        days = settings.ticks_retention_days
        ticks = TradeWriter(store, parts.tracker, parts.writer, parts.metrics, days)
    store_reader = StoreReader(store.reader(), parts.tracker.bar)
    # It takes longer than the event loop may be held.
    site = await trio.to_thread.run_sync(
        create_app, parts.metrics.registry, snapshotter, store_reader, access(settings, bound)
    )
    name = f"{socket.gethostname()}:{bound.getsockname()[1]}"
    fleet = _fleet(settings, store, parts, bound)
    stop, stopped = ShutdownState(store.lines.close_all), trio.Event()
    async with trio.open_nursery() as servers:
        async with run_until_signal(stop) as producers:
            await servers.start(serve, site.app, bound, stopped.wait)
            servers.start_soon(parts.writer.run)
            producers.start_soon(_produce, settings, store, parts, snapshotter, ticks, fleet)
            announce()
            log.info(
                "agent started",
                version=__version__,
                agent=name,
                database=store.where,
                configured_symbols=",".join(settings.blofin_symbols),
                bar=settings.backfill_timeframe.value,
                lookback_hours=settings.backfill_lookback_hours,
            )
            await trio.sleep_forever()
        servers.cancel_scope.deadline = trio.current_time() + DRAIN_TIMEOUT_S
        await parts.writer.close()
        if ticks is not None:
            servers.start_soon(ticks.drain)
        if fleet is not None:
            servers.start_soon(fleet.leave)
        site.close()
        stopped.set()
    stop.done()
    log.info("agent stopped", note="all counted candles are saved")


def _fleet(
    settings: Settings, store: Database, parts: Services, bound: socket.socket
) -> FleetMembership | None:
    """Return our place among the agents that share the store; a SQLite file has one agent."""
    if store.engine.dialect.name == "sqlite":
        return None
    host, port = socket.gethostname(), bound.getsockname()[1]
    me = AgentIdentity(
        f"{host}:{port}",
        parts.tracker.clock(),
        _note(),
        settings.egress,
        parts.tracker.bar,
        settings.blofin_symbols,
        f"http://{host}:{port}",
    )
    parts.universe.owned = frozenset()
    fleet = FleetMembership(store, me, parts.universe)
    parts.rate_limiter.shared_budget.neighbours = lambda: fleet.neighbours
    interval_s, shared_budget = (
        settings.backfill_interval_minutes * 60,
        parts.rate_limiter.shared_budget,
    )
    parts.tracker.fleet_status = lambda: fleet.fleet_status(interval_s, shared_budget.limits()[-1])
    return fleet


def _note() -> str:
    return f"pid {os.getpid()} on {socket.gethostname()}"


async def _produce(
    settings: Settings,
    store: Database,
    parts: Services,
    snapshotter: StatusSnapshotter,
    ticks: TradeWriter | None,
    fleet: FleetMembership | None,
) -> None:
    """Read what is stored, then run all that brings candles in, and ticks if they are kept."""
    await _load(store, parts)
    freeze_garbage_collector()
    parts.tracker.loaded = True
    parts.passes.succeeded = partial(last_success.remember, store)
    ingest = ConnectionManager(
        settings.blofin_ws_url,
        parts.tracker,
        parts.writer,
        parts.metrics,
        parts.rate_limiter,
        parts.trouble,
        ticks=ticks,
    )
    snapshotter.links = ingest.links.all
    ingest.add(parts.tracker.histories)
    # The first pass will come to all of them: healing leaves it what is older than this moment.
    parts.gap_filler.queued |= set(parts.tracker.histories)
    healer = RecentGapFiller(parts.gap_filler, parts.tracker, parts.trouble)
    reconciler = CoverageReconciler(
        store,
        parts.tracker,
        parts.writer,
        parts.rate_limiter,
        parts.metrics,
        # Where there is a fleet, that says who lives.
        "" if fleet else _note(),
        parts.passes.wake,
    )

    parts.metrics.database_outage.recounting = reconciler.behind

    def changed(added: list[str], removed: list[str]) -> None:
        ingest.add(added)
        for symbol in removed:
            ingest.drop(symbol)
        if added:
            freeze_garbage_collector()
            parts.passes.wake()

    parts.rate_limiter.back = parts.passes.wake_if_left
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reconciler.run)
        upkeep = Maintenance(store, parts.tracker.clock, settings.retention_days)
        nursery.start_soon(upkeep.run)
        if fleet is not None:
            keep = partial(parts.universe.keep, changed=changed)
            nursery.start_soon(fleet.run, keep)
        nursery.start_soon(ingest.run)
        if ticks is not None:
            nursery.start_soon(ticks.run)
        asked = trio.Event()
        nursery.start_soon(parts.universe.run, changed, asked)
        # Before BloFin was asked when its symbols were listed, too much would be called missing.
        await asked.wait()
        if fleet is not None:
            # A pass over no symbol would be called a success.
            await fleet.settled.wait()
        nursery.start_soon(healer.run)
        nursery.start_soon(parts.passes.run, settings.backfill_interval_minutes * 60)


async def _load(store: Database, parts: Services) -> None:
    backoff = Backoff(longest_s=5)
    while True:
        try:
            await parts.universe.load()
            tracker = parts.tracker
            last = partial(
                backfill_runs.latest_of_each, bar=tracker.bar, symbols=list(tracker.histories)
            )
            tracker.last_runs |= await store.read("load", last)
            await last_success.recall(store, parts.metrics)
        except StoreUnavailable:
            await store.pause(backoff.next())
        else:
            return


def _not_ready(parts: Services) -> list[str]:
    reasons = []
    fleet_status = parts.tracker.fleet_status() if parts.tracker.fleet_status else None
    if fleet_status and not fleet_status.joined:
        reasons.append("the symbols are being shared out among the agents on this database")
    elif fleet_status and not fleet_status.holds:
        reasons.append(STALE_REASON)
    if not parts.tracker.loaded or parts.metrics.database_outage.recounting():
        reasons.append("the stored candles are being counted")
    elif not parts.tracker.histories and not (fleet_status and parts.universe.listed):
        reasons.append("no symbol is known yet: BloFin's list of instruments was not read")
    if parts.metrics.database_outage:
        reasons.append("the database cannot be used now")
    return reasons
