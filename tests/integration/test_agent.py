"""The agent as a process, beside the simulator: what it stores, serves, survives."""

import contextlib
import gzip
import http.server
import json
import random
import shlex
import signal
import subprocess
import sys
import threading
import time
import urllib.request

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from blofin_agent.domain.bar_set import BarSet
from blofin_agent.domain.candle import MINUTE, Timeframe
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.store.database import open_store
from blofin_agent.store.url import describe, parse
from tests.pace import clock_s
from tests.processes import DATABASE_AWAY, until

pytestmark = pytest.mark.slow("real processes, and the deadlines they wait for")

DAY = {"BACKFILL_LOOKBACK_HOURS": "24", "COVERAGE_SETTLE_SECONDS": "15"}


@pytest.mark.fast_clock
@pytest.mark.timeout(300)
def test_a_day_in_the_life(place, simulate, run_agent):
    """It fills, takes live candles, serves what it knows, and a signal ends it cleanly."""
    simulator = simulate()
    agent = run_agent(**DAY)
    lines = (place.folder / "out").read_text().splitlines()
    assert lines[1:] == [
        "watching  BTC-USDT, ETH-USDT: 1m candles, 24 h back",
        f"storing   {describe(parse(place.url)).removeprefix(f'{place.folder}/')}",
    ]
    give_up_at = time.monotonic() + 150
    while time.monotonic() < give_up_at and len(_live(place)) < 2:
        time.sleep(0.2)
    assert len(_live(place)) >= 2, (place.folder / "err").read_text()
    assert agent.get("/healthz") == "alive\n"
    assert json.loads(agent.get("/readyz")) == {"ready": True, "reasons": []}
    samples = agent.samples()
    for symbol in ("BTC-USDT", "ETH-USDT"):
        assert samples[f'blofin_candles_expected{{symbol="{symbol}"}}'] == 1_440
        assert samples[f'blofin_feed_subscribed{{symbol="{symbol}"}}'] == 1
        for candle in place.stored(symbol):
            assert candle == simulator.market.candle(symbol, Timeframe.M1, candle.open_time)
    assert samples['blofin_feed_connected{connection="1"}'] == 1
    assert samples['blofin_health{blofin_health="good"}'] == 1
    assert "BTC-USDT" in agent.get("/")
    _parses_strictly(agent)
    begun = time.monotonic()
    assert agent.stop() == 0
    assert time.monotonic() - begun < 10
    assert (
        "agent stopped note='all counted candles are saved'" in (place.folder / "err").read_text()
    )
    assert simulator.stats()["limits"]["connections_refused"] == 0


def _live(place):
    with contextlib.suppress(*DATABASE_AWAY):
        return place.query("SELECT open_time FROM candles WHERE source = 'blofin_ws'")
    return []


def _parses_strictly(agent):
    """A scraper that wants OpenMetrics, zipped, gets just that."""
    request = urllib.request.Request(
        agent.url + "/metrics",
        headers={
            "Accept": "application/openmetrics-text; version=1.0.0",
            "Accept-Encoding": "gzip",
        },
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        text = gzip.decompress(answer.read()).decode()
    names = {family.name for family in text_string_to_metric_families(text)}
    assert {"blofin_coverage_ratio", "blofin_health", "blofin_build"} <= names


@pytest.mark.fast_clock
@pytest.mark.timeout(240)
def test_rest_keeps_the_store_whole_while_the_websocket_is_away(place, simulate, run_agent):
    """Each minute that no push brought is healed within a minute or two, without a pass."""
    simulate()
    agent = run_agent(**DAY, BLOFIN_WS_URL="ws://127.0.0.1:9/nothing")

    def healed():
        return place.query(
            "SELECT DISTINCT symbol FROM gap_fill_runs WHERE trigger = 'heal'"
            " AND status = 'complete' AND rows_inserted > 0"
        )

    until(lambda: len(healed()) == 2, clock_s(180))
    assert agent.samples()['blofin_coverage_ratio{symbol="BTC-USDT"}'] > 0.998
    assert agent.stop(signal.SIGINT) == 0


MISSING = 'blofin_candles_missing{symbol="BTC-USDT"}'


def _take_away(place, bars):
    """Delete some old candles of BTC-USDT, as a person with an SQL prompt might."""
    ((newest,),) = place.query("SELECT max(open_time) FROM candles")
    since = newest - 600 * MINUTE
    place.change(
        "DELETE FROM candles WHERE symbol = 'BTC-USDT' AND open_time BETWEEN ? AND ?",
        since,
        since + (bars - 1) * MINUTE,
    )


@pytest.mark.fast_clock
@pytest.mark.timeout(240)
def test_memory_follows_the_store_whoever_writes_to_it(place, simulate, run_agent):
    """Rows that others take or add show in the metrics within 60 s."""
    simulate()
    place.run("backfill", **DAY)
    # It cannot fetch by itself, so what changes was done by others.
    agent = run_agent(**DAY, BLOFIN_REST_URL="http://127.0.0.1:9")
    # Minutes that pass while it starts are missing.
    until(lambda: agent.samples().get(MISSING, 100) < 100)
    _take_away(place, 100)
    until(lambda: agent.samples()[MISSING] >= 100, clock_s(60))
    assert place.run("backfill", **DAY).returncode == 0
    until(lambda: agent.samples()[MISSING] <= 2, clock_s(60))
    assert agent.stop() == 0


@pytest.mark.fast_clock
@pytest.mark.timeout(240)
def test_what_vanished_from_the_store_is_fetched_again_at_once(place, simulate, run_agent):
    """Without waiting for the next pass, half an hour away."""
    simulate()
    place.run("backfill", **DAY)
    agent = run_agent(**DAY)
    until(lambda: agent.samples().get(MISSING, 9) <= 2)
    before = len(place.stored("BTC-USDT"))
    _take_away(place, 100)
    assert len(place.stored("BTC-USDT")) <= before - 98
    until(lambda: len(place.stored("BTC-USDT")) >= before)
    told = "candles deleted by another process symbol=BTC-USDT deleted=100 "
    assert told in (place.folder / "err").read_text()
    assert agent.stop() == 0


@pytest.mark.timeout(240)
@pytest.mark.sqlite
def test_a_database_removed_under_the_agent_is_made_anew_and_filled(place, simulate, run_agent):
    """It says so and goes on by itself; the budget that was used is not forgotten."""
    simulator = simulate()
    agent = run_agent(**DAY)
    until(lambda: agent.samples().get(MISSING, 9) == 0)
    # The last page is stored, too: on its way it would go into the new database.
    until(lambda: agent.samples()["blofin_backfill_last_pass_timestamp_seconds"])
    asked = simulator.stats()["limits"]["requests"]
    # All its files at once: else the agent's new ones may be there before the old ones are gone.
    (place.folder / "data").rename(place.folder / "away")

    def whole():
        with contextlib.suppress(*DATABASE_AWAY):
            return min(len(place.stored(symbol)) for symbol in ("BTC-USDT", "ETH-USDT")) >= 1_440
        return False

    until(whole, within_s=90)
    assert "database file removed or replaced database=" in (place.folder / "err").read_text()
    until(lambda: agent.samples()[MISSING] <= 1)
    assert place.query("SELECT count(*) FROM request_ledger")[0][0] >= asked + 2
    assert agent.stop() == 0


@pytest.mark.postgresql
@pytest.mark.timeout(240)
def test_kill_at_any_moment_loses_nothing(place, simulate, ended):
    """SIGKILL at random moments of a fill, again and again: what is stored is the truth, and the
    next start goes on from there. For a SQLite file see faults/test_kill.py."""
    simulator = simulate("4", options=("--page-limit", "100"))
    chance = random.Random(20_260_213)
    before = 0

    def rows():
        with contextlib.suppress(*DATABASE_AWAY):
            return place.query("SELECT count(*) FROM candles")[0][0]
        return 0

    for number in range(12):
        settings = {"BLOFIN_SYMBOLS": "all", "BACKFILL_LOOKBACK_HOURS": "48"}
        process = place.start("backfill", cold=number % 2 == 0, **settings)
        ended.append(process)
        if number % 2:
            # While it stores, however slow this machine is; else maybe while it starts.
            known = before
            until(lambda: rows() > known or process.poll() is not None, every_s=0.02)  # noqa: B023
            time.sleep(chance.uniform(0, 0.4))
        else:
            time.sleep(chance.uniform(0.1, 1.6))
        process.kill()
        process.wait()
        count = rows()
        assert count >= before
        before = count
    assert before > 0
    done = place.run("backfill", "--json", BLOFIN_SYMBOLS="all", BACKFILL_LOOKBACK_HOURS="48")
    report = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert report["rows_inserted"] <= 4 * 2_880 - before + 4 * 10
    window = TimeRange(report["window"]["start"], report["window"]["end"])
    for symbol in simulator.market.symbols:
        stored = place.stored(symbol)
        assert all(
            candle == simulator.market.candle(symbol, Timeframe.M1, candle.open_time)
            for candle in stored
        )
        held = BarSet.of(Timeframe.M1, (candle.open_time for candle in stored))
        assert held.gaps(window) == []


class _TooMany(http.server.BaseHTTPRequestHandler):
    times: list[float]

    def do_GET(self):
        self.times.append(time.monotonic())
        self.send_response(429)
        self.send_header("Retry-After", "600")
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


def test_a_suspension_survives_a_restart(place, run_agent):
    """After a 429 nothing is sent until the suspension is over, not even by a new process."""
    handler = type("Handler", (_TooMany,), {"times": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place.env["BLOFIN_REST_URL"] = f"http://127.0.0.1:{server.server_port}"
        place.env["BLOFIN_WS_URL"] = "ws://127.0.0.1:9/nothing"
        for signal_number in (signal.SIGKILL, signal.SIGTERM):
            agent = run_agent()
            until(lambda: handler.times)
            until(
                lambda agent=agent: (
                    agent.samples()["blofin_api_suspended_until_timestamp_seconds"] > time.time()
                )
            )
            time.sleep(2)
            agent.stop(signal_number)
        server.shutdown()
    assert len(handler.times) == 1
    assert agent.process.returncode == 0


@pytest.mark.sqlite
def test_a_port_in_use_is_one_clear_line(place, simulate, run_agent):
    """It says which port, and what one can do."""
    simulate()
    agent = run_agent()
    port = agent.url.rpartition(":")[2]
    done = place.run("run", API_PORT=port)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr
    assert agent.stop() == 0


@pytest.mark.timeout(120)
@pytest.mark.sqlite
def test_the_demo_heals(place, run_agent):
    """Gaps of every kind are there at its start, and are gone soon after."""
    agent = run_agent("demo", BACKFILL_LOOKBACK_HOURS="24")

    def ratios():
        return [
            value for name, value in agent.samples().items() if name.startswith("blofin_coverage")
        ]

    until(lambda: len(ratios()) == 8)
    until(lambda: min(ratios()) > 0.97)
    url = shlex.split((place.folder / "out").read_text().splitlines()[4])[4]
    asked = urllib.request.Request(url, method="PUT")
    with urllib.request.urlopen(asked, timeout=10) as answer:
        (fault,) = json.load(answer)["faults"]
        assert fault["symbol"] == url.rpartition("=")[2]
    assert agent.stop(signal.SIGINT) == 0
    assert (place.folder / "data/demo.db").exists()


@pytest.mark.sqlite
def test_a_bug_ends_the_process_aloud(place, simulate):
    """An error that nobody expects is no silent task: a traceback and a non-zero exit."""
    simulate()
    code = (
        "import blofin_agent.backfill.recent_gap_filler as heal\n"
        "async def broken(self): raise ZeroDivisionError('a bug')\n"
        "heal.RecentGapFiller.run = broken\n"
        "from blofin_agent.cli.main import main\n"
        "main(['run'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=place.folder,
        env=place.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode not in (0, 3)
    assert "ZeroDivisionError: a bug" in done.stderr


@pytest.mark.sqlite
def test_a_start_loads_no_more_than_it_needs_and_the_collector_leaves_that_alone(place, simulate):
    """Alembic is for migrations only. To look through all that was loaded takes 0.1 s and more."""
    simulate()
    code = (
        "import gc, os, signal, sys, trio\n"
        "import blofin_agent.backfill.recent_gap_filler as heal\n"
        "async def look(self):\n"
        "    print(sorted({'alembic', 'pyarrow', 'mako'} & set(sys.modules)))\n"
        "    print(gc.get_freeze_count() > 10 * len(gc.get_objects()))\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    await trio.sleep_forever()\n"
        "heal.RecentGapFiller.run = look\n"
        "from blofin_agent.cli.main import main\n"
        "main(['run'])\n"
    )
    open_store(f"sqlite:///{place.folder}/data/blofin.db").close()
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=place.folder,
        env=place.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["[]", "True"]
