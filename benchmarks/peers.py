"""Peers: the ways that others have to fill a database with BloFin's candles."""

import asyncio
import sqlite3
from contextlib import closing

import ccxt  # type: ignore[import-untyped]
import ccxt.async_support  # type: ignore[import-untyped]
import requests

from benchmarks.work import INSERT, Work, commit, open_database, page
from blofin_agent.domain.candle import MINUTE

PLAIN_PAGE = 300


def plain(work: Work, *, commit_each: bool = False) -> None:
    """Do as the old script does: requests, 300 rows a page, a statement a row, a commit a symbol.

    With `commit_each` each row is a transaction of its own, as without any thought for them.
    """
    with closing(open_database(work.database)) as connection, requests.Session() as session:
        if commit_each:
            connection.isolation_level = None
        for symbol in work.symbols:
            after = work.end
            while after > work.start:
                url = work.url + page(symbol, after, PLAIN_PAGE)
                answer = session.get(url, timeout=20)
                for row in answer.json()["data"]:
                    after = int(row[0])
                    if after >= work.start:
                        values = (symbol, "1m", after, *map(float, row[1:8]), "historical_fill")
                        connection.execute(INSERT, values)
            connection.commit()


def ccxt_sync(work: Work, rows: int | None = None) -> None:
    """Let ccxt fetch; executemany a page."""
    exchange = ccxt.blofin({"enableRateLimit": False})
    exchange.urls["api"]["rest"] = work.url
    names = {market["id"]: market["symbol"] for market in exchange.load_markets().values()}
    with closing(open_database(work.database)) as connection:
        for symbol in work.symbols:
            since = work.start
            while since < work.end:
                found = exchange.fetch_ohlcv(names[symbol], "1m", since=since, limit=rows)
                since = _keep(connection, symbol, found)


def ccxt_async(work: Work, rows: int | None = None) -> None:
    """Do the same with its asyncio half."""

    async def fill() -> None:
        exchange = ccxt.async_support.blofin({"enableRateLimit": False})
        exchange.urls["api"]["rest"] = work.url
        try:
            markets = await exchange.load_markets()
            names = {market["id"]: market["symbol"] for market in markets.values()}
            with closing(open_database(work.database)) as connection:
                for symbol in work.symbols:
                    since = work.start
                    while since < work.end:
                        found = await exchange.fetch_ohlcv(names[symbol], "1m", since, rows)
                        since = _keep(connection, symbol, found)
        finally:
            await exchange.close()

    asyncio.run(fill())


def _keep(connection: sqlite3.Connection, symbol: str, rows: list[list[float]]) -> int:
    """Commit rows of ccxt's, which have six columns; return where the next page begins (ms)."""
    commit(connection, [(symbol, "1m", *row, None, None, None) for row in rows])
    return int(rows[-1][0]) + MINUTE
