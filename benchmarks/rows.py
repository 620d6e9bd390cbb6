"""What a candle costs on disk, and what more of them cost: 1, 10 and 100 million rows.

Three stores of 500 symbols, with a run of the backfill in them for each half hour of each symbol,
take turns: the agent starts, none of the database being in memory, until `/readyz` says 200, with
a window of 24 hours and no exchange to be reached; while it runs its pages are loaded; then pages
of 1,440 rows go before what is stored, and live minutes of all symbols behind it, through the
agent's own way into the store. All figures are medians; what matters is the largest store over the
smallest.

100 million rows are 11 GB. ROWS_MOST=10000000 leaves them out, and so does a disk with too little
room; the figures say what was measured.
"""

import itertools
import os
import random
import shutil
import sqlite3
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import trio

from benchmarks.big import SYMBOLS, Big, build, minutes
from benchmarks.figure import Figure, at_most
from benchmarks.running import agent
from blofin_agent.domain.candle import MINUTE, CandleBatch, Source, Timeframe
from blofin_agent.store.database import Database, open_store
from blofin_agent.store.tables import candles

SIZES = (1_000_000, 10_000_000, 100_000_000)
BYTES_A_ROW = 130
"""What is allowed for when it is seen whether there is room."""
FLAT = at_most(1.25)
STARTS, LOADS, SETTLE_S = 5, 10, 2
ROUNDS, LIVE_MINUTES = 15, 10
FILLED, PAGES = 4, 7
"""Symbols, and pages of each, one after the other as a fill stores them."""
PAGE = 1_440
_NOBODY = "127.0.0.1:9"

Times = dict[tuple[str, int], list[float]]
"""Seconds that something took, by its name and the rows of the store."""


def run() -> list[Figure]:
    """Build the stores and measure. It takes some minutes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stores = [build(folder / f"{rows}.db", rows) for rows in _sizes(folder)]
        times: Times = {}
        for _ in range(STARTS):
            for one in stores:
                _start(one, times)
        trio.run(_insert_all, stores, times)
        figures = [_bytes(stores), _order(folder)]
    names = list(dict.fromkeys(name for name, _ in times))
    return figures + [_figure(name, times, stores) for name in names]


def _sizes(folder: Path) -> list[int]:
    most = int(os.environ.get("ROWS_MOST", SIZES[-1]))
    sizes = [size for size in SIZES if size <= most]
    while sum(sizes) * BYTES_A_ROW > shutil.disk_usage(folder).free // 2:
        print(f"    left out for want of disk: {sizes.pop():,} rows")
    assert len(sizes) > 1, "there is nothing to compare"
    return sizes


# -- the running agent ----------------------------------------------------------------------------


def _start(one: Big, times: Times) -> None:
    _forget(one.path)
    settings = {
        "BLOFIN_DATABASE_URL": one.url,
        "BLOFIN_SYMBOLS": ",".join(SYMBOLS),
        "BACKFILL_LOOKBACK_HOURS": "24",
        "BLOFIN_REST_URL": f"http://{_NOBODY}",
        "BLOFIN_WS_URL": f"ws://{_NOBODY}/ws/public",
    }
    with agent(one.path.parent, settings) as ready:
        _note(times, "process start to ready", one, ready.ready_s)
        # What a start leaves to be done afterwards is no part of a page.
        time.sleep(SETTLE_S)
        for _ in range(LOADS):
            for path in _paths(one):
                begun = time.perf_counter()
                url = f"http://127.0.0.1:{ready.port}{path}"
                with urllib.request.urlopen(url, timeout=60) as answer:
                    answer.read()
                seconds = time.perf_counter() - begun
                _note(times, f"load of {path.partition('&since')[0]}", one, seconds)


def _paths(one: Big) -> list[str]:
    """Return what is loaded: of the candles, some in the middle of all that are stored."""
    symbol = SYMBOLS[len(SYMBOLS) // 2]
    middle = (one.oldest[symbol] + one.end) // 2
    return [
        "/",
        f"/symbols/{symbol}",
        "/api/v1/coverage",
        f"/api/v1/candles?symbol={symbol}&limit=1000&since={middle}",
        "/runs",
        "/api/v1/runs?status=failed",
    ]


def _forget(path: Path) -> None:
    """Let the operating system keep nothing of a file in memory."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


# -- inserting ------------------------------------------------------------------------------------


async def _insert_all(stores: Sequence[Big], times: Times) -> None:
    chance = random.Random(1)
    opened = [(one, open_store(one.url)) for one in stores]
    for turn in range(ROUNDS):
        chosen = chance.sample(SYMBOLS, FILLED)
        for one, store in opened:
            await _pages(one, store, chosen, times)
            await _live(one, store, turn * LIVE_MINUTES, times)
    for _, store in opened:
        store.close()


async def _pages(one: Big, store: Database, symbols: Sequence[str], times: Times) -> None:
    """Store pages before the oldest candle of each of the symbols, each in a transaction."""
    seconds = 0.0
    for symbol in (symbol for symbol in symbols for _ in range(PAGES)):
        one.oldest[symbol] -= PAGE * MINUTE
        rows = [CandleBatch(symbol, Source.FILL, minutes(one.oldest[symbol], PAGE))]
        begun = time.perf_counter()
        (new,) = await store.write(
            "insert", partial(candles.insert, bar=Timeframe.M1, batches=rows)
        )
        seconds += time.perf_counter() - begun
        assert new == PAGE
    _note(times, f"{FILLED * PAGES} pages of {PAGE} rows stored", one, seconds)


async def _live(one: Big, store: Database, first: int, times: Times) -> None:
    for minute in range(first, first + LIVE_MINUTES):
        found = minutes(one.end + minute * MINUTE, 1)
        rows = [CandleBatch(symbol, Source.LIVE, found) for symbol in SYMBOLS]
        begun = time.perf_counter()
        new = await store.write("insert", partial(candles.insert, bar=Timeframe.M1, batches=rows))
        _note(times, "a live minute of all symbols stored", one, time.perf_counter() - begun)
        assert sum(new) == len(SYMBOLS)


# -- figures --------------------------------------------------------------------------------------


def _note(times: Times, name: str, one: Big, seconds: float) -> None:
    times.setdefault((name, one.rows), []).append(seconds)


def _figure(name: str, times: Times, stores: Sequence[Big]) -> Figure:
    medians = [statistics.median(times[name, one.rows]) for one in stores]
    told = ", ".join(
        f"{seconds * 1000:.3g} ms with {one.rows // 1_000_000} million"
        for one, seconds in zip(stores, medians, strict=True)
    )
    if "pages" in name:
        told += f" ({FILLED * PAGES * PAGE / medians[-1]:,.0f} rows/s)"
    return Figure(f"{name}, {_most(stores)}", medians[-1] / medians[0], told, target=FLAT)


def _most(stores: Sequence[Big]) -> str:
    return f"{stores[-1].rows // 1_000_000} million rows over {stores[0].rows // 1_000_000}"


def _bytes(stores: Sequence[Big]) -> Figure:
    told = ", ".join(
        f"{one.bytes_a_row:.1f} with {one.rows // 1_000_000} million" for one in stores
    )
    ratio = stores[-1].bytes_a_row / stores[0].bytes_a_row
    return Figure(f"bytes a candle, {_most(stores)}", ratio, told, target=FLAT)


def _order(folder: Path) -> Figure:
    """Tell what it costs that a fill stores the newest page first."""
    path = folder / "order.db"
    store = open_store(f"sqlite:///{path}")
    end, count = 1_790_000_040_000, 0
    for symbol, page in itertools.product(SYMBOLS[:50], range(7)):
        rows = [CandleBatch(symbol, Source.FILL, minutes(end - (page + 1) * PAGE * MINUTE, PAGE))]
        with store.engine.begin() as connection:
            count += sum(candles.insert(connection, Timeframe.M1, rows))
    store.close()
    filled = path.stat().st_size / count
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM")
    packed = path.stat().st_size / count
    told = f"{filled:.1f} bytes a candle as filled, {packed:.1f} after VACUUM"
    return Figure("bytes a candle, newest page first, over VACUUM", filled / packed, told)
