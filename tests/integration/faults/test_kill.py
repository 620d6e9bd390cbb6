"""SIGKILL at any moment, and power loss: what is stored is the truth, and the next start goes on.

Chance is seeded, but where a process is when it is killed is not: a failure tells when it was.
"""

import contextlib
import random
import sqlite3
import struct
import time

import pytest

from blofin_agent.domain.bar_set import BarSet
from blofin_agent.domain.candle import Timeframe
from blofin_agent.domain.time_range import window_at
from tests.integration.faults import laws
from tests.processes import until

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.slow("real processes, and the deadlines they wait for"),
]

SEED = 20_261_124
ENV = {
    "BLOFIN_SYMBOLS": "all",
    "COVERAGE_SETTLE_SECONDS": "2",
    "BACKFILL_BATCH_LIMIT": "300",
    "BACKFILL_REQUEST_SLEEP_MS": "30",
}
ROUNDS = 10


def hours(number):
    """Return settings in which each start has something to fetch that the last one had not."""
    return ENV | {"BACKFILL_LOOKBACK_HOURS": str(24 + 12 * number)}


def files(place):
    """Return the paths of the database, its write-ahead log and the log's index."""
    base = place.folder / "data/blofin.db"
    return [base.with_name(base.name + end) for end in ("", "-wal", "-shm")]


def rows(place):
    """Return how many candles are stored, 0 while there is no table."""
    with contextlib.suppress(sqlite3.OperationalError):
        return place.query("SELECT count(*) FROM candles")[0][0]
    return 0


def no_limit_was_passed(place, simulator):
    """Nothing was refused, and the ledger knows of each request that the exchange saw."""
    stats = simulator.stats()
    assert stats["limits"]["refused"] == stats["limits"]["suspensions"] == 0
    since = round(time.time() * 1000) - 290_000
    seen = sum(at > since for at in stats["times"])
    ((entered,),) = place.query("SELECT count(*) FROM request_ledger WHERE started > ?", since)
    assert entered >= seen


def ends_whole(place, simulator):
    """The next start fills what is missing, and every row is the exchange's own."""
    done = place.run("backfill", **hours(ROUNDS), within_s=120)
    assert done.returncode == 0, done.stderr
    span = window_at(round(time.time() * 1000), Timeframe.M1, 24 + 12 * ROUNDS - 1, 60_000)
    for symbol in simulator.market.symbols:
        held = BarSet.of(Timeframe.M1, (candle.open_time for candle in place.stored(symbol)))
        assert held.gaps(span) == []
    laws.is_the_truth(place, simulator)


def test_sigkill_at_random_moments_of_agent_and_backfill(place, simulate, ended):
    """During migrations, the cold fill and checkpoints; no limit is passed over all of them."""
    simulator = simulate("4", limits=True)
    chance, before, told = random.Random(SEED), 0, []
    for number in range(ROUNDS):
        early = number < ROUNDS // 2
        command = "run" if number % 2 else "backfill"
        process = place.start(command, cold=early, **hours(number))
        ended.append(process)
        if early:
            # While Python starts, the tables are made, the list is read...
            wait_s = chance.uniform(0.2, 1.6)
        else:
            # ...and while it stores, however slow this machine is.
            until(lambda: rows(place) > before or process.poll() is not None, every_s=0.02)  # noqa: B023
            wait_s = chance.uniform(0, 0.8)
        time.sleep(wait_s)
        process.kill()
        process.wait()
        told.append((number, wait_s))
        if not files(place)[0].exists():
            continue
        assert place.query("PRAGMA integrity_check") == [("ok",)], told
        assert rows(place) >= before, told
        before = rows(place)
    assert before
    laws.is_the_truth(place, simulator)
    no_limit_was_passed(place, simulator)
    ends_whole(place, simulator)
    no_limit_was_passed(place, simulator)


def test_sigkill_loses_nothing_that_was_counted(place, simulate, run_agent):
    """What the last scrape counted is in the file when the process is gone."""
    simulator = simulate("4")
    chance = random.Random(SEED)
    for number in range(0, 12, 4):
        agent = run_agent(**hours(number))
        until(lambda: laws.figures(agent).get("blofin_store_up") == 1)  # noqa: B023
        end, counted = time.monotonic() + chance.uniform(0.5, 2), {}
        while time.monotonic() < end:
            samples = laws.figures(agent)
            counted = {
                symbol: samples.get(f'blofin_candles_present{{symbol="{symbol}"}}', 0)
                for symbol in simulator.market.symbols
            }
        agent.process.kill()
        agent.process.wait()
        assert sum(counted.values())
        for symbol, present in counted.items():
            assert len(place.stored(symbol)) >= present
    laws.is_the_truth(place, simulator)


def synced(index):
    """Return how many frames of the log are surely on the disk: they were copied into the file.

    SQLite syncs the log before that. Source: "The WAL-Index File Format", nBackfillAttempted.
    """
    with contextlib.suppress(OSError):
        head = index.read_bytes()[:136]
        if len(head) == 136:
            return struct.unpack_from("=I", head, 128)[0]
    return 0


def cut(log, kept_frames, chance, how):
    """Do to the log what a loss of power may do: to what was written and not synced."""
    data = bytearray(log.read_bytes() if log.exists() else b"")
    if len(data) < 32:
        return
    page = struct.unpack_from(">I", data, 8)[0]
    at = chance.randint(min(32 + kept_frames * (24 + page), len(data)), len(data))
    match how:
        case "cut":
            del data[at:]
        case "zeros":
            data[at:] = bytes(len(data) - at)
        case "garbage":
            data[at:] = chance.randbytes(len(data) - at)
        case "gone":
            if not kept_frames:
                log.unlink()
            return
    log.write_bytes(data)


def test_power_loss_cuts_the_write_ahead_log_anywhere(place, simulate, ended):
    """Cut, zeroed, or garbage from a random place on, also within a frame; the index gone."""
    simulator = simulate("4")
    chance, before, lost = random.Random(SEED), 0, 0
    for number, how in enumerate(["cut", "zeros", "garbage", "cut", "gone", "garbage", "cut"]):
        process = place.start("backfill" if number % 2 else "run", **hours(number))
        ended.append(process)
        until(lambda: rows(place) > before or process.poll() is not None, every_s=0.02)  # noqa: B023
        time.sleep(chance.uniform(0, 0.8))
        process.kill()
        process.wait()
        _, log, index = files(place)
        known, kept = rows_of(place), synced(index)
        # To count them may have folded the log: no process is left that has it open.
        cut(log, kept, chance, how)
        index.unlink(missing_ok=True)
        assert place.query("PRAGMA integrity_check") == [("ok",)], (number, how)
        before = rows(place)
        if before:
            # Else even the tables were lost.
            laws.is_the_truth(place, simulator)
        lost += known - before
    assert lost > 0
    ends_whole(place, simulator)


def rows_of(place):
    """Return how many candles are stored, through a connection that leaves the files alone."""
    base = place.folder / "data/blofin.db"
    copy = place.folder / "look.db"
    for end in ("", "-wal"):
        source = base.with_name(base.name + end)
        target = copy.with_name(copy.name + end)
        target.unlink(missing_ok=True)
        if source.exists():
            target.write_bytes(source.read_bytes())
    copy.with_name(copy.name + "-shm").unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        return connection.execute("SELECT count(*) FROM candles").fetchone()[0]
