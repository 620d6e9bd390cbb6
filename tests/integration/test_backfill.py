"""`blofin-agent backfill` and its fellows, as a user runs them, against the simulator."""

import contextlib
import json
import signal
import sqlite3
import time

import pytest

from blofin_agent.domain.candle import MINUTE, Timeframe
from tests.processes import until

pytestmark = pytest.mark.slow("real processes, and the deadlines they wait for")

WEEK = 10_080


def truth(simulator, symbol, window, bar=Timeframe.M1):
    """Return what the exchange has of a window."""
    times = range(window["start"], window["end"], bar.ms)
    found = (simulator.market.candle(symbol, bar, time) for time in times)
    return [candle for candle in found if candle]


def test_a_week_of_two_symbols_takes_seven_pages_each(place, simulate):
    """An empty store and pages of 1,440 rows: 7 requests a symbol, and the store is the truth."""
    simulator = simulate()
    done = place.run("backfill", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["complete"]
    assert report["rows_inserted"] == 2 * WEEK
    assert simulator.stats()["symbols"] == {"BTC-USDT": 7, "ETH-USDT": 7}
    for symbol in ("BTC-USDT", "ETH-USDT"):
        assert place.stored(symbol) == truth(simulator, symbol, report["window"])
    assert place.query("SELECT DISTINCT source FROM candles") == [("historical_fill",)]
    assert place.query(
        "SELECT trigger, status, missing_before, missing_after, gaps_found, requests, rows_fetched,"
        " rows_inserted, coverage_before, coverage_after FROM gap_fill_runs WHERE symbol='BTC-USDT'"
    ) == [("oneshot", "complete", WEEK, 0, 1, 7, WEEK, WEEK, 0.0, 1.0)]


def test_a_complete_store_costs_no_request(place, simulate):
    """What is whole is not asked for again, nor is the list of instruments."""
    simulator = simulate()
    place.run("backfill", "--until", "2026-01-08", "--since", "2026-01-01")
    before = simulator.stats()["limits"]["requests"]
    done = place.run("backfill", "--until", "2026-01-08", "--since", "2026-01-01")
    assert done.returncode == 0, done.stderr
    assert "nothing missing" in done.stdout
    assert simulator.stats()["limits"]["requests"] == before


def test_a_complete_store_needs_no_exchange_even_when_its_list_is_old(place, simulate):
    """The list of instruments is a day old, BloFin is away, and nothing is missing."""
    simulate()
    span = ("--since", "2026-01-01", "--until", "2026-01-02")
    place.run("backfill", *span)
    place.change("UPDATE instruments SET seen = seen - 86400000")
    done = place.run("backfill", *span, BLOFIN_REST_URL="http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr


def test_pages_of_three_hundred_take_thirty_four(place, simulate):
    """A server that clamps pages to 300 rows: 34 requests for a week."""
    simulator = simulate(options=("--page-limit", "300"))
    done = place.run("backfill", "--symbols", "BTC-USDT")
    assert done.returncode == 0, done.stderr
    assert simulator.pages() == 34
    assert f"inserted {WEEK} candles in 34 requests, coverage now 100.0 % (10080/10080)" in (
        done.stdout
    )


def test_only_the_gaps_are_asked_for(place, simulate):
    """Gaps that one page can cover together cost one page."""
    simulator = simulate()
    span = ("--symbols", "BTC-USDT", "--since", "2026-01-01", "--until")
    place.run("backfill", *span, "2026-01-01T10:00")
    before = simulator.pages()
    done = place.run("backfill", *span, "2026-01-01T12:00", "-v")
    assert "BTC-USDT: coverage 83.3 % (600/720), 120 missing in 1 gap: 1 page" in done.stdout
    # The gap, and one row more for proof where the exchange has one.
    assert "page of 121 rows" in done.stdout
    assert simulator.pages() - before == 1


def test_real_holes_end_in_three_and_are_named(place, simulate):
    """What the exchange does not have is unavailable, stored as such, and not asked for again."""
    simulator = simulate("BTC-USDT", holes=0.02)
    day = ("--symbols", "BTC-USDT", "--since", "2026-01-01", "--until", "2026-01-02")
    done = place.run("backfill", *day, "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 3
    symbol = report["symbols"][0]
    assert symbol["status"] == "partial"
    assert symbol["missing_after"] == WEEK // 7 - len(
        truth(simulator, "BTC-USDT", report["window"])
    )
    assert symbol["unavailable"] > 0
    assert "BloFin has no such candles" in symbol["note"]
    for start, end in place.query('SELECT start, "end" FROM unavailable'):
        for at in range(start, end, MINUTE):
            assert simulator.market.candle("BTC-USDT", Timeframe.M1, at) is None
    # A second run asks at most for holes at the edge, the third for nothing any more.
    place.run("backfill", *day)
    before = simulator.pages()
    done = place.run("backfill", *day)
    assert done.returncode == 3
    assert simulator.pages() == before


def test_a_dry_run_fetches_nothing(place, simulate):
    """It names gaps, pages and the least time the limits allow."""
    simulator = simulate()
    done = place.run("backfill", "--dry-run", BACKFILL_REQUEST_SLEEP_MS="250")
    assert done.returncode == 0
    assert "BTC-USDT: coverage 0.0 % (0/10080), 10080 missing in 1 gap: 7 pages" in done.stdout
    assert "14 pages in all; the limits allow that in 3 s at the least" in done.stdout
    assert simulator.pages() == 0


def test_other_bars(place, simulate):
    """Every bar has a grid of its own."""
    simulator = simulate()
    done = place.run("backfill", "--symbols", "BTC-USDT", "--json", BACKFILL_TIMEFRAME="15m")
    report = json.loads(done.stdout)
    assert (done.returncode, report["requests"], report["rows_inserted"]) == (0, 1, 672)
    assert place.stored("BTC-USDT", Timeframe.M15) == truth(
        simulator, "BTC-USDT", report["window"], Timeframe.M15
    )


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("args", "env", "code", "words"),
    [
        (
            ["--symbols", "BTC/USDT"],
            {},
            2,
            "BTC/USDT is not a BloFin instrument; did you mean BTC-",
        ),
        (["--since", "tomorrow"], {}, 2, "'tomorrow' is no date or time"),
        (["--since", "2026-01-02", "--until", "2026-01-01"], {}, 2, "--since must be before"),
        ([], {"BACKFILL_LOOKBACK_HOURS": "week"}, 2, "BACKFILL_LOOKBACK_HOURS=week: "),
        ([], {"BLOFIN_REST_URL": "http://127.0.0.1:9"}, 1, "cannot reach BloFin at 127.0.0.1"),
        ([], {"BLOFIN_DATABASE_URL": "sqlite:///out"}, 1, "no SQLite database"),
        ([], {"BLOFIN_DATABASE_URL": "mysql://me:secret@host/db"}, 2, "use sqlite or postgresql"),
        ([], {"BLOFIN_DATABASE_URL": "nonsense"}, 2, "is no database URL"),
        ([], {"BLOFIN_REST_URL": "http://[::1"}, 2, "BLOFIN_REST_URL: it must be a URL"),
        ([], {"BLOFIN_WS_URL": "ws://127.0.0.1:99999/x"}, 2, "BLOFIN_WS_URL: it must be a URL"),
    ],
)
def test_what_a_person_can_mend_is_one_clear_line(place, simulate, args, env, code, words):
    """Wrong use, a wrong setting and a bad database: a line and an exit code, never a traceback."""
    simulate()
    (place.folder / "out").write_text("this is no database, whatever its name says\n" * 100)
    done = place.run("backfill", *args, **env)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr


def test_an_unknown_symbol_in_the_settings_does_not_stop_the_others(place, simulate):
    """The others are filled; the exit code and the summary tell of the one."""
    simulate()
    done = place.run("backfill", "--lookback-hours", "2", BLOFIN_SYMBOLS="BTC-USDT,NOPE-USDT")
    assert done.returncode == 3
    assert "NOPE-USDT is not a BloFin instrument" in done.stdout
    assert len(place.stored("BTC-USDT")) == 120


def test_coverage_and_check_tell_what_is_there(place, simulate):
    """Both read what is stored; check also asks the exchange, and names what does not exist."""
    simulate()
    if place.url.startswith("sqlite"):
        missing = place.run("coverage")
        assert (missing.returncode, "there is no database" in missing.stderr) == (1, True)
    place.run("backfill", "--symbols", "BTC-USDT")
    shown = place.run("coverage", "--json")
    report = json.loads(shown.stdout)
    assert shown.returncode == 3
    assert [one["symbol"] for one in report["symbols"]] == ["ETH-USDT", "BTC-USDT"]
    assert report["symbols"][0]["missing"] == WEEK
    assert report["health"] == "critical"
    assert place.run("coverage").stdout.split("\n")[1].startswith("ETH-USDT")
    good = place.run("check")
    assert (good.returncode, "FAILED" in good.stdout) == (0, False), good.stdout
    assert "page      127.0.0.1:0, for this machine alone" in good.stdout
    alone = place.url.startswith("sqlite")
    nobody = "agent     has not run on this database yet" if alone else "agents    none"
    assert f"ok      {nobody}" in good.stdout
    wide = place.run("check", API_HOST="0.0.0.0")
    assert wide.returncode == 1
    assert "FAILED  page      API_HOST=0.0.0.0 lets other machines ask" in wide.stdout
    shown = place.run("check", API_HOST="0.0.0.0", API_TOKEN="open-sesame").stdout
    assert "ok      page      0.0.0.0:0, for whoever shows API_TOKEN" in shown
    assert "sesame" not in shown
    bad = place.run("check", BLOFIN_SYMBOLS="BTC/USDT")
    assert bad.returncode == 1
    assert "BTC/USDT is not a BloFin instrument; did you mean BTC-USDT?" in bad.stdout


def test_no_request_goes_past_the_ledger(place, simulate, ended):
    """Without any pause, two processes at once: what was sent is what was entered."""
    simulator = simulate("4", options=("--page-limit", "50"))
    for symbols in ("BTC-USDT,ETH-USDT", "SOL-USDT,XRP-USDT"):
        ended.append(place.start("backfill", "--symbols", symbols, BACKFILL_LOOKBACK_HOURS="60"))
    assert [process.wait(60) for process in ended[1:]] == [0, 0]
    entered = place.query("SELECT count(*) FROM request_ledger")[0][0]
    assert entered == simulator.stats()["limits"]["requests"] >= 4 * 72


@pytest.mark.sqlite
def test_a_signal_ends_it_even_while_the_database_is_locked(place, simulate, ended):
    """What was stored is kept; it does not wait for the lock."""
    simulator = simulate()
    place.run("backfill", "--lookback-hours", "1")
    before = simulator.pages()
    with contextlib.closing(
        sqlite3.connect(place.folder / "data/blofin.db", isolation_level=None)
    ) as other:
        process = place.start("backfill", BACKFILL_REQUEST_SLEEP_MS="200")
        ended.append(process)
        until(lambda: simulator.pages() > before)
        other.execute("BEGIN IMMEDIATE")
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(11) == 1
    assert "stopped before the end" in (place.folder / "out").read_text()
    assert len(place.stored("BTC-USDT")) >= 60


def test_the_limits_hold_over_several_processes(place, simulate, ended):
    """Three one-shot runs at once on one store: the spacing holds over all of them."""
    simulator = simulate("6", limits=True)
    spaced = {"BACKFILL_REQUEST_SLEEP_MS": "120"}
    begun = time.monotonic()
    for symbol in ("BTC-USDT", "ETH-USDT", "SOL-USDT"):
        ended.append(place.start("backfill", "--symbols", symbol, **spaced))
    assert [process.wait(60) for process in ended[1:]] == [0, 0, 0]
    stats = simulator.stats()
    assert stats["endpoints"]["candles"] == 21
    assert stats["limits"]["refused"] == 0
    entered = place.query("SELECT count(*) FROM request_ledger")[0][0]
    assert entered == stats["limits"]["requests"]
    # A little may be lost between the ledger and the wire, when the machine is busy.
    assert time.monotonic() - begun >= 20 * 0.12
    spaces = [b - a for a, b in zip(stats["times"], stats["times"][1:], strict=False)]
    assert sorted(spaces)[len(spaces) // 4] >= 110
