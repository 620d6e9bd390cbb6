"""Ways to fill a database with candles from BloFin: the floor, the peers, and blofin-agent.

Each fetches the same candles from the same server and commits them in the same kind of file; what
is loaded and opened beforehand does not count.

Usage: python -m benchmarks.ways WAY URL DATABASE START END   prints [seconds, cpu, candles].
"""

import asyncio
import gc
import json
import queue
import resource
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple

import ccxt  # type: ignore[import-untyped]
import ccxt.async_support  # type: ignore[import-untyped]
import httpx
import msgspec
import requests

from blofin_agent import clock
from blofin_agent.commands import oneshot, show
from blofin_agent.config import Settings
from blofin_agent.core.candle import MINUTE
from blofin_agent.exchange.rest import client as make_client
from blofin_agent.simulator.rest import MAXIMUM_LIMIT
from blofin_agent.store.engine import open_store

_TABLE = """CREATE TABLE candles (
    symbol TEXT NOT NULL, bar TEXT NOT NULL, open_time BIGINT NOT NULL, open DOUBLE NOT NULL,
    high DOUBLE NOT NULL, low DOUBLE NOT NULL, close DOUBLE NOT NULL, volume DOUBLE NOT NULL,
    volume_base DOUBLE, volume_quote DOUBLE, source TEXT,
    PRIMARY KEY (symbol, bar, open_time)) WITHOUT ROWID"""
_INSERT = "INSERT INTO candles VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
_PLAIN_PAGE, _CCXT_BEST_PAGE = 300, 1_440


class Work(NamedTuple):
    """What is to be fetched: these symbols, from `start` to before `end` (ms)."""

    url: str
    database: str
    symbols: list[str]
    start: int
    end: int


class _Page(msgspec.Struct):
    data: list[tuple[int, float, float, float, float, float, float, float, str]]


_decode = msgspec.json.Decoder(_Page, strict=False).decode


def _page(symbol: str, after: int, limit: int) -> str:
    return f"/api/v1/market/candles?instId={symbol}&bar=1m&after={after}&limit={limit}"


# -- the floor ------------------------------------------------------------------------------------


def _fetched(work: Work) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the rows of each page, oldest first: raw GET, typed decode, tuples."""
    with httpx.Client(base_url=work.url) as client:
        for symbol in work.symbols:
            after = work.end
            while after > work.start:
                rows = _decode(client.get(_page(symbol, after, MAXIMUM_LIMIT)).content).data
                after = rows[-1][0]
                yield [
                    (symbol, "1m", *row[:8], "historical_fill")
                    for row in reversed(rows)
                    if row[0] >= work.start
                ]


def floor(work: Work) -> None:
    """Fetch and write in one thread."""
    with closing(_database(work.database)) as connection:
        for rows in _fetched(work):
            _commit(connection, rows)


def floor_overlapped(work: Work) -> None:
    """Fetch while another thread writes."""
    pages: queue.Queue[list[tuple[Any, ...]] | None] = queue.Queue(2)

    def write() -> None:
        with closing(_database(work.database)) as connection:
            while (rows := pages.get()) is not None:
                _commit(connection, rows)

    writer = threading.Thread(target=write)
    writer.start()
    for rows in _fetched(work):
        pages.put(rows)
    pages.put(None)
    writer.join()


# -- the peers ------------------------------------------------------------------------------------


def plain(work: Work) -> None:
    """Do as the brief's script does: requests, 300 rows a page, a statement a row."""
    with closing(_database(work.database)) as connection, requests.Session() as session:
        for symbol in work.symbols:
            after = work.end
            while after > work.start:
                url = work.url + _page(symbol, after, _PLAIN_PAGE)
                answer = session.get(url, timeout=20)
                for row in answer.json()["data"]:
                    after = int(row[0])
                    if after >= work.start:
                        values = (symbol, "1m", after, *map(float, row[1:8]), "historical_fill")
                        connection.execute(_INSERT, values)
            connection.commit()


def ccxt_sync(work: Work, page: int | None = None) -> None:
    """Let ccxt fetch; executemany a page."""
    exchange = ccxt.blofin({"enableRateLimit": False})
    exchange.urls["api"]["rest"] = work.url
    names = {market["id"]: market["symbol"] for market in exchange.load_markets().values()}
    with closing(_database(work.database)) as connection:
        for symbol in work.symbols:
            since = work.start
            while since < work.end:
                rows = exchange.fetch_ohlcv(names[symbol], "1m", since=since, limit=page)
                since = _keep(connection, symbol, rows)


def ccxt_async(work: Work, page: int | None = None) -> None:
    """Do the same with its asyncio half."""

    async def fill() -> None:
        exchange = ccxt.async_support.blofin({"enableRateLimit": False})
        exchange.urls["api"]["rest"] = work.url
        try:
            markets = await exchange.load_markets()
            names = {market["id"]: market["symbol"] for market in markets.values()}
            with closing(_database(work.database)) as connection:
                for symbol in work.symbols:
                    since = work.start
                    while since < work.end:
                        rows = await exchange.fetch_ohlcv(names[symbol], "1m", since, page)
                        since = _keep(connection, symbol, rows)
        finally:
            await exchange.close()

    asyncio.run(fill())


def _keep(connection: sqlite3.Connection, symbol: str, rows: list[list[float]]) -> int:
    """Commit rows of ccxt's, which have six columns; return where the next page begins (ms)."""
    _commit(connection, [(symbol, "1m", *row, None, None, None) for row in rows])
    return int(rows[-1][0]) + MINUTE


# -- blofin-agent ---------------------------------------------------------------------------------


def ours(work: Work) -> Callable[[], None]:
    """Return the work of `blofin-agent backfill --json`, unthrottled."""
    settings = Settings(
        _env_file=None,
        blofin_symbols=tuple(work.symbols),
        blofin_rest_url=work.url,
        blofin_database_url=f"sqlite:///{work.database}",
        backfill_request_sleep_ms=0,
        backfill_symbol_sleep_ms=0,
    )
    order = oneshot.Order(settings, work.start, work.end, named=True)
    gc.freeze()  # as the command does when its modules are loaded; see `blofin_agent.loading`
    store = open_store(settings.blofin_database_url)

    async def fill() -> None:
        with show.BackfillShow(verbose=False, quiet=True) as shown:
            async with make_client(work.url, "bench") as client:
                report = await oneshot.backfill(order, store, client, shown.teller())
        assert report.complete
        store.close()

    return lambda: clock.run(fill)


def _database(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(_TABLE)
    return connection


def _commit(connection: sqlite3.Connection, rows: list[tuple[Any, ...]]) -> None:
    connection.executemany(_INSERT, rows)
    connection.commit()


WAYS: dict[str, Callable[[Work], Callable[[], None]]] = {
    "floor": lambda work: partial(floor, work),
    "floor, two threads": lambda work: partial(floor_overlapped, work),
    "plain requests, 300 a page": lambda work: partial(plain, work),
    "ccxt, its default page": lambda work: partial(ccxt_sync, work),
    "ccxt, 1,440 a page": lambda work: partial(ccxt_sync, work, _CCXT_BEST_PAGE),
    "ccxt async, its default page": lambda work: partial(ccxt_async, work),
    "ccxt async, 1,440 a page": lambda work: partial(ccxt_async, work, _CCXT_BEST_PAGE),
    "blofin-agent": ours,
}


def main() -> None:
    """Go one way, and say what it took."""
    way, url, database, start, end = sys.argv[1:]
    listed = httpx.get(f"{url}/api/v1/market/instruments").json()["data"]
    work = Work(url, database, [one["instId"] for one in listed], int(start), int(end))
    go = WAYS[way](work)
    begun, used = time.perf_counter(), _cpu()
    go()
    seconds, cpu = time.perf_counter() - begun, _cpu() - used
    with closing(sqlite3.connect(database)) as connection:
        query = (
            "SELECT count(*), count(DISTINCT symbol), min(open_time), max(open_time) FROM candles"
        )
        rows, *what = connection.execute(query).fetchone()
    bars = (work.end - work.start) // MINUTE
    assert [rows, *what] == [
        bars * len(work.symbols),
        len(work.symbols),
        work.start,
        work.end - MINUTE,
    ], (way, rows, what)
    print(json.dumps([seconds, cpu, rows]))


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
