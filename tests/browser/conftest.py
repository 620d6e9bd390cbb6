"""A real Chromium, Debian's own, before a real agent that a real simulator feeds."""

import time
import urllib.request
from datetime import UTC, datetime

import pytest

from blofin_agent.domain.candle import HOUR, MINUTE, CandleBatch, Source, Timeframe
from blofin_agent.domain.instrument import Instrument
from blofin_agent.domain.time_range import window_at
from blofin_agent.store.database import open_store
from blofin_agent.store.tables import candles, instruments
from tests.processes import Place, end, settings, start_agent, start_simulator, until

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
HOURS = 6
WITHHELD, HOLED = "ETH-USDT", "SOL-USDT"
LISTED = "XRP-USDT"
SYMBOLS = f"BTC-USDT,{WITHHELD},{HOLED}"


@pytest.fixture(scope="session")
def chromium(debian):
    """A browser for all tests; left out without Debian's chromium."""
    path = debian("chromium")
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only where it is used

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


class Scene:
    """An agent beside a simulator: one symbol stopped two hours ago, one with holes of BloFin's."""

    def __init__(self, folder, processes, symbols=SYMBOLS, hours=HOURS, holes=0.0, **env):
        self.processes = processes
        self.place = Place(
            folder,
            settings(
                **{
                    "BLOFIN_SYMBOLS": symbols,
                    "BACKFILL_LOOKBACK_HOURS": str(hours),
                    "COVERAGE_SETTLE_SECONDS": "2",
                    **env,
                }
            ),
        )
        self.simulator = start_simulator(self.place, symbols, holes=holes, options=("--no-limits",))
        processes.append(self.simulator.process)
        self.agent = None

    def start(self, **env):
        self.agent = start_agent(self.place, started=self.processes, **env)
        return self.agent

    def withhold(self, symbol, *, since=None):
        """Stop giving a symbol; without `since` (ms), give it again."""
        url = f"{self.simulator.rest_url}/control/faults/withhold?symbol={symbol}"
        if since is not None:
            url += f"&since={since}"
        method = "DELETE" if since is None else "PUT"
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=10):
            pass

    def filled(self):
        """Wait until a pass has ended in which no symbol failed."""
        until(lambda: self.agent.samples()["blofin_backfill_last_success_timestamp_seconds"], 120)

    def list_lately(self, symbol, time):
        """Let the agent believe for an hour that a symbol was listed then (ms)."""
        (self.place.folder / "data").mkdir()
        store = open_store(f"sqlite:///{self.place.folder / 'data/blofin.db'}")
        found = [
            Instrument(name, time if name == symbol else 0, "live")
            for name in self.simulator.market.symbols
        ]
        with store.engine.begin() as connection:
            instruments.save_instruments(
                connection, found, int(datetime.now(UTC).timestamp() * 1000)
            )
        store.close()

    def fill(self, hours):
        """Store the market's own candles before the agent starts, as it would itself."""
        span = window_at(int(time.time() * 1000), Timeframe.M1, hours, 2_000)
        market = self.simulator.market
        (self.place.folder / "data").mkdir()
        store = open_store(f"sqlite:///{self.place.folder / 'data/blofin.db'}")
        rows = [
            CandleBatch(
                symbol,
                Source.FILL,
                [
                    candle
                    for at in range(span.start, span.end, MINUTE)
                    if (candle := market.candle(symbol, Timeframe.M1, at))
                ],
            )
            for symbol in market.symbols
        ]
        with store.engine.begin() as connection:
            candles.insert(connection, Timeframe.M1, rows)
        store.close()


@pytest.fixture(scope="module")
def processes():
    started = []
    yield started
    end(started)


@pytest.fixture(scope="module")
def scene(tmp_path_factory, processes, debian):
    """The scene, filled; shared by the tests that only look."""
    debian("chromium")
    # So many holes that whatever hours these are have some of each symbol.
    folder = tmp_path_factory.mktemp("scene")
    made = Scene(folder, processes, f"{SYMBOLS},{LISTED}", holes=0.25)
    made.listed = int(time.time() * 1000) // HOUR * HOUR - 2 * HOUR
    made.list_lately(LISTED, made.listed)
    made.stopped = int(time.time() * 1000) // HOUR * HOUR - 2 * HOUR + 17 * MINUTE
    made.withhold(WITHHELD, since=made.stopped)
    made.start()
    made.filled()
    return made


@pytest.fixture
def own_scene(tmp_path, debian):
    """Return a function that makes a scene which one test may change."""
    debian("chromium")
    started = []
    yield lambda **how: Scene(tmp_path, started, **how)
    end(started)


@pytest.fixture
def browse(chromium):
    """Return a function that opens a page; an error in its console fails the test."""
    contexts, complaints = [], []

    def open_page(url, *, quiet=(), **how):
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **how})
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))

        def told(message):
            # These tests read pixels, which the page does not.
            known = any(words in message.text for words in ("willReadFrequently", *quiet))
            if message.type in ("error", "warning") and not known:
                complaints.append(message.text)

        page.on("console", told)
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
