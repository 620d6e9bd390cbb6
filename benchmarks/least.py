"""Requests sent over the provable least: 1.00.

The one-shot backfill, as the command composes it, fills gaps that were made by deleting rows from
a whole store: nothing held, stripes, stretches of random length, single minutes. The simulator on
loopback counts every request of any kind.

The least is proven without the agent's plan: by witnesses, missing bars of which no two fit one
page. A page of `n` rows holds no two rows that stand `n` or more apart among the exchange's own,
so each witness needs a page to itself, and no plan whatever needs fewer pages than there are
witnesses. They are chosen from the oldest bar on; the agent lays its pages from the newest back.
Where the exchange has holes, only bars that it does have are witnesses: even who knew every hole
beforehand would need as many pages. The agent cannot know them, so that figure has no target.
"""

import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio
from structlog.testing import capture_logs

from benchmarks.figure import Figure, at_most
from blofin_agent import __version__
from blofin_agent.backfill.gap_filler import ProgressCallbacks
from blofin_agent.config import Settings
from blofin_agent.domain.candle import DAY, Candle, CandleBatch, Source, Timeframe
from blofin_agent.domain.instrument import Instrument
from blofin_agent.exchange.rest_client import client
from blofin_agent.jobs.backfill.job import BackfillRequest, backfill
from blofin_agent.jobs.backfill.report import BackfillCallbacks
from blofin_agent.runtime.clock import wall_ms
from blofin_agent.simulator.market import MISSING_BAR_RATE, Market
from blofin_agent.simulator.server import RunningSimulator, SimulatorOptions, serve
from blofin_agent.store.database import open_store
from blofin_agent.store.tables import candles, instruments

SYMBOLS = ("BTC-USDT", "ETH-USDT", "SOL-USDT")
DAYS = 7
START = 1_767_225_600_000
"""Where the window begins (ms). The same bars each time: what is counted is exact."""
BARS = DAYS * DAY // Timeframe.M1.ms
SIZES = (100, 300, 1_440)
ASKED, GIVEN = 1_440, 300
"""The case in which the agent has to learn how long pages are."""

Pattern = Callable[[random.Random], set[int]]
"""Which bars of the window are missing, by their number: 0 is the oldest."""


def _nothing_held(_chance: random.Random) -> set[int]:
    return set(range(BARS))


def _stripes(chance: random.Random) -> set[int]:
    held, gap = chance.randint(20, 60), chance.randint(20, 60)
    return {bar for bar in range(BARS) if bar % (held + gap) >= held}


def _random(chance: random.Random) -> set[int]:
    """Gaps and what is held between them last from a minute to half a day, short ones mostly."""
    missing: set[int] = set()
    bar = 0
    while bar < BARS:
        gap = round(720 ** chance.random())
        missing.update(range(bar, min(BARS, bar + gap)))
        bar += gap + round(720 ** chance.random())
    return missing


def _single(chance: random.Random) -> set[int]:
    return {2 * bar for bar in chance.sample(range(BARS // 2), 150)}


PATTERNS: dict[str, Pattern] = {
    "nothing held": _nothing_held,
    "stripes": _stripes,
    "random gaps": _random,
    "single minutes": _single,
}


@dataclass(frozen=True, slots=True)
class _Exchange:
    """What is asked, and a store that holds all of it."""

    running: RunningSimulator
    whole: Path
    rows: dict[str, list[int]]
    """The open times (ms) that it has of the window, oldest first."""

    def requests(self) -> int:
        return sum(self.running.counts.endpoints.values())


@dataclass(frozen=True, slots=True)
class _Case:
    """Requests sent, and the least that can do."""

    sent: int
    least: int

    @property
    def ratio(self) -> float:
        return self.sent / self.least

    @property
    def more(self) -> int:
        return self.sent - self.least

    def __str__(self) -> str:
        return f"{self.sent} of {self.least}"


def run() -> list[Figure]:
    """Fill each pattern at each page size."""
    with capture_logs():
        return trio.run(_measure)


async def _measure() -> list[Figure]:
    figures = [await _without_holes(name) for name in PATTERNS]
    figures += [await _with_holes(name) for name in ("nothing held", "random gaps")]
    clamped = SimulatorOptions(symbols=SYMBOLS, hole_rate=0, limits=False, page_limit=GIVEN)
    figures.append(await _learning(f"{GIVEN} are given", clamped, most=0))
    refused = SimulatorOptions(symbols=SYMBOLS, hole_rate=0, limits=False, refuse_limit_above=GIVEN)
    # The one that was refused.
    figures.append(await _learning(f"more than {GIVEN} are refused", refused, most=1))
    return figures


async def _without_holes(pattern: str) -> Figure:
    cases = await _by_size(pattern, hole_rate=0)
    worst = max(case.ratio for case in cases.values())
    return Figure(f"requests over the least: {pattern}", worst, _told(cases), target=at_most(1))


async def _with_holes(pattern: str) -> Figure:
    cases = await _by_size(pattern, MISSING_BAR_RATE)
    more = max(case.more for case in cases.values())
    what = (
        f"requests more than with every hole known beforehand ({MISSING_BAR_RATE:.2%} of the bars)"
    )
    return Figure(f"{what}: {pattern}", more, _told(cases))


async def _by_size(pattern: str, hole_rate: float) -> dict[int, _Case]:
    cases = {}
    for size in SIZES:
        options = SimulatorOptions(
            symbols=SYMBOLS, hole_rate=hole_rate, limits=False, page_limit=size
        )
        (cases[size],) = await _fill(options, [PATTERNS[pattern]], asked=size, given=size)
    return cases


def _told(cases: Mapping[int, _Case]) -> str:
    return "; ".join(f"{case} at {size} rows a page" for size, case in cases.items())


async def _learning(what: str, options: SimulatorOptions, most: int) -> Figure:
    """Tell what it costs to learn how long pages are; each process and pass learns it anew."""
    cases = await _fill(options, list(PATTERNS.values()), ASKED, GIVEN)
    detail = "; ".join(f"{name}: {case}" for name, case in zip(PATTERNS, cases, strict=True))
    more = max(case.more for case in cases)
    what = f"requests more than the least: {ASKED} rows a page are asked for, {what}"
    return Figure(what, more, detail, target=at_most(most))


async def _fill(
    options: SimulatorOptions, patterns: Sequence[Pattern], asked: int, given: int
) -> list[_Case]:
    with tempfile.TemporaryDirectory() as folder:
        async with trio.open_nursery() as nursery:
            stop = trio.Event()
            running = await nursery.start(partial(serve, options, shutdown_trigger=stop.wait))
            exchange = _whole(running, Path(folder))
            cases = [await _one(exchange, pattern, asked, given) for pattern in patterns]
            stop.set()
    return cases


def _whole(running: RunningSimulator, folder: Path) -> _Exchange:
    """Make a store that holds the whole window, as an earlier run left it."""
    market = running.market
    found = {symbol: _rows(market, symbol) for symbol in market.symbols}
    listed = [Instrument(one.inst_id, one.list_time, "live") for one in market.instruments.values()]
    path = folder / "whole.db"
    store = open_store(f"sqlite:///{path}")
    with store.engine.begin() as connection:
        batches = [CandleBatch(symbol, Source.FILL, rows) for symbol, rows in found.items()]
        candles.insert(connection, Timeframe.M1, batches)
        instruments.save_instruments(connection, listed, wall_ms())
    store.close()
    times = {symbol: [row.open_time for row in rows] for symbol, rows in found.items()}
    return _Exchange(running, path, times)


def _rows(market: Market, symbol: str) -> list[Candle]:
    times = range(START, START + BARS * Timeframe.M1.ms, Timeframe.M1.ms)
    return [row for time in times if (row := market.candle(symbol, Timeframe.M1, time))]


async def _one(exchange: _Exchange, pattern: Pattern, asked: int, given: int) -> _Case:
    chance = random.Random(1)
    path = exchange.whole.with_name("gaps.db")
    shutil.copy(exchange.whole, path)
    least = 0
    with closing(sqlite3.connect(path)) as connection, connection:
        for symbol, rows in exchange.rows.items():
            missing = {START + bar * Timeframe.M1.ms for bar in pattern(chance)}
            connection.executemany(
                "DELETE FROM candles WHERE symbol = ? AND bar = '1m' AND open_time = ?",
                [(symbol, time) for time in missing],
            )
            least += _witnesses(rows, missing, given)
    before = exchange.requests()
    await _backfill(exchange, path, asked)
    with closing(sqlite3.connect(path)) as connection:
        (held,) = connection.execute("SELECT count(*) FROM candles").fetchone()
    assert held == sum(map(len, exchange.rows.values())), "it is not filled"
    path.unlink()
    sent = exchange.requests() - before
    assert sent >= least, "the witnesses prove nothing"
    return _Case(sent, least)


def _witnesses(rows: Sequence[int], missing: set[int], size: int) -> int:
    """Count missing bars of which no two fit one page of `size` of the exchange's rows."""
    count, free = 0, 0
    for place, time in enumerate(rows):
        if time in missing and place >= free:
            count, free = count + 1, place + size
    return count


async def _backfill(exchange: _Exchange, path: Path, asked: int) -> None:
    settings = Settings(
        _env_file=None,
        blofin_symbols=SYMBOLS,
        blofin_rest_url=exchange.running.rest_url,
        backfill_batch_limit=asked,
        backfill_request_sleep_ms=0,
        backfill_symbol_sleep_ms=0,
    )
    order = BackfillRequest(settings, START, START + BARS * Timeframe.M1.ms)
    nobody = BackfillCallbacks(
        lambda _needs: None,
        lambda _left: None,
        lambda _history: ProgressCallbacks(),
        lambda _text: None,
    )
    store = open_store(f"sqlite:///{path}")
    try:
        async with client(settings.blofin_rest_url, __version__) as http:
            await backfill(order, store, http, nobody)
    finally:
        store.close()
