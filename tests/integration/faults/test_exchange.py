"""What BloFin does wrong, fault by fault, at a running agent: it is seen, and mended by itself.

Time goes fast in both processes (see `blofin_agent.runtime.clock`): a minute takes three seconds.
The suite tries those that real sockets show; `make test-slow` tries all.
"""

import collections
import json
import re
import time
import urllib.parse
import urllib.request

import pytest

from blofin_agent.domain.candle import MINUTE, Timeframe
from blofin_agent.domain.time_range import window_at
from tests.laws.faults import CLOCKS, FEED, GOES_ON, LEAST, RECONNECTED, REST, matches, options
from tests.pace import REAL
from tests.processes import Place, end, settings, start_agent, start_simulator, until

pytestmark = pytest.mark.slow("real processes, and the deadlines they wait for")

RATE = 20
LABEL = re.compile(r'(\w+)="([^"]*)"')
SYMBOLS = ("BTC-USDT", "ETH-USDT")
SETTLE_MS = 15_000

ON_SOCKETS = ("hang,times=2", "reset", "truncated", "ws-drop,times=3", "ws-silent", "ws-refuse")
"""What only real sockets show; all faults are played in virtual time, in tests/laws."""


def chosen(table):
    """Return the faults of a table that are tried here: all of them where time is real."""
    return [fault for fault in table if REAL or fault in ON_SOCKETS]


class Site:
    """A simulator and an agent, for all tests here."""

    def __init__(self, folder, processes):
        self.place = Place(
            folder, settings(BACKFILL_LOOKBACK_HOURS="3", BACKFILL_REQUEST_SLEEP_MS="250")
        )
        self.place.env["BLOFIN_CLOCK"] = f"{RATE}@{time.time_ns() // 1_000_000}"
        self.since = time.time_ns() // 1_000_000
        self.simulator = start_simulator(self.place, ",".join(SYMBOLS), holes=0.01)
        processes.append(self.simulator.process)
        self.agent = start_agent(self.place, started=processes)

    def now(self):
        return self.since + (time.time_ns() // 1_000_000 - self.since) * RATE

    def control(self, method, path="", **query):
        url = f"{self.simulator.rest_url}/control/faults{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=20):
            pass

    def fault(self, text):
        self.control("PUT", f"/{text.partition(',')[0]}", **options(text))

    def sum(self, series):
        """Return the sum of the samples with these labels."""
        return sum(
            value
            for sample, value in self.agent.samples().items()
            if matches(series, sample.partition("{")[0], dict(LABEL.findall(sample)))
        )

    def struck(self):
        """Return how often each kind of fault struck."""
        with urllib.request.urlopen(
            f"{self.simulator.rest_url}/control/faults", timeout=20
        ) as answer:
            return collections.Counter(json.load(answer)["struck"])

    def shows(self, fault, series, *also):
        """Put faults in force, and wait until one struck and its series rises."""
        kind, before, struck = fault.partition(",")[0], self.sum(series), self.struck()
        for one in (*also, fault):
            self.fault(one)
        until(lambda: self.struck()[kind] > struck[kind], 60)
        if fault in GOES_ON:
            before = self.sum(series)
        until(lambda: self.sum(series) - before >= LEAST.get(fault, 1e-6), 60)

    def whole(self):
        """Wait until every row that the exchange has is there, and see that no other is."""
        begun = time.monotonic()

        def law():
            span = window_at(self.now() - 3_000 - SETTLE_MS, Timeframe.M1, 3, 0)
            for symbol in SYMBOLS:
                stored = {row.open_time: row for row in self.place.stored(symbol)}
                for at in range(span.start + Timeframe.M1.ms, span.end, Timeframe.M1.ms):
                    if stored.get(at) != self.simulator.market.candle(symbol, Timeframe.M1, at):
                        return False
            return True

        until(law, 150, 0.5)
        assert self.agent.process.poll() is None
        assert self.sum("store_up") == 1
        return (time.monotonic() - begun) * RATE

    def answered(self):
        """See the probe after a suspension answered: the next fault shall not strike just that.

        Nothing may be missing by then, so that nothing would be asked for.
        """

        def strikes():
            return sum(strikes for (strikes,) in self.place.query("SELECT strikes FROM suspension"))

        if strikes():
            self.fault("ws-no-complete")
            until(lambda: not strikes(), 60)
            self.control("DELETE")
            self.whole()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    processes = []
    made = Site(tmp_path_factory.mktemp("faults"), processes)
    try:
        made.whole()
        yield made
    finally:
        end(processes)


@pytest.fixture(autouse=True)
def in_the_end_all_is_well(site, record_property):
    """After each fault the store becomes what the exchange has, and no limit was passed."""
    yield
    site.control("DELETE")
    record_property("whole after (s)", round(site.whole()))
    site.answered()
    limits = site.simulator.stats()["limits"]
    assert limits["most"]["60"] <= 475
    assert limits["most"]["300"] <= 1_425
    assert limits["during_suspension"] <= limits["suspensions"]


@pytest.mark.parametrize("fault", chosen(REST))
def test_rest(site, fault):
    """Every minute is asked for: no push says that it is complete."""
    site.shows(fault, REST[fault], "ws-no-complete")


@pytest.mark.parametrize("fault", chosen(FEED))
def test_feed(site, fault):
    site.shows(fault, FEED[fault])


@pytest.mark.parametrize("fault", chosen(RECONNECTED))
def test_feed_that_connects(site, fault):
    site.shows(fault, RECONNECTED[fault], "ws-drop,times=1")


@pytest.mark.real_time
@pytest.mark.parametrize("fault", CLOCKS)
def test_clock(site, fault):
    """The middle of many candles tells, so it takes some."""
    expected = CLOCKS[fault] * 45
    site.fault(fault)
    until(lambda: abs(site.sum("clock_offset_seconds") - expected) < 15, 150)
    site.control("DELETE")
    until(lambda: abs(site.sum("clock_offset_seconds")) < 15, 150)


def test_corrected(site):
    """BloFin gave other figures first: they stay, and `verify --repair` puts the right ones."""
    site.fault("corrected,seconds=120")
    until(lambda: site.struck()["corrected"] > 4, 60)
    site.control("DELETE")
    # The last minute that was given wrongly is over by then, and in the range that is verified.
    over = site.now() + 2 * MINUTE + SETTLE_MS
    until(lambda: site.now() > over)
    wrong = {
        symbol: [
            row
            for row in site.place.stored(symbol)
            if row != site.simulator.market.candle(symbol, Timeframe.M1, row.open_time)
        ]
        for symbol in SYMBOLS
    }
    assert any(wrong.values())
    lookback = ("--lookback-hours", "2")
    done = site.place.run("verify", *lookback, "--repair", within_s=120)
    assert done.returncode == 0, done.stdout + done.stderr
    until(lambda: site.sum("verify_candles_total{result=different}") >= 1)
