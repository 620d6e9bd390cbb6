"""What the laws share: a clock that jumps, a store, and a BloFin in memory with a script.

The clock is trio's MockClock, moved on to the next deadline whenever every task is blocked and no
worker thread is at work. So the real store, in its threads, runs in exact virtual time.
"""

import io
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import hypothesis
import pytest
import sqlalchemy as sa
import structlog
import trio
from trio.testing import MockClock, memory_stream_pair
from trio_websocket import ConnectionClosed, wrap_server_stream

from blofin_agent.backfill.gap_filler import GapFiller
from blofin_agent.backfill.page_fetcher import PageFetcher
from blofin_agent.backfill.recent_gap_filler import RecentGapFiller
from blofin_agent.backfill.scheduler import BackfillScheduler, PassPolicy
from blofin_agent.coverage.reconciler import CoverageReconciler
from blofin_agent.coverage.symbol_universe import SymbolUniverse
from blofin_agent.coverage.tracker import CoverageTracker
from blofin_agent.domain.bar_set import BarSet
from blofin_agent.domain.candle import DAY, MINUTE, Candle, Timeframe
from blofin_agent.domain.candle_page import CandlePage
from blofin_agent.domain.errors import ExchangeError, RequestRejected, Unreachable
from blofin_agent.domain.instrument import Instrument
from blofin_agent.domain.page_plan import PageRequest
from blofin_agent.domain.symbol_coverage import SymbolCoverage
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.exchange import websocket_session
from blofin_agent.observability import log_setup
from blofin_agent.observability.metrics import Metrics
from blofin_agent.observability.outage import Outage
from blofin_agent.protocol.instruments import parse_instruments
from blofin_agent.protocol.rest import parse_page
from blofin_agent.ratelimit.limiter import RateLimiter
from blofin_agent.store.database import Database, open_store
from blofin_agent.store.timing import DEFAULT, StoreTiming
from blofin_agent.writers.candle_writer import CandleWriter
from tests import postgres as servers
from tests import programs, shared
from tests.pace import REAL, jump
from tests.postgres import Server

pytest_plugins = ["tests.suite"]

# Without a deadline: a busy machine is no broken law. The suite draws the same examples each time,
# so that neither its outcome nor its coverage depends on chance.
hypothesis.settings.register_profile(
    "suite", deadline=None, max_examples=200 if REAL else 60, derandomize=not REAL
)
hypothesis.settings.load_profile("suite")

END = 1_790_000_000_000 // MINUTE * MINUTE
"""Where the window ends when a test begins."""
NOW = END + 15_000
"""The wall clock (ms) when a test begins: the last candle has just settled."""


@dataclass
class Wall:
    """A wall clock in ms that goes with trio's virtual one; may be read in any thread."""

    virtual: MockClock
    ahead_ms: int = 0
    limiters: list[trio.CapacityLimiter] = field(default_factory=list)
    """Whose threads hold time still while they work."""

    def __call__(self) -> int:
        return NOW + self.ahead_ms + round(self.virtual.current_time() * 1000)


def _run(main, *, clock=None, instruments=()):
    return trio.run(main, clock=clock or MockClock(), instruments=instruments)


def pytest_collection_modifyitems(items) -> None:
    """Run the tests that ask for the wall clock in virtual time."""
    for item in items:
        if "wall" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.trio(run=_run))


@pytest.fixture
async def wall(nursery: trio.Nursery) -> Wall:
    """Let time jump from deadline to deadline while no thread works; return the wall clock."""
    virtual = trio.lowlevel.current_clock()
    assert isinstance(virtual, MockClock)
    wall = Wall(virtual)
    wall.limiters.append(trio.to_thread.current_default_thread_limiter())

    nursery.start_soon(jump, virtual, wall.limiters)
    return wall


@pytest.fixture(scope="session")
def debian() -> Callable[[str], str]:
    """Return a function that finds a program of Debian's packages; without it the test is left out.

    Where BLOFIN_REQUIRE_DEBIAN is set, as in CI, the test fails instead.
    """
    return programs.find


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "blofin.db"
    open_store(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def database_file(tmp_path: Path, empty_database: Path) -> str:
    """Return the URL of a fresh database file."""
    return f"sqlite:///{shutil.copy(empty_database, tmp_path / 'blofin.db')}"


@pytest.fixture
def database(request: pytest.FixtureRequest) -> str:
    """Return the URL of a fresh database, of the engine that the test is tried on."""
    name = "postgres_database" if getattr(request, "param", "") == "postgresql" else "database_file"
    return request.getfixturevalue(name)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory, worker_id: str) -> Server:
    """Return the PostgreSQL server of all workers; nobody may stop it or change its settings.

    Without one the test is left out, or fails where CI wants it.
    """
    if not servers.is_there():
        programs.needs("initdb")
    return shared.server(shared.folder(tmp_path_factory), worker_id)


@pytest.fixture(scope="session")
def postgres_template(postgres: Server) -> str:
    """Return the name of a database with our schema and nothing in it."""
    return postgres.with_schema()


@pytest.fixture
def postgres_database(postgres: Server, postgres_template: str) -> Iterator[str]:
    """Return the URL of a fresh database on a PostgreSQL server."""
    name = postgres.database(postgres_template)
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture
def timing(request: pytest.FixtureRequest) -> StoreTiming:
    """Return how long the store waits: as always, or as the test's marker `timing` says."""
    marker = request.node.get_closest_marker("timing")
    changes = {"busy_s": 0, "lock_s": 0.1} if "impatient" in request.fixturenames else {}
    return replace(DEFAULT, **changes | (marker.kwargs if marker else {}))


@pytest.fixture
def store(database: str, timing: StoreTiming) -> Iterator[Database]:
    store = open_store(database, timing=timing)
    yield store
    store.close()


@pytest.fixture
def impatient() -> None:
    """Let the store give up at once when another program keeps the database locked."""


@pytest.fixture
def locker(impatient, store: Database) -> Iterator[sqlite3.Connection]:
    """Return another program's connection, to lock the database with."""
    with closing(sqlite3.connect(store.where, isolation_level=None)) as connection:
        yield connection


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """Undo what a command run inside a test did to the log, which is one for the process."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def events() -> Iterator[Callable[[str], list[dict]]]:
    """Return a function that gives the log's events of a level, with their fields as written."""

    def of_level(level: str) -> list[dict]:
        found = [dict(one) for one in entries if one["log_level"] == level]
        return [log_setup._in_one_line(None, "", one | {"log_level": None}) for one in found]

    with structlog.testing.capture_logs() as entries:
        yield of_level


@pytest.fixture
def lines(events) -> Callable[[str], list[str]]:
    """Return a function that gives the log's lines of a level for a person, without the time."""
    write = log_setup._console(io.StringIO())
    return lambda level: [write(None, level, one) for one in events(level)]


# -- a BloFin in memory ---------------------------------------------------------------------------


class Exchange:
    """BloFin in memory behind the method names of `Rest`: every minute has a row, save `holes`.

    `script` holds what the next requests meet: an error to raise, a function that changes the
    rows, or None. Answers go through the real parser.
    """

    def __init__(self, wall: Wall) -> None:
        self.wall = wall
        self.last_sent = -1.0
        self.log: list[tuple[int, str, PageRequest | None]] = []
        self.script: list[ExchangeError | Callable[[list[list[str]]], list[list[str]]] | None] = []
        self.latency_s = 0.0
        self.fails: set[str] = set()
        self.longest = 1_440
        self.refuse_above = 1_440
        self.listed: dict[str, int | None] = {"BTC-USDT": END - 900 * DAY}
        self.holes: dict[str, set[int]] = {}

    def requests(self, symbol: str = "BTC-USDT") -> list[PageRequest]:
        return [page for _, name, page in self.log if name == symbol]

    def limits(self) -> list[int]:
        return [page.limit for _, _, page in self.log if page]

    async def candles(
        self, symbol: str, bar: Timeframe, page: PageRequest, wanted: TimeRange, closed_before: int
    ) -> CandlePage:
        change = await self._next(symbol, page)
        if symbol not in self.listed:
            raise RequestRejected("152014", "Instrument does not exist")
        if page.limit > self.refuse_above:
            raise RequestRejected("152002", "Parameter limit error")
        rows = list(self._rows(symbol, bar, page))
        return parse_page(_body(change(rows) if change else rows), bar, wanted, closed_before)

    async def instruments(self) -> list[Instrument]:
        change = await self._next("instruments", None)
        rows = [
            {"instId": name, "listTime": None if at is None else str(at), "state": "live"}
            for name, at in self.listed.items()
        ]
        return parse_instruments(_body(change(rows) if change else rows))

    async def _next(self, name: str, page: PageRequest | None):
        self.last_sent = trio.current_time()
        self.log.append((self.wall(), name, page))
        await trio.sleep(self.latency_s)
        event = self.script.pop(0) if self.script else None
        if isinstance(event, ExchangeError):
            raise event
        if name in self.fails:
            raise Unreachable("no route")
        return event

    def _rows(self, symbol: str, bar: Timeframe, page: PageRequest) -> Iterator[list[str]]:
        open_now = bar.floor(self.wall())
        time = min(bar.floor(page.after - 1), open_now)
        left = min(page.limit, self.longest)
        while left and time >= (self.listed[symbol] or 0):
            if time not in self.holes.get(symbol, ()):
                yield wire(time, "1" if time < open_now else "0")
                left -= 1
            time -= bar.ms


def wire(time: int, confirm: str = "1") -> list[str]:
    return [str(time), "2.5", "3", "1", "2", "10", "0.5", "20", confirm]


def _body(data: object) -> bytes:
    return json.dumps({"code": "0", "msg": "success", "data": data}).encode()


@pytest.fixture
async def exchange(wall: Wall) -> Exchange:
    return Exchange(wall)


# -- the middle, joined ---------------------------------------------------------------------------


@dataclass
class House:
    """The parts of the agent, joined around a store and an exchange in memory."""

    wall: Wall
    exchange: Exchange
    store: Database
    hours: int = 168
    symbols: tuple[str, ...] = ("BTC-USDT",)
    limit: int = 1_440
    spacing_ms: int = 0
    tries: int = 3
    top_up: bool = True
    skip_coverage: float = 0.995
    symbol_sleep_s: float = 0.0
    at_once: int = 1
    capacity: int = 10_000
    tracker: CoverageTracker = field(init=False)

    def __post_init__(self) -> None:
        self.wall.limiters.append(self.store.limiter)
        self.tracker = CoverageTracker(Timeframe.M1, self.hours, 15_000, self.wall)
        self.metrics = Metrics(self.tracker, "1.2.3", "sqlite")
        self.store.observer = self.metrics.store_operation
        self.trouble = Outage("it is away", "it is back", "it goes on")
        self.rate_limiter = RateLimiter(
            self.exchange, self.store, self.metrics, self.wall, self.spacing_ms, self.trouble
        )
        self.shared_budget = self.rate_limiter.shared_budget
        self.metrics.used = self.shared_budget.used
        self.metrics.suspended_until = self.shared_budget.suspended_until
        self.metrics.share = self.shared_budget.share
        self.writer = CandleWriter(self.store, self.tracker, self.metrics, self.capacity)
        self.page_fetcher = PageFetcher(self.rate_limiter, self.metrics, self.wall, self.limit)
        self.gap_filler = GapFiller(
            self.page_fetcher, self.store, self.tracker, self.writer, self.metrics, self.tries
        )
        policy = PassPolicy(
            self.skip_coverage, self.top_up, self.symbol_sleep_s, self.spacing_ms, self.at_once
        )
        self.passes = BackfillScheduler(self.gap_filler, self.tracker, self.metrics, policy)
        self.metrics.eta = self.passes.eta
        self.universe = SymbolUniverse(
            self.symbols, self.store, self.tracker, self.metrics, self.rate_limiter
        )
        self.reconciler = CoverageReconciler(
            self.store,
            self.tracker,
            self.writer,
            self.rate_limiter,
            self.metrics,
            "a test",
            self.passes.wake,
        )

    def add(self, symbol: str, *, list_time: int | None = None) -> SymbolCoverage:
        """Watch a symbol of which nothing is held; BloFin lists it."""
        history = SymbolCoverage(symbol, Timeframe.M1, list_time)
        self.exchange.listed.setdefault(symbol, END - 900 * DAY)
        self.tracker.histories[symbol] = history
        self.metrics.add_symbol(symbol)
        self.tracker.loaded = True
        return history

    def healer(self) -> RecentGapFiller:
        return RecentGapFiller(self.gap_filler, self.tracker, self.trouble)

    def figure(self, name: str, **labels: str) -> float | None:
        """Return a series' value as a scrape would show it."""
        return self.metrics.registry.get_sample_value(name, labels)

    def rows(self, query: str) -> list[tuple]:
        """Read the database as a user would, in a connection of its own."""
        with self._engine().connect() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(query)]

    def other(self, *statements: str) -> None:
        """Change the database as another process would."""
        with self._engine().begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def _engine(self) -> sa.Engine:
        return sa.create_engine(self.store.engine.url, poolclass=sa.NullPool)


@pytest.fixture
async def house(
    wall: Wall, exchange: Exchange, store: Database, nursery: trio.Nursery
) -> Callable[..., House]:
    """Return a function that joins the parts; its writer runs, and BTC-USDT is watched."""

    def build(*, writing: bool = True, watched: Iterable[str] = ("BTC-USDT",), **how) -> House:
        house = House(wall, exchange, store, **how)
        for symbol in watched:
            house.add(symbol)
        if writing:
            nursery.start_soon(house.writer.run)
        return house

    return build


@pytest.fixture
def hold() -> Callable[..., None]:
    """Return a function that makes all bars of a span held, in memory only."""

    def hold(history: SymbolCoverage, span: TimeRange, *, but: Iterable[int] = ()) -> None:
        times = set(range(span.start, span.end, history.bar.ms)) - set(but)
        history.held = BarSet.of(history.bar, times)

    return hold


@pytest.fixture
def candle() -> Callable[[int], Candle]:
    """Return a function that makes the candle of an open time."""
    return lambda time: Candle(time, 2.5, 3.0, 1.0, 2.0, 10.0, 0.5, 20.0)


@pytest.fixture
def end() -> int:
    return END


@pytest.fixture(name="wire")
def wire_row() -> Callable[..., list[str]]:
    return wire


# -- the other end of the websocket ---------------------------------------------------------------


class Line:
    """BloFin's end of one websocket connection, as a script sees it."""

    def __init__(self, connection, heard: list[tuple[float, object]]) -> None:
        self._connection = connection
        self._heard = heard

    async def hear(self) -> object:
        """Return the next message: a document, or the text `ping`."""
        text = await self._connection.get_message()
        message = text if text == "ping" else json.loads(text)
        self._heard.append((trio.current_time(), message))
        return message

    async def say(self, message: object) -> None:
        text = message if isinstance(message, str) else json.dumps(message)
        await self._connection.send_message(text)

    async def push(self, symbol: str, *rows: object, channel: str = "candle1m") -> None:
        await self.say({"arg": {"channel": channel, "instId": symbol}, "data": list(rows)})

    async def obey(self, *, pong: bool = True, refuse: Iterable[str] = ()) -> None:
        """Acknowledge every subscription and answer every ping, for ever."""
        while True:
            message = await self.hear()
            if message == "ping":
                if pong:
                    await self.say("pong")
                continue
            for arg in message["args"]:
                if arg["instId"] in refuse:
                    text = f"Invalid request: {arg}"
                    await self.say({"event": "error", "code": "60012", "msg": text})
                else:
                    await self.say({"event": message["op"], "arg": arg})

    async def close(self, code: int, reason: str) -> None:
        await self._connection.aclose(code, reason)


class Peer:
    """BloFin's websocket over streams in memory. `script`: what each connection meets.

    An integer is the HTTP status of a refused handshake; "hang up" closes before it; an error is
    raised in place of a connection; a function of a Line plays BloFin, and the line is cut when it
    returns. The last one of the script is met again and again.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self.script: list = [Line.obey]
        self.connects: list[float] = []
        self.heard: list[tuple[float, object]] = []
        self.urls: list[str] = []
        self.paths: list[str] = []
        self._nursery = nursery
        self._plug = trio.lowlevel.checkpoint

    async def connect(self, url: str, _timing: object) -> trio.abc.Stream:
        self.connects.append(trio.current_time())
        self.urls.append(url)
        event = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(event, Exception):
            raise event
        ours, theirs = memory_stream_pair()
        pump = ours.send_stream.send_all_hook

        async def send() -> None:
            await self._plug()
            await pump()

        ours.send_stream.send_all_hook = send
        self._nursery.start_soon(self._serve, theirs, event)
        return ours

    async def _serve(self, stream: trio.abc.Stream, event) -> None:
        if event == "hang up":
            await trio.aclose_forcefully(stream)
            return
        try:
            async with trio.open_nursery() as nursery:
                request = await wrap_server_stream(nursery, stream, message_queue_size=1)
                self.paths.append(request.path)
                if isinstance(event, int):
                    await request.reject(event)
                else:
                    await event(Line(await request.accept(), self.heard))
                await trio.aclose_forcefully(stream)
                nursery.cancel_scope.cancel()
        except* (ConnectionClosed, trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    def plug(self) -> None:
        """Take nothing more that is sent, as a peer whose buffers are full."""
        self._plug = trio.sleep_forever

    def subscribed(self) -> list[tuple[float, list[str]]]:
        """Return when which symbols were subscribed, message by message."""
        return self._said("subscribe")

    def unsubscribed(self) -> list[tuple[float, list[str]]]:
        return self._said("unsubscribe")

    def _said(self, op: str) -> list[tuple[float, list[str]]]:
        return [
            (at, [arg["instId"] for arg in message["args"]])
            for at, message in self.heard
            if message != "ping" and message["op"] == op
        ]

    def pings(self) -> list[float]:
        return [at for at, message in self.heard if message == "ping"]


@pytest.fixture
async def peer(nursery: trio.Nursery, monkeypatch) -> Peer:
    peer = Peer(nursery)
    monkeypatch.setattr(websocket_session, "_connect", peer.connect)
    return peer
