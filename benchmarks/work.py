"""Work: what each way of filling a database is given, and the database it fills."""

import sqlite3
from typing import Any, NamedTuple

_TABLE = """CREATE TABLE candles (
    symbol TEXT NOT NULL, bar TEXT NOT NULL, open_time BIGINT NOT NULL, open DOUBLE NOT NULL,
    high DOUBLE NOT NULL, low DOUBLE NOT NULL, close DOUBLE NOT NULL, volume DOUBLE NOT NULL,
    volume_base DOUBLE, volume_quote DOUBLE, source TEXT,
    PRIMARY KEY (symbol, bar, open_time)) WITHOUT ROWID"""
INSERT = "INSERT INTO candles VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"


class Work(NamedTuple):
    """What is to be fetched: these symbols, from `start` to before `end` (ms)."""

    url: str
    database: str
    symbols: list[str]
    start: int
    end: int


def page(symbol: str, after: int, limit: int) -> str:
    """Return the path and the query of a page."""
    return f"/api/v1/market/candles?instId={symbol}&bar=1m&after={after}&limit={limit}"


def open_database(path: str) -> sqlite3.Connection:
    """Make the file and its table."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(_TABLE)
    return connection


def commit(connection: sqlite3.Connection, rows: list[tuple[Any, ...]]) -> None:
    """Store rows in one transaction."""
    connection.executemany(INSERT, rows)
    connection.commit()
