"""What holds of an agent through every fault of its storage, looked at from outside."""

import contextlib
import re
import shutil
import sqlite3
import subprocess
import time

from blofin_agent.domain.candle import Timeframe
from blofin_agent.domain.time_range import window_at
from tests.processes import until

HOURS = 6
ENV = {
    "BACKFILL_LOOKBACK_HOURS": str(HOURS),
    "COVERAGE_SETTLE_SECONDS": "2",
    "BLOFIN_STORE_TICKS": "true",
}
SYMBOLS = ("BTC-USDT", "ETH-USDT")
BEGINS = re.compile(r"\] database unavailable error=.* action='wait and retry; then fetch the")
ENDS = "] database available again"


def figures(agent):
    """Scrape, which never takes long."""
    begun = time.monotonic()
    samples = agent.samples()
    assert time.monotonic() - begun < 2
    return samples


def whole(agent):
    """Wait until nothing is missing and the database takes transactions; return how long (s)."""
    begun = time.monotonic()

    def law():
        samples = figures(agent)
        missing = [samples.get(f'blofin_candles_missing{{symbol="{one}"}}', 9) for one in SYMBOLS]
        return samples["blofin_store_up"] == 1 and not any(missing)

    until(law)
    return time.monotonic() - begun


def down(agent, within_s=15):
    """Wait until it says that the database cannot be used, and see that it says so everywhere."""
    until(lambda: figures(agent)["blofin_store_up"] == 0, within_s)
    # At the start it is down before the first transaction has failed.
    until(lambda: "the database cannot be used now" in agent.get("/readyz"), 5)
    assert agent.get("/healthz") == "alive\n"


def stays_down(agent, seconds):
    """See that it is down all the time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert figures(agent)["blofin_store_up"] == 0
        time.sleep(0.5)


def counted_is_stored(agent, place):
    """What a scrape counts as present is in the file; return how much that was."""
    span = window_at(round(time.time() * 1000), Timeframe.M1, HOURS, 2_000)
    samples, present = figures(agent), 0
    for symbol in SYMBOLS:
        ((rows,),) = place.query(
            "SELECT count(*) FROM candles WHERE symbol = ? AND open_time >= ?", symbol, span.start
        )
        counted = samples.get(f'blofin_candles_present{{symbol="{symbol}"}}', 0)
        assert counted <= rows
        present += counted
    return present


def is_the_truth(place, simulator):
    """The file is consistent, and each of its rows is the exchange's own."""
    assert place.query("PRAGMA integrity_check") == [("ok",)]
    for symbol in simulator.market.symbols:
        for candle in place.stored(symbol):
            assert candle == simulator.market.candle(symbol, Timeframe.M1, candle.open_time)


def told(place):
    """Return how often the log says that the database is away, and that it is back."""
    text = (place.folder / "err").read_text()
    assert "Traceback" not in text
    return len(BEGINS.findall(text)), text.count(ENDS)


def ends(agent):
    """SIGTERM ends it well within 10 s, whatever the database does."""
    begun = time.monotonic()
    assert agent.stop() == 0, (agent.place.folder / "err").read_text()
    assert time.monotonic() - begun < 10


def system(*command, check=True):
    """Run a program of the system's."""
    program = shutil.which(command[0])
    if program is None:
        raise FileNotFoundError(command[0])
    line = [program, *map(str, command[1:])]
    return subprocess.run(line, capture_output=True, text=True, check=check)


@contextlib.contextmanager
def locked(path, mode="BEGIN EXCLUSIVE"):
    """Lock a database as another program does."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(mode)
        yield connection
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
