"""Laws of `import`: of the old scripts' file only what can be trusted is taken, and all is told."""

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from blofin_agent.cli import legacy_import
from blofin_agent.cli.main import main
from blofin_agent.domain.candle import DAY, MINUTE, Candle, CandleBatch, Source, Timeframe
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.domain.unavailability import UnavailableRange
from blofin_agent.jobs.legacy_import import row_parsing
from blofin_agent.store.bulk_copy import candle_copy
from blofin_agent.store.database import open_store
from blofin_agent.store.errors import StoreUnavailable
from blofin_agent.store.tables import candles, coverage_blocks, unavailable

START = 1_790_000_000_000 // DAY * DAY
NOW = START + 2 * DAY + 15_000
FILL = "historical_fill"
CANDLE = ("open", "high", "low", "close", "volume", "volume_base", "volume_quote")
RUN = {
    "symbol": "BTC-USDT",
    "timeframe": "1m",
    "started_at": START,
    "finished_at": START + 900,
    "trigger": "oneshot",
    "missing_before": 10,
    "missing_after": 0,
    "gaps_found": 2,
    "batches": 3,
    "rate_limited": 0,
    "rows_fetched": 900,
    "rows_inserted": 10,
    "coverage_before": 0.99,
    "coverage_after": 1.0,
    "status": "complete",
    "error": None,
}


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    """Let the settings be the defaults, and the time a few days after the old file's."""
    for name in [name for name in os.environ if name.startswith("BLOFIN_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(legacy_import.clock, "wall_ms", lambda: NOW)


@pytest.fixture(params=["sqlite", "postgresql"])
def target(request, monkeypatch):
    """The URL of the store, which the settings name."""
    name = "database_file" if request.param == "sqlite" else "postgres_database"
    url = request.getfixturevalue(name)
    monkeypatch.setenv("BLOFIN_DATABASE_URL", url)
    return url


@pytest.fixture
def old(tmp_path):
    """Return a function that makes a file with a table of these columns and rows."""
    path = tmp_path / "old" / "blofin.db"
    path.parent.mkdir()

    def make(rows, table="ticks", *statements):
        with closing(sqlite3.connect(path)) as connection, connection:
            names = ", ".join(rows[0])
            connection.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, {names})")
            for row in rows:
                marks = ", ".join("?" for _ in row)
                connection.execute(
                    f"INSERT INTO {table} ({names}) VALUES ({marks})", [*row.values()]
                )
            for statement in statements:
                connection.execute(statement)
        return path

    return make


def run(path, *words, code=0):
    """Import a file, and hold that it and what is beside it are as they were."""
    before = look_at(path.parent)
    done = CliRunner(catch_exceptions=False).invoke(main, ["import", str(path), *words])
    assert done.exit_code == code, done.output
    assert look_at(path.parent) == before
    return done


def told(path, *words, code=0):
    return json.loads(run(path, "--json", *words, code=code).stdout)


def look_at(folder):
    """Return what is there. The index of a log is SQLite's own, and who reads is noted in it."""
    return {
        one.name: not one.name.endswith("-shm") and hashlib.sha256(one.read_bytes()).hexdigest()
        for one in folder.iterdir()
    }


def stored(url, query="SELECT symbol, open_time, close, source FROM candles ORDER BY 1, 2"):
    store = open_store(url, read_only=True)
    found = store.read_here(lambda db: [tuple(row) for row in db.exec_driver_sql(query)])
    store.close()
    return found


def put(url, *works):
    store = open_store(url)
    for work in works:
        with store.engine.begin() as connection:
            work(connection)
    store.close()


def held(symbol, minutes, close=100.0):
    found = [Candle(START + n * MINUTE, 50.0, 200.0, 1.0, close, 1.0, 2.0, 3.0) for n in minutes]
    return partial(
        candles.insert, bar=Timeframe.M1, batches=[CandleBatch(symbol, Source.FILL, found)]
    )


def price(minute, symbol="BTC-USDT", close=100.0, source=FILL, seconds=0):
    time = START + minute * MINUTE + seconds * 1_000
    return {"symbol": symbol, "ts_ms": time, "price": close, "source": source}


def whole(minute, symbol="BTC-USDT", **changes):
    figures = {"open": 95.0, "high": 101.0, "low": 94.5, "close": 100.0, "volume": 10.0}
    row = {"ts": START + minute * MINUTE, "inst_id": symbol, **figures}
    return row | {"vol_ccy": 0.01, "vol_ccy_quote": 960.0, "source": FILL} | changes


def test_of_a_price_alone_nothing_is_made(old, target):
    """Of the old scripts' own table: it is told how complete and how right it was."""
    put(target, held("BTC-USDT", range(90)), held("ETH-USDT", range(100)))
    rows = [price(n, close=100.0 if n else 99.5) for n in range(100)]
    rows += [price(n, source="blofin_ws", seconds=s) for n in range(95, 110) for s in (1, 30)]
    rows += [price(n, "ETH-USDT") for n in range(50)]
    found = told(old(rows), code=3)
    one, other = found["symbols"]
    assert (one["rows"], one["closes"], one["minutes"]) == (130, 100, 110)
    assert (one["stored"], one["missing"], one["since"]) == (90, 20, START + 90 * MINUTE)
    assert (one["equal"], one["different"], one["candles"], one["ticks"]) == (89, 1, 0, 0)
    assert (one["first"], one["last"]) == (START, START + 109 * MINUTE + 30_000)
    assert (other["minutes"], other["stored"], other["equal"], other["missing"]) == (50, 50, 50, 0)
    assert found["left"] == {
        "a close alone is no candle": 150,
        "a live price without trade id, size and side is no tick": 30,
    }
    assert found["differences"] == [
        {"symbol": "BTC-USDT", "open_time": START, "old": 99.5, "stored": 100.0}
    ]
    assert len(stored(target)) == 190
    assert stored(target, "SELECT * FROM ticks") == []


def test_it_says_in_words_what_there_is_and_what_to_do(old, target):
    """A line a symbol, why rows were left, and the command that fetches what is missing."""
    put(target, held("BTC-USDT", range(90)))
    rows = [price(n, close=100.0 if n else 99.5) for n in range(100)]
    said = run(old(rows), code=3).stdout.splitlines()
    assert said[0] == (
        "BTC-USDT: 100 rows from 2026-09-21 00:00 to 2026-09-21 01:39; 100 minutes, 90 of them "
        "stored, 10 missing; closes: 89 as stored, 1 otherwise"
    )
    assert said[1:] == [
        "BTC-USDT 2026-09-21 00:00: the old close is 99.5, stored is 100.0 (kept)",
        "left: 100 rows: a close alone is no candle",
        said[3],
        "missing: 10 minutes of 1 symbol; where BloFin still has them, this fetches them:",
        "  blofin-agent backfill --symbols BTC-USDT --since 2026-09-21",
    ]
    assert "100 rows, 0 candles and 0 ticks stored, of 90 closes compared 89 are right" in said[3]
    put(target, held("BTC-USDT", range(90, 100)))
    path = Path("old/blofin.db").absolute()
    assert run(path).stdout.splitlines()[-1].startswith("complete: ")


@pytest.mark.parametrize(
    "written",
    [
        lambda time: time,
        str,
        lambda time: time // 1000,
        lambda time: time / 1000,
        lambda time: str(time // 1000),
        lambda time: time * 1000,
        lambda time: datetime.fromtimestamp(time / 1000, UTC).isoformat(),
        lambda time: f"{datetime.fromtimestamp(time / 1000, UTC):%Y-%m-%d %H:%M:%S}",
        lambda time: f"{datetime.fromtimestamp(time / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}",
    ],
    ids=["ms", "text", "s", "float", "text-s", "us", "iso", "naive", "z"],
)
@pytest.mark.parametrize("name", ["ts_ms", "ts", "timestamp", "minute", "Time"])
def test_times_are_read_however_they_were_written(old, database_file, monkeypatch, name, written):
    """Numbers of seconds, ms or microseconds, or text by ISO 8601, in UTC."""
    monkeypatch.setenv("BLOFIN_DATABASE_URL", database_file)
    rows = [
        {name: written(START + n * MINUTE), "instId": "BTC-USDT", "last": 1.5, "source": FILL}
        for n in range(3)
    ]
    (found,) = told(old(rows), code=3)["symbols"]
    assert (found["first"], found["last"], found["minutes"]) == (START, START + 2 * MINUTE, 3)


def test_whole_candles_become_candles(old, target):
    """Once, from REST alone, where nothing is stored yet; the store's own stand."""
    put(target, held("BTC-USDT", [1]))
    rows = [
        whole(0),
        whole(1, close=99.0),
        whole(2, close="100.5", volume="1e1"),
        whole(3, source="blofin_ws"),
        whole(0, "ETH-USDT"),
    ]
    path = old(rows)
    dry = told(path, "--dry-run", code=3)
    assert dry["symbols"][0]["candles_stored"] == 2
    assert len(stored(target)) == 1
    found = told(path, code=3)
    one = found["symbols"][0]
    assert (one["candles"], one["candles_stored"], one["different"]) == (3, 2, 1)
    assert (one["stored"], one["missing"]) == (3, 1)
    assert one["missing"] == dry["symbols"][0]["missing"]
    assert stored(target) == [
        ("BTC-USDT", START, 100.0, FILL),
        ("BTC-USDT", START + MINUTE, 100.0, FILL),
        ("BTC-USDT", START + 2 * MINUTE, 100.5, FILL),
        ("ETH-USDT", START, 100.0, FILL),
    ]
    again = told(path, code=3)
    assert again["symbols"][0]["candles_stored"] == 0
    assert again["symbols"][0]["equal"] == 2
    assert len(stored(target)) == 4


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"high": 99.0}, "no candle that BloFin can have given: impossible"),
        ({"open": None}, "no candle that BloFin can have given: shape"),
        ({"low": "x"}, "no candle that BloFin can have given: shape"),
        ({"volume": -1.0}, "no candle that BloFin can have given: impossible"),
        ({"ts": NOW // MINUTE * MINUTE}, "no candle that BloFin can have given: open"),
        ({"ts": START + 500}, "from REST, but not of a minute's beginning"),
        ({"close": None}, "no close that can be read"),
        ({"close": "x"}, "no close that can be read"),
        ({"ts": None}, "no time that can be read, or one in the future"),
        ({"ts": "today"}, "no time that can be read, or one in the future"),
        ({"ts": NOW + DAY}, "no time that can be read, or one in the future"),
        ({"ts": 5}, "no time that can be read, or one in the future"),
        ({"inst_id": "btc usdt"}, "no symbol of BloFin's"),
        ({"inst_id": None}, "no symbol of BloFin's"),
        ({"inst_id": b"BTC"}, "no symbol of BloFin's"),
        ({"timeframe": "5m"}, "of another bar than 1m"),
        ({"confirm": "0"}, "no candle that BloFin can have given: open"),
    ],
)
def test_a_bad_row_is_told_and_costs_none_beside_it(old, database_file, monkeypatch, changes, why):
    """By the rules for BloFin's own rows."""
    monkeypatch.setenv("BLOFIN_DATABASE_URL", database_file)
    base = {
        name: value for name, value in (("timeframe", "1m"), ("confirm", "1")) if name in changes
    }
    found = told(old([whole(0, **base), whole(1, **base) | changes, whole(2, **base)]), code=ANY)
    assert found["left"] == {why: 1}
    assert [time for _, time, *_ in stored(database_file)] == [START, START + 2 * MINUTE]


class _Any(int):
    def __eq__(self, other):
        return other in (0, 3)

    __hash__ = int.__hash__


ANY = _Any()


def test_of_two_candles_of_a_minute_that_differ_neither_is_believed(old, target, monkeypatch):
    """Two that are the same are one, also where the reading pauses between them."""
    monkeypatch.setattr("blofin_agent.jobs.legacy_import.candle_importer.BATCH_ROWS", 5)
    rows = [whole(n % 5, close=99.0 if n == 7 else 100.0) for n in range(10)]
    found = told(old(rows), code=3)
    assert found["left"] == {"two candles of a minute that differ: neither is believed": 2}
    assert [time for _, time, *_ in stored(target)] == [START + n * MINUTE for n in (0, 1, 3, 4)]


def test_trades_become_ticks(old, target):
    """Where id, price, size and side are there; a second import adds none."""
    trade = {"symbol": "BTC-USDT", "source": "ws", "price": 1.5, "size": "2", "side": "BUY"}
    rows = [
        trade | {"ts": START + 5, "trade_id": 7},
        trade | {"ts": START + 6, "trade_id": "8", "side": "sell"},
        trade | {"ts": START + 7, "trade_id": None},
        trade | {"ts": START + 8, "trade_id": 9, "side": "?"},
        trade | {"ts": START + 9, "trade_id": 10, "size": 0},
    ]
    path = old(rows)
    assert told(path, "--dry-run", code=3)["symbols"][0]["ticks_stored"] == 0
    assert stored(target, "SELECT * FROM ticks") == []
    found = told(path, code=3)
    assert found["symbols"][0]["ticks"] == found["symbols"][0]["ticks_stored"] == 2
    assert found["left"] == {
        "a live price without trade id, size and side is no tick": 1,
        "no tick that BloFin can have sent: shape": 1,
        "no tick that BloFin can have sent: impossible": 1,
    }
    told(path, code=3)
    assert sorted(stored(target, "SELECT trade_id, ts, price, size, side, source FROM ticks")) == [
        ("7", START + 5, 1.5, 2.0, "buy", "blofin_ws"),
        ("8", START + 6, 1.5, 2.0, "sell", "blofin_ws"),
    ]


def test_runs_that_say_all_become_runs(old, target):
    """The oldest first, each once; others are counted."""
    rows = [
        RUN | {"started_at": START + 5, "finished_at": START + 9, "error": "429"},
        RUN,
        RUN,
        RUN | {"status": "ok"},
        RUN | {"coverage_before": 20.1},
        RUN | {"missing_before": None},
        RUN | {"timeframe": "1M"},
        RUN | {"finished_at": START - 1},
    ]
    path = old(rows, "gap_fill_runs")
    assert told(path, "--dry-run")["runs"]["stored"] == 2
    runs = told(path)["runs"]
    assert (runs["rows"], runs["usable"], runs["stored"], runs["lacking"]) == (8, 3, 2, [])
    query = "SELECT started, requests, first_gap, note FROM gap_fill_runs ORDER BY id"
    assert stored(target, query) == [(START, 3, None, ""), (START + 5, 3, None, "429")]
    assert told(path)["runs"]["stored"] == 0
    said = run(path).stdout
    assert "gap_fill_runs: 8 rows, 0 stored now, 3 already, 5 left" in said


def test_runs_that_do_not_say_all_are_left(old, database_file, monkeypatch):
    """Nothing is made up for what no column tells."""
    monkeypatch.setenv("BLOFIN_DATABASE_URL", database_file)
    path = old(
        [{"ts": START, "symbol": "BTC-USDT", "inserted": 3, "status": "ok"}], "gap_fill_runs"
    )
    runs = told(path)["runs"]
    assert (runs["rows"], runs["usable"]) == (1, 0)
    assert {"started", "trigger", "coverage_before"} <= set(runs["lacking"])
    assert "left: no column tells started," in run(path).stdout
    assert stored(database_file, "SELECT * FROM gap_fill_runs") == []


def test_minutes_that_blofin_does_not_have_are_told_apart(old, database_file, monkeypatch):
    """A backfill need not ask for them."""
    monkeypatch.setenv("BLOFIN_DATABASE_URL", database_file)
    proof = UnavailableRange(TimeRange(START + 5 * MINUTE, START + 9 * MINUTE), START, 1, NOW + DAY)
    put(
        database_file,
        held("BTC-USDT", [0, 1, 2, 3, 4]),
        partial(
            unavailable.save_proofs, symbol="BTC-USDT", bar=Timeframe.M1, proofs=[proof], since=0
        ),
    )
    path = old([price(n, source="ws") for n in range(7)])
    (found,) = told(path)["symbols"]
    assert (found["stored"], found["unavailable"], found["missing"]) == (5, 2, 0)
    assert "but for 2 that BloFin does not have" in run(path).stdout


def test_a_minute_that_is_not_over_is_not_missing(old, database_file, monkeypatch):
    """It is asked for when it is."""
    monkeypatch.setenv("BLOFIN_DATABASE_URL", database_file)
    rows = [price((NOW - START) // MINUTE - ago, source="ws") for ago in (0, 1)]
    (found,) = told(old(rows), code=3)["symbols"]
    assert (found["minutes"], found["missing"]) == (2, 1)


@pytest.mark.parametrize("gone", ["", "-shm", "-wal"])
def test_a_write_ahead_log_is_read_and_nothing_left_beside_it(
    tmp_path, database_file, monkeypatch, gone
):
    """As the old scripts left it, when they were killed: what is in the log alone counts."""
    monkeypatch.setenv("BLOFIN_DATABASE_URL", database_file)
    path = tmp_path / "old" / "it's 100%.db"
    path.parent.mkdir()
    script = f"""
import os, sqlite3
connection = sqlite3.connect({str(path)!r})
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("CREATE TABLE ticks (ts, symbol, price, source)")
connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
connection.execute("INSERT INTO ticks VALUES ({START}, 'BTC-USDT', 1.5, 'ws')")
connection.commit()
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    if gone:
        path.with_name(path.name + "-shm").unlink()
    if gone == "-wal":
        path.with_name(path.name + "-wal").unlink()
    found = json.loads(run(path, "--json", code=0 if gone == "-wal" else 3).stdout)
    assert sum(one["rows"] for one in found["symbols"]) == (0 if gone == "-wal" else 1)


def test_while_the_old_scripts_have_it_open_their_index_stays(old, database_file, monkeypatch):
    """It is made anew for the one who reads only when nobody has it."""
    monkeypatch.setenv("BLOFIN_DATABASE_URL", database_file)
    path = old([price(0)], "ticks")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("INSERT INTO ticks (symbol, ts_ms, price) VALUES ('A-USDT', 1, 1)")
        connection.commit()
        names = {one.name for one in path.parent.iterdir()}
        assert told(path, code=3)["left"]["no time that can be read, or one in the future"] == 1
        assert {one.name for one in path.parent.iterdir()} == names > {path.name}


@pytest.mark.parametrize(
    ("make", "code", "says"),
    [
        (lambda _path: None, 2, "does not exist"),
        (lambda path: path.mkdir(), 2, "is a directory"),
        (lambda path: path.write_text("ts,price\n" * 100), 1, "is no SQLite database"),
        (lambda path: path.touch(), 1, "neither a table ticks nor gap_fill_runs: it is empty"),
        (lambda path: table(path, "prices (a)"), 1, "nor gap_fill_runs: it has prices"),
        (lambda path: table(path, "ticks (a, b)"), 1, "can be told to be the time"),
        (lambda path: table(path, "ticks (ts, b)"), 1, "can be told to be the symbol"),
        (lambda path: open_store(f"sqlite:///{path}").close(), 1, "blofin-agent copy --from"),
        (lambda path: damage(path, 300), 1, "cannot be read"),
    ],
)
def test_what_is_no_file_of_theirs_is_one_line(tmp_path, make, code, says):
    """And no store is made for it."""
    path = tmp_path / "file.db"
    make(path)
    done = CliRunner(catch_exceptions=False).invoke(main, ["import", str(path)])
    assert done.exit_code == code
    assert says in done.stderr
    assert len([line for line in done.stderr.splitlines() if "blofin-agent: " in line]) == (
        code == 1
    )
    assert "Traceback" not in done.output
    assert not (tmp_path / "data" / "blofin.db").exists() or "told to be" in says


def table(path, what):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE TABLE {what}")


def damage(path, most):
    table(path, "ticks (ts, symbol)")
    raw = bytearray(path.read_bytes())
    raw[100 : 100 + most] = b"\xff" * most
    path.write_bytes(raw)


def test_without_a_store_a_dry_run_makes_none(old, tmp_path):
    """It plans for a new one, and says so."""
    done = run(old([whole(0)]), "--dry-run")
    assert "this is the plan for a new one" in done.stderr
    assert "1 whole candle, 1 would be stored" in done.stdout
    assert not (tmp_path / "data").exists()


def test_columns_are_known_by_sensible_names():
    """In any spelling; what no column is called is not there."""
    names = row_parsing.recognise(["InstId", "TS-MS", "Last", "src", "price"], row_parsing.TICKS)
    assert names["symbol"] == "InstId"
    assert names["time"] == "TS-MS"
    assert (names["price"], names["close"], names["source"]) == ("price", "price", "src")
    assert "open" not in names
    exact = row_parsing.recognise(["minute", "ts", "symbol"], row_parsing.TICKS)
    assert exact["time"] == "ts"


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        "",
        "x",
        b"5",
        -5,
        0,
        1e300,
        float("nan"),
        float("inf"),
        "9" * 30,
        "9999999-01-01",
        "0001-01-01",
        "2026-02-30",
        4_102_444_800_000,
    ],
)
def test_what_means_no_time_is_none(value):
    """Nothing is guessed."""
    assert row_parsing.moment(value) is None


def test_numbers_are_read_as_they_are():
    """Text of a number is one; anything else is none."""
    assert [row_parsing.number(one) for one in (1, 0.1, "0.1", " 2 ")] == [1.0, 0.1, 0.1, 2.0]
    nothing = (None, True, "x", b"1", "nan", "inf", float("nan"), 10**400)
    assert [row_parsing.number(one) for one in nothing] == [None] * 8


def test_blocks_say_what_was_stored(old, target):
    """As after any other way into the store."""
    told(old([whole(n) for n in range(2_000)]))
    store = open_store(target, read_only=True)
    span, days = TimeRange(START, START + 2 * DAY), [START, START + DAY]
    rows = store.read_here(
        partial(candle_copy.read, symbol="BTC-USDT", bar=Timeframe.M1, span=span)
    )
    wrong = store.read_here(
        partial(coverage_blocks.find_wrong_blocks, bar=Timeframe.M1, symbol="BTC-USDT", these=days)
    )
    store.close()
    assert len(rows) == 2_000
    assert wrong == []


def test_a_signal_ends_it_and_it_can_be_run_again(old, target, monkeypatch):
    """After the transaction under way; what was stored is kept."""
    monkeypatch.setattr("blofin_agent.jobs.legacy_import.candle_importer.BATCH_ROWS", 10)
    path = old([whole(n) for n in range(100)])
    insert = candles.insert

    def last(*some):
        os.kill(os.getpid(), signal.SIGTERM)
        return insert(*some)

    monkeypatch.setattr(candles, "insert", last)
    said = run(path, code=1).stdout.splitlines()
    assert said[-1] == "stopped before the end; what was stored is kept: run it again to go on"
    assert 0 < len(stored(target)) < 100
    monkeypatch.setattr(candles, "insert", insert)
    assert told(path)["complete"]
    assert len(stored(target)) == 100


def test_a_store_that_is_away_is_one_line(old, target, monkeypatch):
    """Which says that it can be run again."""

    def away(*_):
        raise StoreUnavailable("the cable was pulled")

    monkeypatch.setattr(candles, "insert", away)
    monkeypatch.setenv("BLOFIN_TIMING", "command_s=0")
    done = run(old([whole(0)]), code=1)
    assert done.stderr.splitlines() == [
        "blofin-agent: the cable was pulled; what was stored is kept: run it again to go on"
    ]


def test_many_that_differ_are_counted_in_words_too(old, database_file, monkeypatch):
    """Twenty of them are shown."""
    monkeypatch.setenv("BLOFIN_DATABASE_URL", database_file)
    put(database_file, held("BTC-USDT", range(30)))
    said = run(old([price(n, close=1.0) for n in range(30)])).stdout
    assert said.count("the old close is 1.0") == 20
    assert "and 10 more that differ" in said
