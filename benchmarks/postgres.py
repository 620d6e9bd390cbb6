"""Postgres: a PostgreSQL server for benchmarks, and what they do with one of its databases."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from blofin_agent.store.database import Database, open_store
from tests.postgres import Server, is_there

PAGE = 1_440
TURNS = 15


def lacking() -> str:
    """Return what is not there that is needed, in words; empty when all is."""
    there = bool(is_there())  # type: ignore[no-untyped-call]
    return "" if there else "PostgreSQL is not installed (Debian's package `postgresql`)"


@contextmanager
def postgresql() -> Iterator[Any]:
    """Run a server of its own, which ends with the block; see `tests.postgres.Server`."""
    where, on = tempfile.gettempdir(), "on"
    server = Server.make(where, fsync=on, autovacuum=on, shared_buffers="256MB")  # type: ignore[no-untyped-call]
    try:
        server.start()
        yield server
    finally:
        server.remove()


@contextmanager
def store_of(server: Any) -> Iterator[Database]:
    """Open a new database for the length of a block."""
    store = open_store(server.url(server.database()))
    try:
        yield store
    finally:
        store.close()


def median_ms(work: Callable[[int], object], turns: int = TURNS) -> float:
    """Return how long a call takes (ms); each is given its number."""
    taken = []
    for turn in range(turns):
        begun = time.perf_counter()
        work(turn)
        taken.append((time.perf_counter() - begun) * 1000)
    return statistics.median(taken)


def in_transaction(store: Database, work: Callable[[sa.Connection], object]) -> None:
    """Do something in one transaction."""
    with store.engine.begin() as connection:
        work(connection)
