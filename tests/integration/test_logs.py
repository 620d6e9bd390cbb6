"""The agent's log as a program reads it: JSON lines with fields."""

import json
import os
from datetime import datetime

import pytest

from blofin_agent import __version__
from blofin_agent.store.url import describe, parse
from tests.processes import until

pytestmark = pytest.mark.slow("real processes")

SYMBOLS = ("BTC-USDT", "ETH-USDT")


def written(place):
    """Return the lines of standard error, each of which is whole JSON."""
    text = (place.folder / "err").read_text()
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def the_one(log, event):
    """Return the only line of an event, without its time."""
    (found,) = [one for one in log if one["event"] == event]
    return {name: value for name, value in found.items() if name != "timestamp"}


@pytest.mark.timeout(180)
def test_a_run_in_json_has_events_and_fields(place, simulate, run_agent):
    """Start, connection, backfill and shutdown can be found by event, and read by field."""
    simulate()
    agent = run_agent(
        LOG_FORMAT="json",
        LOG_LEVEL="debug",
        BACKFILL_LOOKBACK_HOURS="24",
        COVERAGE_SETTLE_SECONDS="15",
    )
    awaited = {"websocket connection established", "backfill pass finished"}
    until(lambda: awaited <= {one["event"] for one in written(place)})
    assert agent.stop() == 0
    log = written(place)
    for line in log:
        assert list(line)[:3] == ["timestamp", "level", "event"]
        assert datetime.fromisoformat(line["timestamp"]).utcoffset().total_seconds() == 0
        assert line["level"] in ("debug", "info", "warning", "error")
        assert not any(sign.isdigit() for sign in line["event"])
        assert not any(symbol in line["event"] for symbol in SYMBOLS)
        assert "{" not in line["event"]

    started = the_one(log, "agent started")
    database = started.pop("database")
    assert database.endswith(describe(parse(place.url)).removeprefix(f"{place.folder}/"))
    assert started == {
        "level": "info",
        "event": "agent started",
        "version": __version__,
        "agent": f"{os.uname().nodename}:{agent.url.rpartition(':')[2]}",
        "configured_symbols": "BTC-USDT,ETH-USDT",
        "bar": "1m",
        "lookback_hours": 24,
    }
    assert the_one(log, "websocket connection established") == {
        "level": "debug",
        "event": "websocket connection established",
        "connection": "1",
        "symbols": 2,
    }
    runs = [one for one in log if one["event"] == "backfill run finished"]
    assert {one["symbol"] for one in runs} == set(SYMBOLS)
    for run in runs:
        assert run["requests"] >= 1
        assert run["stored"] >= 1
        assert 0 <= run["coverage"] <= 1
        assert isinstance(run["missing"], int)
    done = next(one for one in log if one["event"] == "backfill pass finished")
    assert (done["level"], done["symbols"], done["failed"]) == ("info", 2, 0)
    before = [run for run in runs if log.index(run) < log.index(done)]
    for count in ("stored", "requests"):
        assert done[count] == sum(run[count] for run in before)
    assert done["missing"] == 0
    assert 0 < done["duration_s"] < 60
    assert the_one(log, "shutdown started") == {
        "level": "info",
        "event": "shutdown started",
        "signal": "SIGTERM",
        "timeout_s": 9.5,
    }
    assert log[-1]["event"] == "agent stopped"
    assert log[-1]["note"] == "all counted candles are saved"


@pytest.mark.sqlite
@pytest.mark.timeout(120)
def test_a_fault_in_json_is_told_by_fields(place, run_agent):
    """Without a BloFin: what failed, where, and what is done about it."""
    place.env |= {"BLOFIN_REST_URL": "http://127.0.0.1:9", "BLOFIN_WS_URL": "ws://127.0.0.1:9/x"}
    agent = run_agent(LOG_FORMAT="json", BLOFIN_SYMBOLS="BTC-USDT")
    until(lambda: "BloFin connection problem" in {one["event"] for one in written(place)})
    assert agent.stop() == 0
    told = the_one(written(place), "BloFin connection problem")
    assert told["level"] == "warning"
    assert told["error"]
    assert told["source"] in ("REST", "websocket connection 1")
    assert told["action"].startswith("keep retrying; the page and /metrics stay up.")
