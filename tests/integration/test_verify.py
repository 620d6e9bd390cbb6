"""`blofin-agent verify`, as a user runs it, against the simulator."""

import json
import signal
import socket
import subprocess

import pytest

from blofin_agent.domain.candle import MINUTE, Candle, Timeframe
from blofin_agent.store.database import open_store
from tests.gateway import figures, gateway
from tests.processes import until

pytestmark = pytest.mark.slow("real processes, and the deadlines they wait for")

START = 1_767_225_600_000
"""2026-01-01 (UTC)."""
DAY = ("--since", "2026-01-01", "--until", "2026-01-02")
UTC_DAY = "2026-01-01 00:00 to 2026-01-02 00:00"
BARS = 1_440
BTC = ("symbol", "BTC-USDT")
ETH = ("symbol", "ETH-USDT")


def tamper(place, *statements):
    for statement in statements:
        place.change(statement)


def truth(simulator, symbol):
    found = (simulator.market.candle(symbol, Timeframe.M1, START + n * MINUTE) for n in range(BARS))
    return [candle for candle in found if candle]


def spoil(place, simulator):
    """Change a candle, take one out, and put one in that BloFin does not have; return the three."""
    held = [candle.open_time for candle in truth(simulator, "BTC-USDT")]
    hole = next(START + n * MINUTE for n in range(100, BARS) if START + n * MINUTE not in held)
    changed, gone = held[400], held[900]
    tamper(
        place,
        f"UPDATE candles SET close = 1.5, source = 'blofin_ws' WHERE open_time = {changed}"
        " AND symbol = 'BTC-USDT'",
        f"DELETE FROM candles WHERE open_time = {gone} AND symbol = 'BTC-USDT'",
        f"INSERT INTO candles VALUES ('BTC-USDT', '1m', {hole}, 2.5, 3, 1, 2, 9, 1, 1, 'x')",
    )
    return changed, gone, hole


def test_a_store_that_is_equal_costs_one_page_a_day(place, simulate):
    """Zero, and nothing is changed."""
    simulator = simulate()
    place.run("backfill", *DAY)
    before = place.query("SELECT * FROM candles"), simulator.pages()
    done = place.run("verify", *DAY, "--repair")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[:3] == [
        f"asking BloFin again for all that is stored from {UTC_DAY} (UTC): 2 symbols, 2 pages",
        "BTC-USDT: 1440 candles compared in 1 request, all equal",
        "ETH-USDT: 1440 candles compared in 1 request, all equal",
    ]
    assert done.stdout.splitlines()[-1] == "equal"
    assert place.query("SELECT * FROM candles") == before[0]
    assert simulator.pages() == before[1] + 2


def test_what_was_tampered_with_is_found_and_repaired(place, simulate):
    """Exactly that; after the repair the store is the market, save for the row BloFin lacks."""
    simulator = simulate(holes=0.02)
    place.run("backfill", *DAY)
    good = truth(simulator, "BTC-USDT")
    changed, gone, extra = spoil(place, simulator)
    spoilt = place.query("SELECT * FROM candles ORDER BY symbol, open_time")
    found = place.run("verify", *DAY, "--json")
    assert found.returncode == 3, found.stderr
    told = json.loads(found.stdout)
    was = next(candle for candle in good if candle.open_time == changed)
    assert {one["open_time"]: one for one in told["mismatches"]} == {
        changed: {
            "symbol": "BTC-USDT",
            "open_time": changed,
            "fields": {"close": {"stored": 1.5, "blofin": was.close}},
            "absent": False,
            "repaired": False,
        },
        extra: {
            "symbol": "BTC-USDT",
            "open_time": extra,
            "fields": {},
            "absent": True,
            "repaired": False,
        },
    }
    assert told["missing_candles"] == [{"symbol": "BTC-USDT", "open_time": gone}]
    assert place.query("SELECT * FROM candles ORDER BY symbol, open_time") == spoilt

    mended = place.run("verify", *DAY, "--repair")
    assert mended.returncode == 3, mended.stderr
    assert "close 1.5 -> " in mended.stdout
    assert "(repaired)" in mended.stdout
    assert (
        "1 candle differed (close 1); 1 stored that BloFin does not have (kept); 1 replaced with "
        "BloFin's (the old: table replaced_candles); 1 missing, 1 stored now\n"
    ) in mended.stdout
    assert mended.stderr == ""
    assert "stored, and BloFin has no such candle; kept" in mended.stdout
    assert mended.stdout.splitlines()[-1] == (
        "different: 0 as they were, 1 that BloFin does not have"
    )
    stored = place.stored("BTC-USDT")
    assert [candle for candle in stored if candle.open_time != extra] == good
    assert place.stored("ETH-USDT") == truth(simulator, "ETH-USDT")
    assert place.query("SELECT source FROM candles WHERE open_time = ?", changed)[0] == (
        "historical_fill",
    )
    names = ", ".join(f'"{name}"' for name in Candle._fields)
    (row,) = place.query(f"SELECT {names}, symbol, source FROM replaced_candles")
    assert row == (*was._replace(close=1.5), "BTC-USDT", "blofin_ws")

    tamper(place, f"DELETE FROM candles WHERE open_time = {extra} AND source = 'x'")
    again = place.run("verify", *DAY)
    assert again.returncode == 0, again.stdout
    assert place.query(
        "SELECT status, different, absent, missing, repaired, added FROM "
        "verifications WHERE symbol = 'BTC-USDT'"
    ) == [
        ("different", 1, 1, 1, 0, 0),
        ("different", 1, 1, 1, 1, 1),
        ("equal", 0, 0, 0, 0, 0),
    ]


def test_more_than_twenty_mismatches_are_counted_and_shown_in_json(place, simulate):
    """Twenty lines are enough for a person."""
    simulate("BTC-USDT")
    day = ("--symbols", "BTC-USDT", *DAY)
    place.run("backfill", *day)
    tamper(place, "UPDATE candles SET volume = volume + 1 WHERE open_time % 1200000 = 0")
    done = place.run("verify", *day)
    lines = [line for line in done.stdout.splitlines() if ": volume " in line]
    assert (done.returncode, len(lines)) == (3, 20)
    assert "and 52 more; --json lists them all" in done.stdout
    told = json.loads(place.run("verify", *day, "--json").stdout)["mismatches"]
    assert [one["open_time"] for one in told] == [START + n * 1_200_000 for n in range(72)]
    assert place.run("verify", *day, "--repair").returncode == 0


def test_a_sample_is_so_many_pages_and_a_seed_draws_it_again(place, simulate):
    """Two of 100 rows, out of the day."""
    simulator = simulate("BTC-USDT", options=("--page-limit", "100"))
    place.run("backfill", "--symbols", "BTC-USDT", *DAY)
    env = {"BACKFILL_BATCH_LIMIT": "100", "BLOFIN_SYMBOLS": "BTC-USDT"}
    before = simulator.pages()
    run = ("verify", *DAY, "--sample", "2", "--json")
    first = json.loads(place.run(*run, **env).stdout)
    assert (simulator.pages() - before, first["compared"]) == (2, 200)
    assert (first["sample"], first["clean"]) == (2, True)
    # Where each page lies is told by a candle that is changed: one of the seeds finds it.
    tamper(
        place, f"UPDATE candles SET volume = volume + 1 WHERE open_time = {START + 300 * MINUTE}"
    )
    found = {}
    for seed in ("1", "2", "1", "2"):
        told = json.loads(place.run(*run, "--seed", seed, **env).stdout)
        assert told["seed"] == int(seed)
        assert found.setdefault(seed, told["different"]) == told["different"]
    assert set(found.values()) == {0, 1}


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("args", "env", "code", "words"),
    [
        ([], {"BLOFIN_DATABASE_URL": "sqlite:///no.db"}, 1, "there is no database at no.db yet"),
        ([], {}, 1, "nothing stored to verify: there is no 1m candle of BTC-USDT, ETH-USDT from "),
        (["--symbols", "BTC/USDT"], {}, 1, "nothing stored to verify"),
        (["--since", "tomorrow"], {}, 2, "'tomorrow' is no date or time"),
        (["--since", "2026-01-02", "--until", "2026-01-01"], {}, 2, "--since must be before"),
        (["--since", "2026-01-02", "--lookback-hours", "1"], {}, 2, "not both"),
        (["--since", "2226-01-02"], {}, 2, "in the future"),
        (["--sample", "0"], {}, 2, "'--sample'"),
        ([*DAY, "--seed", "4"], {}, 2, "--seed is for a sample; give --sample too"),
        (["--metrics-textfile", "x.txt"], {}, 2, "must end in .prom"),
        ([], {"BACKFILL_LOOKBACK_HOURS": "week"}, 2, "BACKFILL_LOOKBACK_HOURS=week: "),
        ([], {"BLOFIN_SYMBOLS": "all"}, 1, "nothing stored to verify: no symbol is known yet"),
        ([], {"BLOFIN_DATABASE_URL": "sqlite:///out"}, 1, "no SQLite database"),
    ],
)
def test_what_a_person_can_mend_is_one_clear_line(place, simulate, args, env, code, words):
    """Wrong use, a wrong setting, an empty store: a line and an exit code, never a traceback."""
    simulate()
    (place.folder / "data").mkdir()
    open_store(f"sqlite:///{place.folder}/data/blofin.db").close()
    (place.folder / "out").write_text("this is no database, whatever its name says\n" * 100)
    done = place.run("verify", *args, **env)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_symbol_that_does_not_exist_is_wrong_use(place, simulate):
    """Once BloFin's list is known; one that has candles is asked for whatever the list says."""
    simulate()
    place.run("backfill", *DAY)
    done = place.run("verify", "--symbols", "BTC/USDT,ETH-USDT", *DAY)
    assert done.returncode == 2
    assert done.stderr == (
        "blofin-agent: BTC/USDT is not a BloFin instrument; did you mean BTC-USDT?\n"
    )
    tamper(place, "UPDATE candles SET symbol = 'OLD-USDT' WHERE symbol = 'BTC-USDT'")
    done = place.run("verify", "--symbols", "OLD-USDT,ETH-USDT", *DAY)
    assert done.returncode == 3
    assert "OLD-USDT: failed, 0 candles compared; OLD-USDT is not a BloFin inst" in done.stdout
    assert "ETH-USDT: 1440 candles compared in 1 request, all equal" in done.stdout
    alone = place.run("verify", "--symbols", "OLD-USDT", *DAY)
    assert (alone.returncode, alone.stdout.splitlines()[-1]) == (1, "failed")


def test_without_blofin_it_says_so_and_ends(place, simulate):
    """One symbol is enough to know; the figures of before stay."""
    simulate()
    place.run("backfill", *DAY)
    place.run("verify", *DAY)
    done = place.run(
        *("verify", *DAY, "--metrics-textfile", "v.prom"), BLOFIN_REST_URL="http://127.0.0.1:9"
    )
    assert done.returncode == 1
    assert "BTC-USDT: failed, 0 candles compared; cannot reach BloFin at 127.0.0.1" in done.stdout
    assert "ETH-USDT" not in done.stdout
    assert done.stdout.splitlines()[-1] == "broken off: BloFin is not to be reached"
    assert "Traceback" not in done.stderr
    (ended,) = place.query(
        "SELECT max(finished) FROM verifications WHERE status = 'equal' AND symbol = 'BTC-USDT'"
    )
    found = figures((place.folder / "v.prom").read_text())
    assert found["blofin_verify_last_timestamp_seconds", BTC] == ended[0] / 1000


def test_a_signal_ends_it(place, simulate, ended):
    """What it did is written down."""
    simulate("BTC-USDT", options=("--page-limit", "20"))
    place.run("backfill", "--symbols", "BTC-USDT", *DAY)
    process = place.start(
        "verify", "--symbols", "BTC-USDT", *DAY, "-v", BACKFILL_REQUEST_SLEEP_MS="200"
    )
    ended.append(process)
    until(lambda: "page of 20 rows" in (place.folder / "out").read_text())
    process.send_signal(signal.SIGTERM)
    assert process.wait(11) == 1
    assert "stopped before the end" in (place.folder / "out").read_text()
    (row,) = place.query("SELECT status, note, compared > 0 FROM verifications")
    assert row == ("failed", "stopped before its end", 1)


@pytest.mark.debian
def test_the_figures_go_where_they_are_told_to_and_go_on_from_run_to_run(place, simulate, debian):
    """A file and a Pushgateway get the same: verifications alone, as sums over all of them."""
    simulator = simulate(holes=0.02)
    place.run("backfill", *DAY)
    spoil(place, simulator)
    bars = len(truth(simulator, "BTC-USDT"))
    with gateway() as server:
        run = ("verify", *DAY, "--metrics-textfile", "v.prom", "--pushgateway", server.url)
        assert place.run(*run).returncode == 3
        assert place.run(*run, "--repair").returncode == 3
    text = (place.folder / "v.prom").read_text()
    assert [push.method for push in server.pushes] == ["PUT", "PUT"]
    assert server.pushes[1].body == text
    assert server.pushes[1].path == f"/metrics/job/blofin-verify/instance/{socket.gethostname()}"
    found = figures(text)
    assert {name for name, *_ in found} == {
        "blofin_verify_candles_total",
        "blofin_verify_repaired_total",
        "blofin_verify_mismatches",
        "blofin_verify_last_timestamp_seconds",
    }
    told = {
        one: found["blofin_verify_candles_total", ("result", one), BTC]
        for one in ("equal", "different", "absent", "missing", "unanswered")
    }
    assert told == {
        "equal": 2 * (bars - 2),
        "different": 2,
        "absent": 2,
        "missing": 2,
        "unanswered": 0,
    }
    assert found["blofin_verify_repaired_total", BTC] == 1
    assert found["blofin_verify_repaired_total", ETH] == 0
    # One was repaired; the one that BloFin does not have is left.
    assert figures(server.pushes[0].body)["blofin_verify_mismatches", BTC] == 2
    assert found["blofin_verify_mismatches", BTC] == 1
    checked = subprocess.run(
        [debian("promtool"), "check", "metrics"],
        input=text,
        text=True,
        capture_output=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_metrics_that_do_not_arrive_are_a_line_and_exit_code_1(place, simulate):
    """What was found is told all the same."""
    simulate()
    place.run("backfill", *DAY)
    done = place.run("verify", *DAY, "--metrics-textfile", "no/v.prom")
    assert done.returncode == 1
    assert "the metrics cannot be written to no/v.prom: No such file" in done.stderr
    assert done.stdout.endswith("equal\n")


def test_the_limits_hold_beside_a_backfill(place, simulate, ended):
    """Nothing is sent past the ledger that all processes share, and nothing is refused."""
    simulator = simulate("4", limits=True, options=("--page-limit", "100"))
    place.run("backfill", "--symbols", "BTC-USDT,ETH-USDT", *DAY)
    commands = [
        ("verify", "--symbols", "BTC-USDT,ETH-USDT", *DAY),
        ("backfill", "--symbols", "SOL-USDT,XRP-USDT", *DAY),
        ("verify", "--symbols", "ETH-USDT", *DAY, "--repair"),
    ]
    for command in commands:
        ended.append(place.start(*command))
    assert [process.wait(60) for process in ended[1:]] == [0, 0, 0]
    stats = simulator.stats()
    assert stats["limits"]["refused"] == 0
    assert place.query("SELECT count(*) FROM request_ledger")[0][0] == stats["limits"]["requests"]


@pytest.mark.timeout(150)
def test_the_agent_beside_it_shows_the_figures(place, simulate, run_agent):
    """Soon after, without a restart; after one they go on where they were."""
    simulator = simulate("BTC-USDT")
    env = {"BLOFIN_SYMBOLS": "BTC-USDT", "BACKFILL_LOOKBACK_HOURS": "4"}
    name = 'blofin_verify_candles_total{result="different",symbol="BTC-USDT"}'
    agent = run_agent(**env)
    until(lambda: agent.samples().get('blofin_candles_missing{symbol="BTC-USDT"}') == 0)
    assert agent.samples()[name] == 0
    (time,) = place.query("SELECT min(open_time) + 3600000 FROM candles")[0]
    tamper(place, f"UPDATE candles SET low = low / 2 WHERE open_time = {time}")
    done = place.run("verify", "--lookback-hours", "4", "--repair", **env)
    assert done.returncode == 0, done.stdout
    (good,) = (one for one in place.stored("BTC-USDT") if one.open_time == time)
    assert good == simulator.market.candle("BTC-USDT", Timeframe.M1, time)
    until(lambda: agent.samples()[name] == 1, within_s=40)
    shown = agent.samples()
    assert shown['blofin_verify_repaired_total{symbol="BTC-USDT"}'] == 1
    assert shown['blofin_verify_last_timestamp_seconds{symbol="BTC-USDT"}'] > time / 1000
    assert shown['blofin_candles_missing{symbol="BTC-USDT"}'] <= 1
    assert agent.stop() == 0
    agent = run_agent(**env)
    until(lambda: name in agent.samples())
    assert agent.samples()[name] == 1
    assert agent.stop() == 0
