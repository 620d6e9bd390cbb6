"""Laws of keeping a SQLite file open: what is done to it is noticed, and nothing goes astray."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from blofin_agent.store.database import open_store
from blofin_agent.store.errors import StoreDamaged, StoreUnavailable
from blofin_agent.store.sqlite.database_file import DatabaseFile
from blofin_agent.store.sqlite.file_monitor import CHECKPOINT_BYTES

pytestmark = pytest.mark.sqlite

NOTE = "INSERT INTO service_heartbeats (service, started, beat, note) VALUES ('{}', 1, 1, '')"


def note(name):
    return lambda connection: connection.exec_driver_sql(NOTE.format(name))


def names(path):
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT service FROM service_heartbeats ORDER BY 1").fetchall()
    return [name for (name,) in rows]


@pytest.fixture
def path(store):
    return Path(store.where)


def fold(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


async def test_a_long_log_is_folded_and_left_empty(store, path):
    """Then a log that is cut has no frames that are older than the file."""
    log = path.with_name(path.name + "-wal")

    def much(connection):
        text = "x" * 1_000_000
        for number in range(1 + CHECKPOINT_BYTES // 1_000_000):
            connection.exec_driver_sql(NOTE.format(number).replace("''", "?"), (text,))

    await store.write("beat", note("a"))
    assert log.stat().st_size > 0
    await store.write("beat", much)
    assert log.stat().st_size == 0
    assert store.generation == 0


async def test_a_file_without_a_log_gets_one_at_the_start(store, path, tmp_path):
    """As a copy by `VACUUM INTO` is. Else each commit would seem to be somebody else's."""
    copy = tmp_path / "copy.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"VACUUM INTO '{copy}'")
    with closing(open_store(f"sqlite:///{copy}")) as again:
        for name in ("a", "b", "c"):
            await again.write("beat", note(name))
        assert copy.with_name("copy.db-wal").stat().st_size > 0
        assert again.generation == 0
    assert names(copy) == ["a", "b", "c"]


async def test_another_process_may_write_and_fold(store, path):
    """That is no other file."""
    for number in range(3):
        with closing(sqlite3.connect(path)) as other, other:
            other.execute(NOTE.format(f"other {number}"))
        fold(path)
        await store.write("beat", note(f"ours {number}"))
    assert store.generation == 0
    assert len(names(path)) == 6


async def test_what_somebody_writes_over_the_file_is_left_as_it_is(store, path):
    """Neither the next transaction nor closing folds the old log into it."""
    fold(path)
    await store.write("beat", note("a"))
    noise = os.urandom(50_000)
    path.write_bytes(noise)
    for _ in range(2):
        with pytest.raises(StoreDamaged, match="damaged, or no database"):
            await store.write("beat", note("b"))
    store.close()
    assert path.read_bytes() == noise


async def test_closing_leaves_what_somebody_wrote_over_the_file(store, path, tmp_path):
    """Also when no transaction came between."""
    fold(path)
    copy = shutil.copy(path, tmp_path / "copy")
    for number in range(300):
        await store.write("beat", note(f"{number:0200}"))
    fold(path)
    await store.write("beat", note("in the log"))
    shutil.copyfile(copy, path)
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_the_log_of_a_file_is_not_played_into_the_one_that_replaces_it(
    store, path, tmp_path, events
):
    """It goes into the one that it belongs to, wherever that is now."""
    fold(path)
    copy = shutil.copy(path, tmp_path / "copy")
    await store.write("beat", note("before"))
    away = path.rename(tmp_path / "away")
    shutil.move(copy, path)
    await store.write("beat", note("after"))
    assert store.generation == 1
    assert names(away) == ["before"]
    assert names(path) == ["after"]
    assert events("error") == [
        {
            "event": "database file removed or replaced",
            "database": store.where,
            "action": "continue with the file that is there now and refetch missing candles",
        }
    ]


@pytest.mark.parametrize("end", ["-wal", "-shm"])
async def test_a_companion_that_is_removed_costs_no_row(store, path, end, events):
    """What only the log held is folded before it is opened anew."""
    await store.write("beat", note("a"))
    path.with_name(path.name + end).unlink()
    await store.read("reconcile", lambda connection: connection.exec_driver_sql("SELECT 1"))
    assert names(path) == ["a"]
    await store.write("beat", note("b"))
    assert names(path) == ["a", "b"]
    assert events("error") == [
        {
            "event": "database lost its -wal or -shm file",
            "database": store.where,
            "action": "contents saved, database reopened",
        }
    ]


async def test_a_file_that_is_gone_is_waited_for_and_then_made_anew(store, path):
    """Within the grace nothing is made in its place."""
    path.unlink()
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="gone; if it does not come back within 10 s"):
            await store.write("beat", note("a"))
        assert not path.exists()
    store.file_monitor._gone_since -= 10
    await store.write("beat", note("a"))
    assert names(path) == ["a"]


async def test_a_database_that_lost_its_tables_gets_them_anew(store, path):
    """As when a disk comes back between the look at its tables and the look at its file."""
    with closing(sqlite3.connect(path)) as other:
        tables = other.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (name,) in tables:
            other.execute(f"DROP TABLE {name}")
    with pytest.raises(StoreUnavailable, match=r"no such table: .* all are made anew"):
        await store.write("beat", note("a"))
    await store.write("beat", note("b"))
    assert names(path) == ["b"]
    assert store.generation == 1


async def test_the_agent_opens_a_locked_database_later(tmp_path, impatient, timing):
    """With the first transaction that it takes."""
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        store = open_store(f"sqlite:///{path}", patient=True, timing=timing)
        with pytest.raises(StoreUnavailable, match="locked"):
            await store.write("beat", note("a"))
    await store.write("beat", note("a"))
    store.close()
    assert names(path) == ["a"]
    assert store.generation == 0


def test_a_file_that_another_process_creates_at_this_moment_is_writable(tmp_path, monkeypatch):
    """It is not taken for a read-only file: the first look finds none, the second finds one."""
    path = tmp_path / "new.db"
    looked = []

    def access(of, mode, look=os.access):
        looked.append(of)
        found = look(of, mode)
        path.touch()
        return found

    monkeypatch.setattr(os, "access", access)
    assert DatabaseFile(path).writable()
    assert looked == [path, path]
