"""Laws of `copy`: a store moves to another engine and back, and nothing is lost or changed."""

import json
import math
import os
import signal
import socket
import sqlite3
import subprocess
import time
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from blofin_agent.cli.main import main
from blofin_agent.domain.backfill_run import BackfillRun, RunTrigger
from blofin_agent.domain.candle import DAY, HOUR, MINUTE, Candle, CandleBatch, Source, Timeframe
from blofin_agent.domain.candle_diff import checksum
from blofin_agent.domain.clock_correction import WallAndMonotonic
from blofin_agent.domain.coverage_blocks import block_ms, block_starts
from blofin_agent.domain.instrument import Instrument
from blofin_agent.domain.rate_limit import HORIZON_MS, Suspension
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.domain.trade import Trade
from blofin_agent.domain.unavailability import UnavailableRange
from blofin_agent.jobs.store_copy import candle_copier
from blofin_agent.store.bulk_copy import candle_copy, table_copy
from blofin_agent.store.database import open_store
from blofin_agent.store.errors import StoreUnavailable
from blofin_agent.store.schema import metadata
from blofin_agent.store.tables import (
    backfill_runs,
    candles,
    coverage_blocks,
    heartbeats,
    instruments,
    rate_limit,
    trades,
    unavailable,
    verifications,
)
from blofin_agent.store.tables.candle_series import next_series
from blofin_agent.store.tables.verifications import Verification
from tests.processes import COMMAND, settings

START = 1_790_000_000_000 // DAY * DAY
DAYS = 14
ENGINES = ("sqlite", "postgresql")
ROWS = ("gap_fill_runs", "verifications", "replaced_candles", "ticks", "unavailable", "instruments")


@pytest.fixture
def new(request, tmp_path):
    """Return a function that gives the URL of a fresh database of an engine."""
    made = []

    def make(engine):
        if engine == "sqlite":
            made.append(None)
            return f"sqlite:///{tmp_path}/{len(made)}.db"
        server = request.getfixturevalue("postgres")
        made.append(server.database(request.getfixturevalue("postgres_template")))
        return server.url(made[-1])

    yield make
    for name in filter(None, made):
        request.getfixturevalue("postgres").drop(name)


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    """Let no setting of the machine's be in the way, and nobody wait for a database for long."""
    for name in [name for name in os.environ if name.startswith("BLOFIN_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def change(url, *works):
    """Do something to a store as an agent would, in a transaction each."""
    store = open_store(url)
    for work in works:
        with store.engine.begin() as connection:
            work(connection)
    store.close()


def ask(url, work):
    store = open_store(url, read_only=True)
    found = store.read_here(work)
    store.close()
    return found


def all_of(url, table, *but):
    """Return the rows of a table as text, less some columns."""
    columns = [one for one in metadata.tables[table].columns if one.name not in but]
    query = sa.select(*columns).order_by(*metadata.tables[table].primary_key)
    return ask(url, lambda db: [repr(tuple(row)) for row in db.execute(query)])


def series(count, first=START, step=MINUTE, close=100.0):
    return [
        Candle(first + n * step, 0.1 + 0.2, 2e15 + n, 5e-324, close + n / 7, n / 3, 1e308, 1 / 3)
        for n in range(count)
    ]


def put(symbol, found, source=Source.FILL, bar=Timeframe.M1):
    return partial(candles.insert, bar=bar, batches=[CandleBatch(symbol, source, found)])


def fill(url, days=3):
    """Fill a store with all that an agent stores: two symbols, holes, both sources, three bars."""
    stretch = series(days * 1_440)
    ran = BackfillRun(
        "A-USDT", "1m", RunTrigger.PERIODIC, START, START + 5, 7, first_gap=3, note="it's; a note"
    )
    proof = UnavailableRange(
        TimeRange(START + 10 * MINUTE, START + 12 * MINUTE), START, 1, START + HOUR
    )
    odd = Candle(START, math.inf, math.inf, -math.inf, 0.1 + 0.2, 0.0, 1e-300, 123456789.123456)
    change(
        url,
        put("A-USDT", stretch[:10] + stretch[12:]),
        put("B-USDT", stretch[: days * 720], Source.LIVE),
        put("B-USDT", stretch[days * 720 :]),
        put("B-USDT", series(20, START - 400 * DAY, 5 * MINUTE), bar=Timeframe.M5),
        put(
            "B-USDT",
            series(30, START // Timeframe.D1.ms * Timeframe.D1.ms - 900 * DAY, DAY),
            bar=Timeframe.D1,
        ),
        put("ODD-USDT", [odd]),
        *(
            partial(backfill_runs.record, run=replace(ran, started=START + n, symbol=of))
            for n, of in enumerate(("B-USDT", "A-USDT", "B-USDT"))
        ),
        partial(backfill_runs.record, run=ran),
        partial(backfill_runs.record, run=ran),
        partial(
            verifications.record,
            verification=Verification("A-USDT", "1m", START, START, START + 1, seed=1 << 62),
        ),
        partial(
            verifications.repair,
            symbol="A-USDT",
            bar=Timeframe.M1,
            differences=[
                verifications.CandleDifference(stretch[3], stretch[3]._replace(close=9.0))
            ],
            missing=[],
            now_ms=START,
        ),
        # As the audit after an agent's start would.
        partial(coverage_blocks.repair_blocks, bar=Timeframe.M1, symbol="A-USDT", these=[START]),
        partial(
            unavailable.save_proofs, symbol="A-USDT", bar=Timeframe.M1, proofs=[proof], since=0
        ),
        partial(
            instruments.save_instruments, found=[Instrument("A-USDT", 5, "live")], now_ms=START
        ),
        partial(
            heartbeats.record_heartbeat, service="backfill", started=1, now_ms=START, note="a pass"
        ),
        partial(
            trades.insert_trades,
            found=[("A-USDT", Trade(str(n), START, 0.1, 2.0, "buy")) for n in range(50)],
        ),
    )


def copy(source, target, *words, code=0):
    done = CliRunner(catch_exceptions=False).invoke(
        main, ["copy", "--from", source, "--to", target, *words]
    )
    assert done.exit_code == code, done.output
    return done


def copied(source, target, *words, code=0):
    return json.loads(copy(source, target, "--json", *words, code=code).stdout)


def sums(url):
    """Return the checksum of each series, and hold that all blocks say what the candles say."""

    def look(db):
        found, after = {}, None
        while one := next_series(db, after):
            after = one.symbol, one.bar
            bar, whole = Timeframe(one.bar), TimeRange(one.first, one.last + 1)
            rows = candle_copy.read(db, one.symbol, bar, whole)
            found[after] = len(rows), checksum(rows)
            assert (
                coverage_blocks.find_wrong_blocks(
                    db, bar, one.symbol, list(block_starts(bar, whole))
                )
                == []
            )
        return found

    return ask(url, look)


@pytest.mark.parametrize("source", ENGINES)
@pytest.mark.parametrize("target", ENGINES)
@pytest.mark.slow("copies every table twice")
def test_all_of_a_store_arrives_and_a_second_copy_writes_nothing(new, source, target):
    """To the last bit of each figure, with sources, blocks, runs in their order, proofs, ticks."""
    here, there = new(source), new(target)
    fill(here)
    told = copied(here, there)
    assert told["complete"]
    assert told["copied"] == told["candles"] == 3 * 1_440 * 2 - 2 + 20 + 30 + 1
    assert (told["equal"], told["kept"]) == (0, [])
    assert {one["table"]: one["copied"] for one in told["tables"]} == {
        "gap_fill_runs": 5,
        "verifications": 1,
        "replaced_candles": 1,
        "ticks": 50,
        "unavailable": 1,
        "instruments": 1,
        "service_heartbeats": 1,
        "suspension": 0,
        "request_ledger": 0,
    }
    assert sums(here) == sums(there)
    assert len(sums(there)) == 5
    for table in (*ROWS, "service_heartbeats", "coverage_blocks"):
        assert all_of(here, table, "id") == all_of(there, table, "id") != []
    before = state(there)
    told = copied(here, there)
    assert told["complete"]
    assert told["copied"] == sum(one["copied"] for one in told["tables"]) == 0
    assert told["equal"] == told["days"] > 0
    assert state(there) == before


def state(url):
    """Return what differs once something was written: the file, or the numbers of new rows."""
    if url.startswith("sqlite"):
        path = Path(url.removeprefix("sqlite:///"))
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return path.read_bytes()
    tables = ("gap_fill_runs", "verifications", "replaced_candles", "candles", "ticks")
    told = [f"SELECT sum(xmin::text::bigint) FROM {table}" for table in tables]
    told += [f"SELECT last_value FROM {table}_id_seq" for table in tables[:3]]
    return ask(url, lambda db: [db.exec_driver_sql(one).scalar() for one in told])


def test_there_and_back_it_is_the_same(new):
    """From a file to a server and into another file: equal, by checksum and by what it has."""
    first, server, last = new("sqlite"), new("postgresql"), new("sqlite")
    fill(first)
    copy(first, server)
    copy(server, last)
    assert sums(first) == sums(last)
    assert copied(first, last)["equal"] == copied(last, first)["equal"] > 0
    for table in ROWS:
        assert all_of(first, table) == all_of(last, table)


def test_a_run_that_comes_afterwards_has_the_next_number(new):
    """The numbers are the target's own, and it goes on counting."""
    here, there = new("sqlite"), new("postgresql")
    fill(here)
    later = BackfillRun("A-USDT", "1m", RunTrigger.HEAL, START + DAY)
    change(there, partial(backfill_runs.record, run=later))
    copy(here, there)
    change(there, partial(backfill_runs.record, run=later))
    numbers = ask(
        there,
        lambda db: db.exec_driver_sql("SELECT id, started FROM gap_fill_runs ORDER BY id").all(),
    )
    assert [number for number, _ in numbers] == list(range(1, 8))
    assert [at - START for _, at in numbers] == [DAY, 0, 1, 2, 0, 0, DAY]
    copy(there, here)
    change(here, partial(backfill_runs.record, run=later))
    assert len(all_of(here, "gap_fill_runs")) == 8


def test_nan_goes_where_it_can_be_held(new):
    """PostgreSQL holds it; SQLite does not: such a candle is told, and costs none beside it."""
    one, other, file = new("postgresql"), new("postgresql"), new("sqlite")
    odd = Candle(START + MINUTE, 1.0, math.nan, math.inf, 1.0, 1.0, 1.0, 1.0)
    change(one, put("A-USDT", [*series(1), odd]))
    copy(one, other)
    assert sums(one) == sums(other)
    assert copied(one, other)["equal"] == 1
    told = copied(one, file, code=3)
    assert (told["copied"], told["refused"], told["complete"]) == (1, 1, False)
    assert "1 that it cannot hold" in copy(one, file, code=3).stdout
    assert sums(file)["A-USDT", "1m"][0] == 1


@pytest.mark.parametrize("target", ENGINES)
def test_what_the_target_has_otherwise_is_kept_and_told(new, target):
    """With exit code 3; the rest of the day comes all the same."""
    here, there = new("sqlite"), new(target)
    change(here, put("A-USDT", series(100)))
    mine = series(1)[0]._replace(close=7.0, high=math.inf)
    change(there, put("A-USDT", [mine, *series(5, START + 200 * MINUTE)]))
    told = copied(here, there, code=3)
    assert (told["copied"], told["different"], told["extra"]) == (99, 1, 5)
    assert told["kept"] == [
        {
            "symbol": "A-USDT",
            "bar": "1m",
            "start": START,
            "candles": 1,
            "first": START,
            "fields": {"high": [2e15, "inf"], "close": [100.0, 7.0]},
        }
    ]
    said = copy(here, there, code=3).stdout
    assert "another there at 2026-09-21 00:00" in said
    assert "close 100.0, there 7.0 (kept)" in said
    assert "incomplete" in said
    kept = ask(
        there,
        partial(
            candle_copy.read, symbol="A-USDT", bar=Timeframe.M1, span=TimeRange(START, START + 1)
        ),
    )
    assert kept[0][:8] == tuple(mine)
    assert sums(there)["A-USDT", "1m"][0] == 105


def test_what_the_target_has_beyond_the_source_is_fine_and_said(new):
    """More candles, and the same from another source: all of the source is there."""
    here, there = new("sqlite"), new("sqlite")
    change(here, put("A-USDT", series(3), Source.LIVE))
    change(there, put("A-USDT", series(5)))
    told = copied(here, there)
    assert (told["extra"], told["renamed"], told["copied"], told["complete"]) == (2, 3, 0, True)
    said = copy(here, there).stdout
    assert "3 that it has from another source (kept), 2 more there" in said


@pytest.mark.parametrize("target", ENGINES)
@pytest.mark.slow("copies 57,000 candles several times")
def test_broken_off_anywhere_it_goes_on_when_it_is_run_again(new, target, monkeypatch):
    """What was copied before is compared, and not written again."""
    here, there = new("sqlite"), new(target)
    fill(here, days=20)
    insert, count = candles.insert, iter(range(100))
    monkeypatch.setenv("BLOFIN_TIMING", "command_s=0")

    def fail(*args, **how):
        if next(count) == 3:
            raise StoreUnavailable("the cable was pulled")
        return insert(*args, **how)

    monkeypatch.setattr(candles, "insert", fail)
    done = copy(here, there, code=1)
    assert done.stderr.splitlines() == [
        "blofin-agent: the cable was pulled; what was copied is kept: run it again to go on"
    ]
    monkeypatch.setattr(candles, "insert", insert)
    held = sum(rows for rows, _ in sums(there).values())
    assert 0 < held < sum(rows for rows, _ in sums(here).values())
    told = copied(here, there)
    assert told["copied"] == told["candles"] - held
    assert told["equal"] >= held // 1_440
    assert sums(here) == sums(there)


def test_a_server_that_is_away_for_a_moment_is_waited_for(new, postgres, monkeypatch):
    """Its connections are cut in the middle of a transaction: nothing is lost, nothing twice."""
    here, there = new("sqlite"), new("postgresql")
    fill(here)
    insert, count = candles.insert, iter(range(100))

    def cut(connection, *rest):
        done = insert(connection, *rest)
        if next(count) == 1:
            name = there.rpartition("/")[2]
            postgres.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                f"WHERE datname = '{name}' AND pid <> pg_backend_pid()"
            )
        return done

    monkeypatch.setattr(candles, "insert", cut)
    assert copied(here, there)["complete"]
    assert next(count) > 4
    assert sums(here) == sums(there)


@pytest.fixture
def started(new):
    """Start `copy` of some symbols as a process, and wait until the first of them is there."""
    running = []

    def start(target):
        here, there = new("sqlite"), new(target)
        change(here, *(put(f"{name}-USDT", series(DAYS * 1_440)) for name in "ABCDE"))
        process = subprocess.Popen(
            [*COMMAND, "copy", "--from", here, "--to", there],
            env=settings(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        assert process.stdout.readline().startswith("A-USDT 1m: ")
        return process, here, there

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("target", ENGINES)
@pytest.mark.slow("a real process that copies, and is ended")
def test_after_kill_9_it_goes_on(started, target):
    """The process is gone in the middle; a second one finds what is there and copies the rest."""
    process, here, there = started(target)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    held = sum(rows for rows, _ in sums(there).values())
    assert DAYS * 1_440 <= held < 5 * DAYS * 1_440
    told = copied(here, there)
    assert told["copied"] == told["candles"] - held
    assert told["complete"]
    assert told["equal"] > 0
    assert sums(here) == sums(there)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.slow("a real process that copies, and is ended")
def test_a_signal_ends_it_after_the_transaction_under_way(started, number):
    """With exit code 1 and what to do."""
    process, here, there = started("sqlite")
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert out.splitlines()[-1] == (
        "stopped before the end; what was copied is kept: run it again to go on"
    )
    assert "Traceback" not in err
    assert copied(here, there)["complete"]
    assert sums(here) == sums(there)


def test_what_agents_store_meanwhile_comes_with_the_next_run(new, monkeypatch):
    """On either side, between any two transactions."""
    here, there = new("sqlite"), new("postgresql")
    fill(here)
    read, count = candle_copy.read, iter(range(100))

    def meanwhile(*some, **how):
        number = next(count)
        for url, of in ((here, "A-USDT"), (there, "NEW-USDT")):
            change(url, put(of, series(1, START + (5_000 + number) * MINUTE), Source.LIVE))
        return read(*some, **how)

    monkeypatch.setattr(candle_copy, "read", meanwhile)
    assert copied(here, there)["complete"]
    monkeypatch.setattr(candle_copy, "read", read)
    told = copied(here, there)
    assert 0 < told["copied"] <= next(count)
    mine = {name: one for name, one in sums(there).items() if name[0] != "NEW-USDT"}
    assert mine == sums(here)


def test_a_ban_and_used_budget_are_not_forgotten(new):
    """A file knows one address, a server one of each host: what one calls '' the other names."""
    here, there, back = new("sqlite"), new("postgresql"), new("sqlite")
    now = int(time.time() * 1000)
    ban = Suspension(now + HOUR, 3, 0, banned=True, reason="403", noted=now, share=0.5)
    change(here, partial(spend, egress="", at=[now - 5, now - 5, now - HORIZON_MS - HOUR], ban=ban))
    change(
        there,
        partial(
            spend, egress=socket.gethostname(), at=[now - 9], ban=Suspension(now, 1, share=0.25)
        ),
    )
    told = {one["table"]: one for one in copied(here, there)["tables"]}
    assert (told["suspension"]["copied"], told["request_ledger"]["copied"]) == (1, 2)
    view = ask(there, partial(look, egress=socket.gethostname()))
    assert view.starts == [now - 9, now - 5, now - 5]
    assert (view.suspension.until, view.suspension.strikes) == (ban.until, 3)
    assert view.suspension.share == 0.25
    assert ask(there, partial(look, egress="")).starts == []
    told = {one["table"]: one for one in copied(here, there)["tables"]}
    assert (told["suspension"]["copied"], told["request_ledger"]["copied"]) == (0, 0)
    copy(there, back)
    view = ask(back, partial(look, egress=""))
    assert (len(view.starts), view.suspension.banned) == (3, True)


def spend(connection, egress, at, ban):
    rate_limit.reconcile_budget(
        connection, rate_limit.LocalBudget(suspension=ban, egress=egress), moment()
    )
    for started in at:
        rate_limit._enter(connection, "candles", started, egress)


def look(connection, egress):
    return rate_limit.read_budget(connection, rate_limit.LocalBudget(egress=egress), moment())


def moment():
    return WallAndMonotonic(int(time.time() * 1000), 0)


def test_what_is_known_better_is_left(new):
    """Of proofs, the list of instruments and the last success: nothing older takes their place."""
    here, there = new("sqlite"), new("postgresql")
    proofs = [
        UnavailableRange(TimeRange(START + n * MINUTE, START + (n + 3) * MINUTE), START, 1, 9)
        for n in (0, 10)
    ]
    mine = [UnavailableRange(TimeRange(START + 2 * MINUTE, START + 5 * MINUTE), START, 4, 99)]
    for url, proven, seen in ((here, proofs, START), (there, mine, START + 1)):
        listed = [Instrument(f"S{seen}-USDT", None, "live")]
        change(
            url,
            partial(
                unavailable.save_proofs, symbol="A-USDT", bar=Timeframe.M1, proofs=proven, since=0
            ),
            partial(instruments.save_instruments, found=listed, now_ms=seen),
            partial(
                heartbeats.record_heartbeat,
                service="backfill",
                started=1,
                now_ms=seen,
                note="a pass",
            ),
        )
    told = {one["table"]: one for one in copied(here, there)["tables"]}
    assert (told["unavailable"]["copied"], told["unavailable"]["kept"]) == (1, 1)
    assert ask(there, partial(unavailable.load_proofs, bar=Timeframe.M1, since=0))["A-USDT"] == [
        mine[0],
        proofs[1],
    ]
    assert ask(there, instruments.load_instruments).seen == START + 1
    assert ask(there, partial(heartbeats.last_heartbeat, service="backfill")) == START + 1
    copy(there, here)
    assert ask(here, instruments.load_instruments).seen == START + 1
    assert ask(here, partial(heartbeats.last_heartbeat, service="backfill")) == START + 1


def test_rows_that_are_alike_are_copied_as_often_as_they_are_there(new, monkeypatch):
    """Two runs may be the same to the millisecond, in one part of the table or in two."""
    monkeypatch.setattr("blofin_agent.jobs.store_copy.table_copier.BATCH_ROWS", 2)
    here, there = new("sqlite"), new("postgresql")
    one, two = (BackfillRun("A-USDT", "1m", RunTrigger.HEAL, START + n) for n in (0, 1))
    change(here, *(partial(backfill_runs.record, run=run) for run in (one, one, one, two, one)))
    change(there, partial(backfill_runs.record, run=one))
    told = copied(here, there)["tables"][0]
    assert (told["rows"], told["copied"]) == (5, 4)
    assert copied(here, there)["tables"][0]["copied"] == 0
    assert len(all_of(there, "gap_fill_runs")) == 5


def test_a_tick_that_the_target_has_otherwise_is_kept_and_told(new):
    """It goes by its number alone."""
    here, there = new("sqlite"), new("postgresql")
    for url, price in ((here, 1.0), (there, 2.0)):
        change(
            url,
            partial(trades.insert_trades, found=[("A-USDT", Trade("7", START, price, 1.0, "buy"))]),
        )
    told = next(one for one in copied(here, there, code=3)["tables"] if one["table"] == "ticks")
    assert (told["rows"], told["copied"], told["different"]) == (1, 0, 1)
    assert "2.0" in all_of(there, "ticks")[0]


def test_only_the_symbols_named_are_copied(new):
    """By name or pattern; what is of no symbol comes as ever. One not there is wrong use."""
    here, there, file = new("sqlite"), new("postgresql"), new("sqlite")
    fill(here)
    told = copied(here, there, "--symbols", "a-usdt")
    assert {one["symbol"] for one in told["symbols"]} == {"A-USDT"}
    assert [one["rows"] for one in told["tables"][:4]] == [3, 1, 1, 50]
    told = copied(here, file, "--symbols", "[BO]*")
    assert {one["symbol"] for one in told["symbols"]} == {"B-USDT", "ODD-USDT"}
    assert [one["rows"] for one in told["tables"][:6]] == [2, 0, 0, 0, 0, 1]
    for words in ("NONE-USDT,A-USDT", "*-USDC"):
        done = copy(here, there, "--symbols", words, code=2)
        assert words.split(",")[0] in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_the_same_place_twice_is_wrong_use(new, postgres, tmp_path):
    """By whatever name it goes."""
    file, server = new("sqlite"), new("postgresql")
    change(file)
    (tmp_path / "link.db").symlink_to(file.removeprefix("sqlite:///"))
    pairs = (
        (file, f"sqlite:///{tmp_path}/link.db"),
        (server, server.replace("127.0.0.1", "localhost")),
    )
    for source, target in pairs:
        for one, other in ((source, source), (source, target)):
            done = copy(one, other, code=2)
            assert "name the same database" in done.stderr
            assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("source", "target", "code", "says"),
    [
        ("nonsense", "sqlite:///a.db", 2, "--from is no database URL"),
        ("sqlite:///here.db", "mysql://me:s3cret@h/d", 2, "--to names 'mysql'"),
        ("sqlite:///here.db", "postgresql://me:s3@s3cret@h/d", 2, "--to has a sign"),
        ("sqlite:///none.db", "sqlite:///a.db", 1, "there is no database at none.db"),
        ("sqlite:///old.db", "sqlite:///a.db", 1, "not set up for this version"),
        ("sqlite:///theirs.db", "sqlite:///a.db", 1, "blofin-agent did not make"),
        ("sqlite:///here.db", "sqlite:///theirs.db", 1, "blofin-agent did not make"),
        ("sqlite:///text.db", "sqlite:///a.db", 1, "no SQLite database"),
        ("sqlite:///here.db", "postgresql://me:s3cret@127.0.0.1:1/d", 1, "refused"),
    ],
)
def test_what_cannot_be_is_one_line_without_a_password(new, tmp_path, source, target, code, says):
    """And a target is not made when there is no source."""
    for name in ("here", "old"):
        change(f"sqlite:///{tmp_path}/{name}.db")
    (tmp_path / "text.db").write_text("some text, and no database at all" * 100)
    for name, statement in (
        ("old", "UPDATE alembic_version SET version_num = '0006'"),
        ("theirs", "CREATE TABLE ticks (price)"),
    ):
        with closing(sqlite3.connect(tmp_path / f"{name}.db")) as connection, connection:
            connection.execute(statement)
    done = copy(source, target, code=code)
    assert says in done.stderr
    assert "s3cret" not in done.output
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "a.db").exists()


def test_what_no_agent_wrote_is_told_and_costs_nothing_beside_it(new):
    """Text for a figure, a source, a bar and a symbol that are none, a run that is none."""
    here, there = new("sqlite"), new("postgresql")
    change(here, put("A-USDT", series(5)))
    path = here.removeprefix("sqlite:///")
    figures = ", 1.0, 2.0, 0.5, 1.5, 1.0, 2.0, 3.0"
    strange = (
        f"('A-USDT', '1m', {START + 10 * MINUTE}{figures}, 'mine')",
        f"('A-USDT', '1m', {START + 11 * MINUTE}{figures.replace('1.5', repr('x'))}, 'blofin_ws')",
        f"('A-USDT', '1m', -60000{figures}, 'blofin_ws')",
        f"('A-USDT', '1M', {START}{figures}, 'blofin_ws')",
        f"('a b', '1m', {START}{figures}, 'blofin_ws')",
        f"('TEXT-USDT', '1m', 'now'{figures}, 'blofin_ws')",
    )
    with closing(sqlite3.connect(path)) as connection, connection:
        for row in strange:
            connection.execute(f"INSERT INTO candles VALUES {row}")
        connection.execute(
            "INSERT INTO gap_fill_runs SELECT NULL, 1, 1, 'A-USDT', '1m', 'heal', 1, 1, 1, 1, 1, "
            "1, 1 << 40, NULL, NULL, 0, 0, 'x', 'y'"
        )
        connection.execute("INSERT INTO ticks VALUES ('A-USDT', '1', 1, 'x', 1, 'buy', 'mine')")
    told = copied(here, there, code=3)
    assert (told["copied"], told["refused"]) == (5, 5)
    assert [one["refused"] for one in told["tables"][:4]] == [1, 0, 0, 1]
    assert sums(there)["A-USDT", "1m"][0] == 5


def test_empty_years_cost_nothing(new, monkeypatch):
    """Where nothing is, nothing is read: not even day by day."""
    here, there = new("sqlite"), new("sqlite")
    change(here, put("A-USDT", series(1, 0) + series(1)))
    reads = []
    read = candle_copy.read
    monkeypatch.setattr(
        candle_copy, "read", lambda *some, **how: reads.append(how) or read(*some, **how)
    )
    assert copied(here, there)["copied"] == 2
    assert len(reads) < 10


def test_long_bars_take_several_transactions(new, monkeypatch):
    """Each week is a table on PostgreSQL, and a transaction locks those that it writes to."""
    here, there = new("sqlite"), new("postgresql")
    change(here, put("A-USDT", series(1_200, START - 1_300 * DAY, DAY), bar=Timeframe.D1))
    took = []
    insert = candles.insert

    def count(connection, bar, batches):
        took.append(len(batches[0].candles))
        return insert(connection, bar, batches)

    monkeypatch.setattr(candles, "insert", count)
    assert copied(here, there)["complete"]
    assert sum(took) == 1_200
    assert max(took) <= candle_copier.MAX_RANGE_MS // DAY
    assert block_ms(Timeframe.D1) > candle_copier.MAX_RANGE_MS
    assert sums(here) == sums(there)


def test_on_a_terminal_there_is_a_bar(new, monkeypatch):
    """On standard error; the lines stand above it."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    here, there = new("sqlite"), new("sqlite")
    fill(here)
    done = copy(here, there)
    assert "bars" in done.stderr
    assert "A-USDT 1m: 4318 candles in 3 days: 4318 copied" in done.stderr
    assert done.stdout.splitlines()[-1].startswith("complete: all of ")


def test_the_figures_of_a_report_are_all_there(new):
    """As `--json` prints them."""
    here, there = new("sqlite"), new("sqlite")
    fill(here)
    told = copied(here, there)
    assert {"from", "to", "complete", "stopped", "seconds", "days", "lacking"} <= set(told)
    assert set(asdict(candle_copier.CopiedSeries("A", "1m"))) == set(told["symbols"][0])


def test_what_is_not_there_when_it_is_read_again_is_told(new, monkeypatch):
    """Each day and each part of a table is looked at again once it was written."""
    here, there = new("sqlite"), new("postgresql")
    fill(here)
    add = table_copy.add

    def forgetful(connection, bar, batches):
        done = insert(connection, bar, batches)
        connection.exec_driver_sql(f"DELETE FROM candles WHERE open_time = {START + 5 * MINUTE}")
        return done

    insert = candles.insert
    monkeypatch.setattr(candles, "insert", forgetful)
    monkeypatch.setattr(table_copy, "add", lambda db, kind, rows: add(db, kind, rows[:-1] or rows))
    told = copied(here, there, code=3)
    assert told["lacking"] == 2
    assert [one["lacking"] for one in told["tables"][:4]] == [1, 0, 0, 1]
    assert told["symbols"][0]["equal"] == 0
    monkeypatch.undo()
    said = copy(here, there).stdout
    assert "A-USDT 1m: 4318 candles in 3 days: 1 copied" in said
    assert "gap_fill_runs: 5 rows, 1 copied" in said


def test_a_word_that_can_be_no_symbol_is_wrong_use(new):
    """As with the other commands."""
    here = new("sqlite")
    change(here)
    assert "can be no symbol" in copy(here, new("sqlite"), "--symbols", "\x1b", code=2).stderr


def test_rows_with_nan_are_known_again(new):
    """On PostgreSQL alone there can be any."""
    one, other = new("postgresql"), new("postgresql")
    odd = BackfillRun("A-USDT", "1m", RunTrigger.HEAL, START, coverage_before=math.nan)
    change(one, partial(backfill_runs.record, run=odd), partial(backfill_runs.record, run=odd))
    assert copied(one, other)["tables"][0]["copied"] == 2
    assert copied(one, other)["tables"][0]["copied"] == 0
    told = copied(one, new("sqlite"), code=3)["tables"][0]
    assert (told["copied"], told["refused"]) == (0, 2)
