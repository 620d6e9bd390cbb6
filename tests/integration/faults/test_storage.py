"""Faults of the storage under a running agent: it waits, says so, loses nothing, and goes on."""

import contextlib
import os
import resource
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from tests.integration.faults import laws
from tests.integration.faults.laws import ENV
from tests.pace import REAL
from tests.processes import COMMAND, start_agent, until

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.slow("real processes, and the deadlines they wait for"),
]


def filled(folder):
    """Fill a file system to its last byte; return the file that does."""
    ballast = folder / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4_096))
    return ballast


def database(place):
    return place.folder / "data/blofin.db"


def folded(place):
    """Fold the log into the file, as another process may: what is then overwritten is lost."""
    with contextlib.closing(sqlite3.connect(database(place))) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    # The agent looks once a second, and tells this from what is written after it.
    time.sleep(1.5)


@pytest.fixture
def agent(place, simulate, run_agent):
    """Return an agent whose store is whole, and folded into its file."""
    simulate()
    agent = run_agent(**ENV)
    laws.whole(agent)
    folded(place)
    return agent


# -- a lock ---------------------------------------------------------------------------------------

LOCKED_S = 60 if REAL else 12
COMMAND_S = 30 if REAL else 5
"""How long a command waits for the database."""


def test_locked_by_another_process_for_long(place, simulate, run_agent):
    """The agent goes on at once when it is over; commands say in one line that it is locked."""
    simulator = simulate()
    env = ENV | {"BLOFIN_TIMING": f"command_s={COMMAND_S}"}
    agent = run_agent(**env)
    laws.whole(agent)
    done = {}
    with laws.locked(database(place)):
        until_ = time.monotonic() + LOCKED_S
        laws.down(agent)
        for command in ("coverage", "gaps", "verify", "check", "backfill"):
            begun = time.monotonic()
            ran = place.run(command, **env | {"BACKFILL_LOOKBACK_HOURS": "7"})
            done[command] = ran, time.monotonic() - begun
        # Its candles come meanwhile, and nothing is counted that is not stored.
        while True:
            assert laws.figures(agent)["blofin_store_up"] == 0
            laws.counted_is_stored(agent, place)
            if time.monotonic() > until_:
                break
            time.sleep(0.5)
    assert laws.whole(agent) < 10
    laws.counted_is_stored(agent, place)
    assert laws.told(place) == (1, 1)
    laws.is_the_truth(place, simulator)
    with laws.locked(database(place)):
        laws.down(agent)
        laws.ends(agent)
    for command, (ran, seconds) in done.items():
        assert "Traceback" not in ran.stderr
        assert "the agent" not in ran.stderr
        # Commands that read are not delayed; commands that write wait for COMMAND_S at most.
        assert seconds < COMMAND_S + 15
        if command in ("coverage", "gaps"):
            assert (ran.returncode, ran.stderr) == (3, "")
        else:
            assert ran.returncode == 1
            assert "another program keeps it locked" in ran.stdout + ran.stderr
            assert len(ran.stderr.splitlines()) <= 2


def test_locked_when_the_agent_starts(place, simulate, run_agent):
    """Not even readable: the agent serves all the same, and begins when it is unlocked."""
    simulator = simulate()
    assert place.run("backfill", **ENV).returncode == 0
    with contextlib.closing(sqlite3.connect(database(place), isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("CREATE TABLE notes (mine)")
        other.execute("COMMIT")
        agent = run_agent(**ENV)
        laws.down(agent)
        assert "being counted" in agent.get("/readyz")
    assert laws.whole(agent) < 10
    assert laws.told(place) == (1, 1)
    laws.is_the_truth(place, simulator)
    laws.ends(agent)


# -- no room --------------------------------------------------------------------------------------


def test_disk_full_on_a_small_tmpfs(place, simulate, run_agent, tmpfs):
    """One line when it begins, one when there is room again; and a signal while it is full."""
    simulator = simulate()
    data = place.folder / "data"
    tmpfs(data, "4m")
    agent = run_agent(**ENV)
    laws.whole(agent)
    ballast = filled(data)
    laws.down(agent)
    laws.stays_down(agent, 4)
    laws.counted_is_stored(agent, place)
    ballast.unlink()
    assert laws.whole(agent) < 15
    assert laws.told(place) == (1, 1)
    laws.is_the_truth(place, simulator)
    filled(data)
    laws.down(agent)
    laws.ends(agent)
    assert place.query("PRAGMA integrity_check") == [("ok",)]


def test_disk_full_while_a_cold_store_fills(place, simulate, run_agent, tmpfs):
    """The fill stops in the middle, and goes on where it was."""
    simulator = simulate()
    data = place.folder / "data"
    tmpfs(data, "1m")
    agent = run_agent(**ENV | {"BACKFILL_LOOKBACK_HOURS": "168"})
    laws.down(agent, 30)
    begun = laws.figures(agent)['blofin_candles_present{symbol="BTC-USDT"}']
    assert begun <= place.query("SELECT count(*) FROM candles WHERE symbol = 'BTC-USDT'")[0][0]
    laws.system("mount", "-o", "remount,size=32m", data)
    laws.whole(agent)
    assert len(place.stored("ETH-USDT")) >= 10_080
    laws.is_the_truth(place, simulator)
    laws.ends(agent)


@pytest.mark.parametrize("room_kb", [0, 40])
def test_disk_full_in_the_middle_of_the_migrations(place, simulate, run_agent, tmpfs, room_kb):
    """Whatever of the empty database still found room, the agent makes it whole later."""
    simulator = simulate()
    data = place.folder / "data"
    tmpfs(data, "1m")
    os.truncate(filled(data), (1_024 - room_kb) * 1_024)
    agent = run_agent(**ENV)
    laws.down(agent)
    done = place.run("coverage")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    laws.system("mount", "-o", "remount,size=8m", data)
    laws.whole(agent)
    assert laws.told(place) == (1, 1)
    laws.is_the_truth(place, simulator)
    laws.ends(agent)


def test_disk_full_by_a_limit_of_file_size_for_the_log_too(agent, place):
    """Lines that find no room are lost, and not the agent."""
    limit = 1_000  # bytes: the write-ahead log is longer, and the agent's own log is soon
    soft = resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE, (limit, soft[1]))
    laws.down(agent)
    laws.counted_is_stored(agent, place)
    resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE, soft)
    assert laws.whole(agent) < 15
    assert laws.told(place) == (1, 1)
    resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE, (limit, soft[1]))
    laws.down(agent)
    laws.ends(agent)
    assert (place.folder / "err").stat().st_size <= limit


@pytest.mark.parametrize("room", [20, 100])
def test_a_log_that_is_full_in_the_middle_of_a_line_does_not_change_the_exit_code(
    agent, place, room
):
    """Neither in the first line after the signal nor in the last."""
    limit = (place.folder / "err").stat().st_size + room
    _, hard = resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE, (limit, hard))
    assert agent.stop() == 0
    assert (place.folder / "err").stat().st_size == limit


# -- read-only ------------------------------------------------------------------------------------


def test_read_only_when_the_agent_starts_and_remounted(place, simulate, run_agent, tmpfs):
    """It goes on once the disk is mounted for writing."""
    simulator = simulate()
    data = place.folder / "data"
    tmpfs(data, "8m")
    assert place.run("backfill", **ENV).returncode == 0
    laws.system("mount", "-o", "remount,ro", data)
    agent = run_agent(**ENV)
    laws.down(agent)
    laws.system("mount", "-o", "remount,rw", data)
    assert laws.whole(agent) < 10
    assert laws.told(place) == (1, 1)
    laws.is_the_truth(place, simulator)
    laws.ends(agent)


def test_read_only_after_the_disk_failed_under_the_agent(
    place, simulate, run_agent, mounts, debian
):
    """As Linux does with a disk that fails. Mounted again, it is opened again."""
    simulator = simulate()
    data, image = place.folder / "data", place.folder / "disk"
    with image.open("wb") as file:
        file.truncate(16 << 20)
    laws.system(debian("mkfs.ext4"), "-q", image)
    mounts(data, "-o", "loop,errors=remount-ro", str(image))
    agent = run_agent(**ENV)
    laws.whole(agent)
    present = laws.counted_is_stored(agent, place)
    # A remount proper is refused while files are open for writing.
    laws.system("mount", "-o", "remount,abort", data)
    laws.down(agent)
    laws.stays_down(agent, 3)
    laws.system("umount", "--lazy", data)
    mounts(data, "-o", "loop", str(image))
    laws.whole(agent)
    assert laws.counted_is_stored(agent, place) >= present
    assert laws.told(place) == (1, 1)
    laws.is_the_truth(place, simulator)
    laws.ends(agent)


def test_permission_taken_from_the_folder_and_then_the_file(
    place, simulate, ended, bound_by_rights
):
    """Given back, it goes on: under the agent, and where it starts without."""
    simulate()
    data = place.folder / "data"

    def run():
        with (place.folder / "out").open("w") as out, (place.folder / "err").open("w") as err:
            return subprocess.Popen(
                [*bound_by_rights, *COMMAND, "run"],
                cwd=place.folder,
                env=place.env | ENV,
                stdout=out,
                stderr=err,
            )

    agent = start_agent(place, started=ended, begin=run)
    laws.whole(agent)
    data.chmod(0)
    laws.down(agent)
    data.chmod(0o700)
    assert laws.whole(agent) < 10
    assert laws.told(place) == (1, 1)
    laws.ends(agent)
    database(place).chmod(0o400)
    agent = start_agent(place, started=ended, begin=run)
    laws.down(agent)
    database(place).chmod(0o600)
    assert laws.whole(agent) < 10
    laws.ends(agent)


# -- files that go, and others that come ----------------------------------------------------------


def test_wal_or_shm_removed_alone(agent, place):
    """What was only in the log is saved, whoever looks into the file next."""
    for number, removed in enumerate((["-wal"], ["-shm"], ["-wal", "-shm"]), start=1):
        present = laws.counted_is_stored(agent, place)
        ticks = agent.samples()['blofin_ticks_written_total{symbol="BTC-USDT"}']
        for one in removed:
            Path(f"{database(place)}{one}").unlink()
        said(place, "[error    ] database lost its -wal or -shm file ", number)
        said(place, " action='contents saved, database reopened'", number)
        assert laws.counted_is_stored(agent, place) >= present
        assert place.query("SELECT count(*) FROM ticks WHERE symbol = 'BTC-USDT'")[0][0] >= ticks
        laws.whole(agent)
        assert place.query("PRAGMA integrity_check") == [("ok",)]
    laws.ends(agent)


def test_folder_renamed_away_and_back(agent, place):
    """It waits for it a while, and makes nothing in its place."""
    data, away = place.folder / "data", place.folder / "away"
    present = laws.counted_is_stored(agent, place)
    data.rename(away)
    laws.down(agent)
    laws.stays_down(agent, 3)
    assert not data.exists()
    away.rename(data)
    assert laws.whole(agent) < 5
    assert laws.counted_is_stored(agent, place) >= present
    assert laws.told(place) == (1, 1)
    laws.ends(agent)


def older(place):
    """Return a copy of the database as it might have been, and how much it lacks."""
    copy = place.folder / "copy"
    with (
        contextlib.closing(sqlite3.connect(database(place))) as now,
        contextlib.closing(sqlite3.connect(copy)) as then,
    ):
        now.backup(then)
        with then:
            then.execute("DELETE FROM candles WHERE open_time % 7 = 0")
        then.execute("VACUUM")
    return copy


WAYS = (os.replace, shutil.copyfile)


def said(place, words, number):
    """Wait until the log has said it so often."""
    until(lambda: (place.folder / "err").read_text().count(words) >= number, 10)


def test_replaced_by_an_older_copy_renamed_or_written_over(agent, place):
    """The old log is not played into it, and what it lacks is fetched."""
    for number, replace in enumerate(WAYS, start=1):
        present = laws.counted_is_stored(agent, place)
        folded(place)
        replace(older(place), database(place))
        said(place, "candles deleted by another process symbol=", 2 * number)
        laws.whole(agent)
        assert laws.counted_is_stored(agent, place) >= present
        assert place.query("PRAGMA integrity_check") == [("ok",)]
    laws.ends(agent)


def test_replaced_by_an_empty_file_renamed_or_written_over(agent, place):
    """It becomes a database again, and is filled."""
    for number, replace in enumerate(WAYS, start=1):
        empty = place.folder / "empty"
        empty.touch()
        present = laws.counted_is_stored(agent, place)
        folded(place)
        replace(empty, database(place))
        said(place, "database file removed or replaced database=", number)
        laws.whole(agent)
        assert laws.counted_is_stored(agent, place) >= present
        until(lambda: place.query("SELECT count(*) FROM instruments") == [(2,)], 15)
        assert place.query("PRAGMA integrity_check") == [("ok",)]
    laws.ends(agent)


def test_replaced_by_garbage_until_a_good_file_is_back(agent, place):
    """It says so, and touches neither the garbage nor what the good file holds."""
    for number, replace in enumerate(WAYS, start=1):
        garbage, good = place.folder / "garbage", older(place)
        garbage.write_bytes(os.urandom(100_000))
        noise = garbage.read_bytes()
        folded(place)
        replace(garbage, database(place))
        laws.down(agent, 10)
        assert (place.folder / "err").read_text().count("damaged, or no database") == number
        laws.stays_down(agent, 2)
        assert database(place).read_bytes() == noise
        replace(good, database(place))
        laws.whole(agent)
        laws.counted_is_stored(agent, place)
        assert laws.told(place) == (number, number)
        assert place.query("PRAGMA integrity_check") == [("ok",)]
    database(place).write_bytes(noise)
    laws.down(agent, 10)
    laws.ends(agent)
    assert database(place).read_bytes() == noise
