"""Agent: puts the parts together; what runs beside what, signals, shutdown."""

import math
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import httpx
import structlog
import trio

from blofin_agent import __version__, success
from blofin_agent.archive import Archive
from blofin_agent.backfill import Filler
from blofin_agent.board import Board
from blofin_agent.clock import wall_ms
from blofin_agent.config import Settings
from blofin_agent.exchange.rest import Rest
from blofin_agent.heal import Healer
from blofin_agent.ingest import Ingest
from blofin_agent.listen import access
from blofin_agent.metrics import Metrics
from blofin_agent.pager import Pager
from blofin_agent.passes import Passes, Policy
from blofin_agent.reconcile import Reconciler
from blofin_agent.retry import Backoff
from blofin_agent.roster import Roster
from blofin_agent.stopping import DRAIN_S, Stop, until_signal
from blofin_agent.store import runs
from blofin_agent.store.engine import Store
from blofin_agent.store.errors import StoreUnavailable
from blofin_agent.throttle import Throttle
from blofin_agent.ticks import Ticks
from blofin_agent.trouble import Trouble
from blofin_agent.watch import Watch
from blofin_agent.web.app import create_app
from blofin_agent.web.serve import serve
from blofin_agent.writer import Writer

log = structlog.get_logger()

TRIES = 8
"""How often the agent asks for one page before it goes on to the next symbol."""


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

    `what_next`: what to say is done when BloFin is away. `store_patience_s`: how long a database
    that is away is waited for.
    """
    watch = Watch(
        settings.backfill_timeframe,
        settings.backfill_lookback_hours,
        int(settings.coverage_settle_seconds * 1000),
        clock,
    )
    metrics = Metrics(watch, __version__, store.engine.dialect.name)
    metrics.interval.set(settings.backfill_interval_minutes * 60)
    store.observer = metrics.store_operation
    trouble = Trouble(what_next, "all is well again between the agent and BloFin")
    spacing_ms = settings.backfill_request_sleep_ms
    throttle = Throttle(
        Rest(client, clock), store, metrics, clock, spacing_ms, trouble, store_patience_s
    )
    writer = Writer(store, watch, metrics, patience_s=store_patience_s)
    pager = Pager(throttle, metrics, clock, settings.backfill_batch_limit)
    filler = Filler(pager, store, watch, writer, metrics, tries)
    policy = Policy(
        settings.backfill_skip_coverage,
        settings.backfill_top_up,
        settings.backfill_symbol_sleep_ms / 1000,
        spacing_ms,
    )
    passes = Passes(filler, watch, metrics, policy)
    metrics.used, metrics.suspended_until = throttle.used, throttle.suspended_until
    metrics.eta = passes.eta
    roster = Roster(settings.blofin_symbols, store, watch, metrics, throttle)
    return Parts(watch, metrics, trouble, throttle, writer, filler, passes, roster)


async def run(
    settings: Settings,
    store: Store,
    client: httpx.AsyncClient,
    bound: socket.socket,
    announce: Callable[[], None],
) -> None:
    """Run the agent until SIGINT or SIGTERM. `bound`: where the page and /metrics are served.

    `announce` is called once signals are heeded and the socket is served. An unexpected error of
    any task ends them all and is raised.
    """
    parts = assemble(
        settings,
        store,
        client,
        tries=TRIES,
        what_next="the agent keeps trying, and the page and /metrics stay up; without a route to "
        "BloFin, `make demo` shows the agent at work",
    )
    board = Board(
        parts.watch,
        parts.metrics,
        parts.throttle,
        parts.passes,
        parts.trouble,
        lambda: _not_ready(parts),
        version=__version__,
        where=store.where,
    )
    ticks = None
    if settings.blofin_store_ticks:
        days = settings.ticks_retention_days
        ticks = Ticks(store, parts.watch, parts.writer, parts.metrics, days)
    archive = Archive(store.reader(), parts.watch.bar)
    site = create_app(parts.metrics.registry, board, archive, access(settings, bound))
    stop, stopped = Stop(), trio.Event()
    async with trio.open_nursery() as servers:
        async with until_signal(stop) as producers:
            await servers.start(serve, site.app, bound, stopped.wait)
            servers.start_soon(parts.writer.run)
            producers.start_soon(_produce, settings, store, parts, board, ticks)
            announce()
            await trio.sleep_forever()
        servers.cancel_scope.deadline = trio.current_time() + DRAIN_S
        await parts.writer.close()
        if ticks is not None:
            servers.start_soon(ticks.drain)
        site.close()
        stopped.set()
    stop.done()
    log.info("stopped; every candle counted is stored")


async def _produce(
    settings: Settings, store: Store, parts: Parts, board: Board, ticks: Ticks | None
) -> None:
    """Read what is stored, then run all that brings candles in, and ticks if they are kept."""
    await _load(store, parts)
    parts.watch.loaded = True
    parts.passes.succeeded = partial(success.remember, store)
    ingest = Ingest(
        settings.blofin_ws_url,
        parts.watch,
        parts.writer,
        parts.metrics,
        parts.throttle,
        parts.trouble,
        ticks=ticks,
    )
    board.links = ingest.links.all
    ingest.add(parts.watch.histories)
    # The first pass will come to all of them: healing leaves it what is older than this moment.
    parts.filler.queued |= set(parts.watch.histories)
    healer = Healer(parts.filler, parts.watch, parts.trouble)
    note = f"pid {os.getpid()} on {socket.gethostname()}"
    reconciler = Reconciler(
        store, parts.watch, parts.writer, parts.throttle, parts.metrics, note, parts.passes.wake
    )

    def changed(added: list[str], removed: list[str]) -> None:
        ingest.add(added)
        for symbol in removed:
            ingest.drop(symbol)
        if added:
            parts.passes.wake()

    parts.throttle.back = parts.passes.wake_if_left
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reconciler.run)
        nursery.start_soon(ingest.run)
        if ticks is not None:
            nursery.start_soon(ticks.run)
        asked = trio.Event()
        nursery.start_soon(parts.roster.run, changed, asked)
        # Before BloFin was asked when its symbols were listed, too much would be called missing.
        await asked.wait()
        nursery.start_soon(healer.run)
        nursery.start_soon(parts.passes.run, settings.backfill_interval_minutes * 60)


async def _load(store: Store, parts: Parts) -> None:
    backoff = Backoff(longest_s=15)
    while True:
        try:
            await parts.roster.load()
            watch = parts.watch
            last = partial(runs.latest_of_each, bar=watch.bar, symbols=list(watch.histories))
            watch.last_runs |= await store.read("load", last)
            await success.recall(store, parts.metrics)
        except StoreUnavailable:
            await trio.sleep(backoff.next())
        else:
            return


def _not_ready(parts: Parts) -> list[str]:
    reasons = []
    if not parts.watch.loaded:
        reasons.append("the stored candles are being counted")
    elif not parts.watch.histories:
        reasons.append("no symbol is known yet: BloFin's list of instruments was not read")
    if parts.metrics.store_trouble:
        reasons.append("the database cannot be used now")
    return reasons
