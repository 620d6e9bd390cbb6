"""A site over a watch of two symbols, with stand-ins for what asks BloFin and the store."""

from dataclasses import dataclass, field

import httpx
import pytest
import trio

from blofin_agent.coverage.tracker import CoverageTracker
from blofin_agent.domain.backfill_run import BackfillRun, RunStatus, RunTrigger
from blofin_agent.domain.bar_set import BarSet
from blofin_agent.domain.candle import MINUTE, Timeframe
from blofin_agent.domain.rate_limit import Suspension, limits_at
from blofin_agent.domain.symbol_coverage import SymbolCoverage
from blofin_agent.observability.metrics import Metrics
from blofin_agent.observability.outage import Outage
from blofin_agent.status.snapshot import StatusSnapshotter
from blofin_agent.status.store_reader import StoreReadError
from blofin_agent.store.tables.candles import StoredCandle
from blofin_agent.web.access_control import AccessPolicy
from blofin_agent.web.app import create_app
from blofin_agent.web.listen import bind
from blofin_agent.web.server import serve


@dataclass
class Allowance:
    """What the allowance tells."""

    requests: dict[str, int] = field(default_factory=lambda: {"60s": 12, "300s": 34})
    suspension: Suspension = field(default_factory=Suspension)
    until: int = 0

    def used(self):
        return self.requests

    def suspended_until(self):
        return self.until

    def share(self):
        return self.suspension.share

    def limits(self):
        return limits_at(self.share())


@dataclass
class Passes:
    """What the passes tell."""

    working: bool = False
    next_at: int | None = None
    eta_s: float = 40.0

    def eta(self):
        return self.eta_s


@dataclass
class Archive:
    """Runs and candles in memory; `away` is why they cannot be read."""

    past: list[BackfillRun] = field(default_factory=list)
    stored: dict[str, list[StoredCandle]] = field(default_factory=dict)
    away: str = ""

    async def runs(self, most, *, symbols=None, statuses=None, before=None):
        await self._read()
        found = [
            run
            for run in reversed(self.past)
            if (symbols is None or run.symbol in symbols)
            and (statuses is None or run.status in statuses)
            and (before is None or run.id < before)
        ]
        return found[:most]

    async def candles(self, symbol, span, most):
        await self._read()
        rows = self.stored.get(symbol, ())
        return [row for row in rows if span.start <= row.open_time < span.end][:most]

    async def _read(self):
        await trio.lowlevel.checkpoint()
        if self.away:
            raise StoreReadError(self.away)


class Site:
    """The site, and all that it asks."""

    def __init__(self, end, access=None, bar=Timeframe.M1):
        self.end = end
        self.now = end + 15_000
        self.tracker = CoverageTracker(bar, 1, 15_000, lambda: self.now)
        self.metrics = Metrics(self.tracker, "1.2.3", "sqlite")
        self.shared_budget, self.passes, self.store_reader = Allowance(), Passes(), Archive()
        self.trouble = Outage("it is away", "it is back", "it goes on")
        self.reasons = []
        for symbol in ("BTC-USDT", "ETH-USDT"):
            self.add(symbol)
        self.snapshotter = StatusSnapshotter(
            self.tracker,
            self.metrics,
            self.shared_budget,
            self.passes,
            self.trouble,
            lambda: self.reasons,
            version="1.2.3",
            where="data/blofin.db",
        )
        site = create_app(
            self.metrics.registry,
            self.snapshotter,
            self.store_reader,
            access or AccessPolicy(names=("agent",)),
        )
        self.app, self.close = site.app, site.close

    def add(self, symbol):
        history = self.tracker.histories[symbol] = SymbolCoverage(symbol, self.tracker.bar)
        self.metrics.add_symbol(symbol)
        return history

    def hold(self, symbol, *, but=()):
        """Hold all minutes of the window's hour but those so many minutes before its end."""
        held = {self.end - ago * MINUTE for ago in range(1, 61) if ago not in but}
        history = self.tracker.histories[symbol]
        history.held = BarSet.of(history.bar, held)
        self.tracker.loaded = True
        return history

    def ran(self, symbol, status=RunStatus.COMPLETE, note="", **figures):
        """Let a run have ended now."""
        run = BackfillRun(symbol, "1m", RunTrigger.PERIODIC, self.now - 2_000, self.now, **figures)
        run.status, run.note, run.id = status, note, len(self.store_reader.past) + 1
        self.store_reader.past.append(run)
        self.tracker.last_runs[symbol] = run
        return run


@pytest.fixture
def site(end):
    return Site(end)


@pytest.fixture
def make_site(end):
    """Return a function that makes a site with another access or bar."""
    return lambda **how: Site(end, **how)


@pytest.fixture
async def http(site, nursery):
    """Serve the site under hypercorn on a free port; yield a client for it."""
    bound = bind("127.0.0.1", 0)
    port = bound.getsockname()[1]
    stop = trio.Event()
    await nursery.start(serve, site.app, bound, stop.wait)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        yield client
    site.close()
    stop.set()


@pytest.fixture
async def client_of():
    """Return a function that gives a client of an app, without a socket."""
    clients = []

    def client(app, host="agent"):
        made = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=f"http://{host}")
        clients.append(made)
        return made

    yield client
    for each in clients:
        await each.aclose()
