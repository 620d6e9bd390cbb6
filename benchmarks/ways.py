"""Ways to fill a database with candles from BloFin: the floor, the peers, and blofin-agent.

Each fetches the same candles from the same server and commits them in the same kind of file; what
is loaded and opened beforehand does not count.

Usage: python -m benchmarks.ways WAY URL DATABASE START END   prints [seconds, cpu, candles].
"""

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
from typing import Any

import httpx
import msgspec

from benchmarks import peers
from benchmarks.work import Work, commit, open_database, page
from blofin_agent.cli import backfill
from blofin_agent.config import Settings
from blofin_agent.domain.candle import MINUTE
from blofin_agent.exchange.rest_client import client as make_client
from blofin_agent.jobs.backfill import job
from blofin_agent.runtime import clock
from blofin_agent.simulator.rest_api import MAX_LIMIT
from blofin_agent.store.database import open_store

CCXT_BEST_PAGE = 1_440


class _Page(msgspec.Struct):
    data: list[tuple[int, float, float, float, float, float, float, float, str]]


_decode = msgspec.json.Decoder(_Page, strict=False).decode


# -- the floor ------------------------------------------------------------------------------------


def _fetched(work: Work) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the rows of each page, oldest first: raw GET, typed decode, tuples."""
    with httpx.Client(base_url=work.url) as client:
        for symbol in work.symbols:
            after = work.end
            while after > work.start:
                rows = _decode(client.get(page(symbol, after, MAX_LIMIT)).content).data
                after = rows[-1][0]
                yield [
                    (symbol, "1m", *row[:8], "historical_fill")
                    for row in reversed(rows)
                    if row[0] >= work.start
                ]


def floor(work: Work) -> None:
    """Fetch and write in one thread."""
    with closing(open_database(work.database)) as connection:
        for rows in _fetched(work):
            commit(connection, rows)


def floor_overlapped(work: Work) -> None:
    """Fetch while another thread writes."""
    pages: queue.Queue[list[tuple[Any, ...]] | None] = queue.Queue(2)

    def write() -> None:
        with closing(open_database(work.database)) as connection:
            while (rows := pages.get()) is not None:
                commit(connection, rows)

    writer = threading.Thread(target=write)
    writer.start()
    for rows in _fetched(work):
        pages.put(rows)
    pages.put(None)
    writer.join()


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
    order = job.BackfillRequest(settings, work.start, work.end, named=True)
    gc.freeze()  # as the command does, see `blofin_agent.runtime.gc_tuning`
    store = open_store(settings.blofin_database_url)

    async def fill() -> None:
        with backfill.BackfillShow(verbose=False, quiet=True) as shown:
            async with make_client(work.url, "bench") as client:
                report = await job.backfill(order, store, client, shown.teller())
        assert report.complete
        store.close()

    return lambda: clock.run(fill)


WAYS: dict[str, Callable[[Work], Callable[[], None]]] = {
    "floor": lambda work: partial(floor, work),
    "floor, two threads": lambda work: partial(floor_overlapped, work),
    "plain requests, 300 a page": lambda work: partial(peers.plain, work),
    "plain requests, a commit a row": lambda work: partial(peers.plain, work, commit_each=True),
    "ccxt, its default page": lambda work: partial(peers.ccxt_sync, work),
    "ccxt, 1,440 a page": lambda work: partial(peers.ccxt_sync, work, CCXT_BEST_PAGE),
    "ccxt async, its default page": lambda work: partial(peers.ccxt_async, work),
    "ccxt async, 1,440 a page": lambda work: partial(peers.ccxt_async, work, CCXT_BEST_PAGE),
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
