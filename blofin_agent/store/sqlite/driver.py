"""What is asked of SQLite itself, beside any transaction."""

import sqlite3
from collections.abc import Sequence
from functools import cache
from itertools import chain
from pathlib import Path

import sqlalchemy as sa

from blofin_agent.store.errors import is_damage


def driver_of(connection: sa.Connection) -> sqlite3.Connection:
    """Return the driver's own connection."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)  # noqa: S101 - the engine is SQLite's
    return driver


_CHUNKS = (240, 20, 1)
"""Rows a statement takes: each step of the driver lets Python's lock go and waits for it again."""


def insert_many(
    driver: sqlite3.Connection, into: str, rows: Sequence[Sequence[object]], otherwise: str
) -> int:
    """Insert rows in few statements; return how many SQLite says were written.

    `into`: a table and its columns; `otherwise`: what is done with one that is there already.
    """
    written = start = 0
    for size in _CHUNKS:
        while len(rows) - start >= size:
            chunk = rows[start : start + size]
            statement = _insertion(into, len(chunk[0]), size, otherwise)
            written += driver.execute(statement, tuple(chain.from_iterable(chunk))).rowcount
            start += size
    return written


@cache
def _insertion(into: str, columns: int, rows: int, otherwise: str) -> str:
    marks = f"({', '.join('?' * columns)})"
    return f"INSERT INTO {into} VALUES {', '.join([marks] * rows)} {otherwise}"  # noqa: S608


def checkpoint(connection: sa.Connection) -> bool:
    """Write the log into the file and empty it; return whether all of it was written.

    It waits for nobody who reads meanwhile.
    """
    driver = driver_of(connection)
    (patience_ms,) = driver.execute("PRAGMA busy_timeout").fetchone()
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        busy, *_ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error:
        return False
    finally:
        driver.execute(f"PRAGMA busy_timeout = {patience_ms}")
    return bool(busy == 0)


def is_sound(path: Path) -> bool:
    """Return whether SQLite finds no fault in a database. Raises sqlite3.Error when it is locked.

    It is read through a connection of its own, which has nothing of it in memory.
    """
    connection = sqlite3.connect(path, timeout=1)
    try:
        return bool(connection.execute("PRAGMA integrity_check(1)").fetchone()[0] == "ok")
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            return False
        raise
    finally:
        connection.close()
