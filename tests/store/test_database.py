"""Laws of opening the store, and of what it says when it cannot be used."""

import contextlib
import errno
import os
import sqlite3
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
import trio

from blofin_agent.store.database import Database, open_store
from blofin_agent.store.errors import (
    StoreAccessDenied,
    StoreError,
    StoreUnavailable,
    StoreUnusable,
    translate_errors,
)
from blofin_agent.store.timing import DEFAULT

BEAT = "INSERT INTO service_heartbeats (service, started, beat, note) VALUES ('x', 1, 1, '')"


def beat(connection):
    connection.exec_driver_sql(BEAT)


def beats(connection):
    return connection.exec_driver_sql("SELECT count(*) FROM service_heartbeats").scalar()


def one(connection):
    return connection.exec_driver_sql("SELECT 1").scalar()


def refused(url, **how):
    with pytest.raises(StoreUnusable) as caught:
        open_store(url, **how)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.sqlite
def test_candles_have_no_rowid_and_their_key_in_order(store, rows):
    """A primary key (symbol, bar, open_time) that is the table itself."""
    ((text,),) = rows("SELECT sql FROM sqlite_master WHERE name='candles'")
    assert "WITHOUT ROWID" in text
    assert "PRIMARY KEY (symbol, bar, open_time)" in text


def test_opening_an_empty_database_makes_the_tables(bare, sql):
    """And opening it again changes nothing."""
    open_store(bare).close()
    sql(bare, BEAT)
    open_store(bare).close()
    open_store(bare, read_only=True).close()
    assert sql(bare, "SELECT service FROM service_heartbeats") == [("x",)]


def test_opening_makes_the_folder_and_the_tables(tmp_path):
    """And opening again changes nothing."""
    path = tmp_path / "new" / "folder" / "blofin.db"
    open_store(f"sqlite:///{path}").close()
    before = path.read_bytes()
    open_store(f"sqlite:///{path}").close()
    assert path.read_bytes() == before
    open_store(f"sqlite:///{path}", read_only=True).close()


@pytest.mark.sqlite
def test_sqlite_is_set_up_for_many_readers_and_one_writer(store):
    """WAL, synchronous NORMAL, and patience with other programs."""
    with store.engine.connect() as connection:
        pragma = lambda name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()  # noqa: E731
        assert pragma("journal_mode") == "wal"
        assert pragma("synchronous") == 1
        assert pragma("busy_timeout") == DEFAULT.busy_s * 1_000


@pytest.mark.sqlite
def test_closing_folds_the_log_into_the_file(database, tmp_path):
    """One file remains, to be copied as it is."""
    store = open_store(database)
    store.read_here(one)
    store.close()
    assert [path.name for path in tmp_path.iterdir()] == ["blofin.db"]


async def test_a_write_is_one_transaction(store):
    """All of it or nothing; an error of the work is raised as it is."""

    def half(connection):
        beat(connection)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.write("insert", half)
    assert await store.read("load", beats) == 0


async def test_the_observer_is_told_of_each_transaction(store):
    """Its operation, its seconds, and whether it only read."""
    told_of = []
    store.observer = told_of.append
    await store.read("load", one)
    await store.write("insert", one)
    with contextlib.suppress(ZeroDivisionError):
        await store.write("run", lambda _: 1 // 0)
    assert [(done.operation, done.reading, done.problem) for done in told_of] == [
        ("load", True, None),
        ("insert", False, None),
        ("run", False, None),
    ]
    assert all(0 <= done.seconds < 10 for done in told_of)


async def test_the_observer_is_told_why_the_database_did_not_take_one(locker, database, timing):
    """A locked one, say; a bug is not the database's."""
    store, told_of = open_store(database, timing=timing), []
    store.observer = told_of.append
    try:
        locker.hold()
        with pytest.raises(StoreUnavailable) as caught:
            await store.write("insert", beat)
    finally:
        store.close()
    assert [done.problem for done in told_of] == [caught.value]


async def test_a_locked_database_is_unavailable_and_then_is_not(locker, database, timing):
    """Writers are told; readers read on; once unlocked, all is well."""
    store = open_store(database, timing=timing)
    try:
        locker.hold()
        with pytest.raises(StoreUnavailable, match="another program keeps it locked"):
            await store.write("insert", beat)
        assert await store.read("load", beats) == 0
        locker.let_go()
        await store.write("insert", beat)
        assert await store.read("load", beats) == 1
    finally:
        store.close()


@pytest.mark.sqlite
async def test_a_full_disk_is_unavailable(store):
    """SQLite's own limit stands for it."""

    def fill(connection):
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        connection.exec_driver_sql(BEAT.replace("''", "hex(zeroblob(1000000))"))

    with pytest.raises(StoreUnavailable, match="the disk is full; make room"):
        await store.write("insert", fill)


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        (f"{BEAT}, ('x', 1, 1, '')", sa.exc.IntegrityError),
        ("SELECT nosuch FROM candles", sa.exc.DBAPIError),
        ("SELEKT 1", sa.exc.DBAPIError),
    ],
)
async def test_a_wrong_statement_is_a_bug_and_stays_one(store, statement, kind):
    """It is no outage to be waited out."""
    if store.file_monitor and kind is sa.exc.DBAPIError:
        # SQLite calls it an error like any other.
        kind = StoreUnavailable
    with pytest.raises(kind) as caught:
        await store.write("insert", lambda db: db.exec_driver_sql(statement))
    assert store.file_monitor or not isinstance(caught.value, StoreError)


def test_a_file_that_is_no_database_is_left_alone(tmp_path):
    """And named."""
    path = tmp_path / "notes.txt"
    path.write_text("these are my notes, and no database at all\n" * 50)
    before = path.read_bytes()
    text = refused(f"sqlite:///{path}")
    assert text == f"database {path}: the file is no SQLite database; name another file"
    assert path.read_bytes() == before


def test_tables_of_another_program_are_left_alone(bare, sql):
    """A database with a table called candles that is not ours."""
    sql(bare, "CREATE TABLE candles (mine integer)")
    assert "has tables that blofin-agent did not make (candles)" in refused(bare)
    assert sql(bare, "SELECT mine FROM candles") == []
    with pytest.raises(sa.exc.DBAPIError):
        sql(bare, "SELECT * FROM alembic_version")


def test_other_tables_in_the_database_do_no_harm(bare, sql):
    """A user may keep notes beside the candles."""
    sql(bare, "CREATE TABLE notes (mine integer)")
    sql(bare, "INSERT INTO notes VALUES (7)")
    open_store(bare).close()
    assert sql(bare, "SELECT * FROM notes, candles") == []
    assert sql(bare, "SELECT * FROM notes") == [(7,)]


def test_a_newer_schema_is_left_alone(database, other):
    """An older agent must not touch it."""
    other("UPDATE alembic_version SET version_num = '9999'")
    text = refused(database)
    assert "was written by a newer blofin-agent (schema 9999)" in text
    assert "upgrade blofin-agent" in text


def test_reading_only_makes_nothing(tmp_path):
    """A command that looks needs a database that is there and set up."""
    missing = tmp_path / "blofin.db"
    assert "there is no database at" in refused(f"sqlite:///{missing}", read_only=True)
    assert not missing.exists()


def test_reading_only_migrates_nothing(bare, sql):
    """Nor does it make the tables."""
    sql(bare, "CREATE TABLE notes (mine integer)")
    assert "is not set up for this version" in refused(bare, read_only=True)
    with pytest.raises(sa.exc.DBAPIError):
        sql(bare, "SELECT * FROM candles")


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    """A file stands where the folder should be."""
    (tmp_path / "file").touch()
    text = refused(f"sqlite:///{tmp_path}/file/blofin.db")
    assert text.startswith(f"cannot make the folder {tmp_path}/file for the database: ")


def test_a_folder_as_the_file_is_one_sentence(tmp_path):
    """Nor is any other thing that is no file: as root, SQLite would write into a device."""
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path, tmp_path / "pipe"):
        assert refused(f"sqlite:///{place}") == f"the database {place} is no file; name a file"
        assert f"there is no database at {place}" in refused(f"sqlite:///{place}", read_only=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_rights_is_one_sentence(tmp_path):
    """A read-only folder for a new database."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    assert "it cannot be opened" in refused(f"sqlite:///{folder}/blofin.db")


@pytest.mark.sqlite
async def test_a_file_that_became_read_only_is_unavailable(store):
    """With what to do about it."""
    with store.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only = ON")
    with pytest.raises(StoreUnavailable, match="read-only; give this user the right"):
        await store.write("beat", beat)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            sa.exc.OperationalError("x", {}, Exception("disk I/O error")),
            "the disk does not take it",
        ),
        (sa.exc.OperationalError("x", {}, Exception("database is malformed")), "damaged"),
        (sa.exc.OperationalError("x", {}, Exception("server\nclosed")), "db: server closed"),
        (sa.exc.InterfaceError("x", {}, Exception("gone")), "db: gone"),
        (sa.exc.TimeoutError(), "all connections are in use"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left"),
        (OSError(errno.EROFS, "Read-only file system"), "Read-only"),
    ],
)
def test_what_may_pass_is_unavailable(error, words):
    """Each with the place and a reason."""
    with pytest.raises(StoreUnavailable, match=words) as caught, translate_errors("db"):
        raise error
    assert isinstance(caught.value, StoreError)
    assert str(caught.value).startswith("database db: ")


@pytest.mark.parametrize(
    ("text", "waits"),
    [
        ("failed to resolve host 'x': [Errno -3] Temporary failure in name resolution", True),
        ("failed to resolve host 'x': [Errno -2] Name or service not known", False),
        ("connection timeout expired", True),
        ('FATAL: role "x" does not exist', False),
        ("FATAL: the database system is starting up", True),
        ("FATAL: sorry, too many clients already", True),
    ],
)
def test_a_server_is_waited_for_where_that_may_help(text, waits):
    """A name that nobody knows is a matter of the settings; one that cannot be asked for is not."""
    with pytest.raises(StoreUnavailable) as caught, translate_errors("db"):
        raise sa.exc.OperationalError("x", {}, Exception(text))
    assert isinstance(caught.value, StoreAccessDenied) is not waits


@pytest.mark.parametrize(
    "error",
    [
        sa.exc.ProgrammingError("x", {}, Exception("no such table")),
        sa.exc.DataError("x", {}, Exception("out of range")),
        OSError(errno.EMFILE, "Too many open files"),
        ZeroDivisionError(),
    ],
)
def test_bugs_stay_what_they_are(error):
    """They go to the top."""
    with pytest.raises(type(error)) as caught, translate_errors("db"):
        raise error
    assert caught.value is error


def test_two_that_open_together_both_get_a_whole_schema(bare):
    """One migrates, the others wait for it and find it done."""
    opened: list[object] = []

    def open_it():
        try:
            opened.append(open_store(bare))
        except Exception as error:  # noqa: BLE001 - shown by the assertion below
            opened.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stores = [one for one in opened if isinstance(one, Database)]
    for each in stores:
        each.close()
    assert len(stores) == 4, opened


@pytest.mark.parametrize("released", [True, False])
def test_a_start_waits_a_moment_for_another_that_starts(
    tmp_path, monkeypatch, timing, impatient, released
):
    """SQLite itself does not wait when the write-ahead log is switched on."""
    monkeypatch.setattr("blofin_agent.store.migrate.MAX_WAL_TRIES", 3)
    other = sqlite3.connect(tmp_path / "x.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.05, other.rollback)
    if released:
        release.start()
        open_store(f"sqlite:///{tmp_path / 'x.db'}", timing=timing).close()
    else:
        with pytest.raises(StoreUnusable, match="another program keeps it locked"):
            open_store(f"sqlite:///{tmp_path / 'x.db'}", timing=timing)
    other.close()


async def test_a_reader_waits_for_no_writer(store):
    """A transaction under way in the store's one connection does not hold it up."""
    reader = store.reader()
    asked = threading.Event()

    def slow(connection):
        beat(connection)
        asked.wait(10)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.write, "beat", slow)
        await trio.sleep(0.05)
        assert await reader.read("page", beats) == 0
        asked.set()
    assert await reader.read("page", beats) == 1
    reader.close()


@pytest.mark.sqlite
@pytest.mark.timing(file_return_s=0)
def test_a_reader_follows_the_file_and_makes_none(store):
    """Removed: it says so. Replaced: it reads what is there now."""
    reader = store.reader()

    def count(connection):
        return connection.exec_driver_sql("SELECT count(*) FROM candles").scalar()

    assert reader.read_here(count) == 0
    path = Path(store.where)
    path.unlink()
    with pytest.raises(StoreUnavailable, match="the file is gone"):
        reader.read_here(count)
    assert not path.exists()
    store.read_here(count)
    assert reader.read_here(count) == 0
    reader.close()
