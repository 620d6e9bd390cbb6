"""Start: from the start of the process to ready, and the memory of the agent at rest.

The real command `blofin-agent run` starts against the simulator on a database of 500 symbols
whose minutes are whole up to when it was made, and is asked at `/readyz` until that says 200; that
it has counted the candles by then is looked up in its `/metrics`. BloFin is not waited for. The
window is 7 days; one database holds just those, the other seven times as much. The floor is the
same interpreter, which imports the same libraries of others, opens the same database and reads
the same blocks of coverage. All take turns; medians.

Memory is that of the process as Linux tells it (VmRSS), after it was ready, met live candles of
all its symbols and did a pass.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from operator import truediv
from pathlib import Path

from benchmarks.figure import Figure, at_most
from benchmarks.running import Agent, agent, simulator
from benchmarks.stock import Stock, stock
from blofin_agent.simulator.instruments import names

SYMBOLS, DAYS, MORE_DAYS = 500, 7, 49
TIMES = 9
WORKS_S = 20
LEAST_COVERAGE = 0.98
"""Of the window: what came after the database was made is still missing."""
MEMORY = ((50, 7), (500, 7), (1_000, 7), (500, 30))
"""Symbols, and days of the window."""

_FLOOR = """
import sqlite3, sys
import click, fastapi, hypercorn.trio, httpx, jinja2, msgspec, prometheus_client, \
    pydantic_settings, sqlalchemy.dialects.sqlite, structlog.dev, trio, trio_websocket
rows = sqlite3.connect(sys.argv[1]).execute(
    "SELECT held, live FROM coverage_blocks WHERE bar = '1m' AND start >= ?", (int(sys.argv[2]),)
).fetchall()
assert len(rows) >= int(sys.argv[3])
"""


def run() -> list[Figure]:
    """Measure, for some minutes and with a few gigabytes of disk."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small = stock(folder / "small.db", names(SYMBOLS), DAYS)
        large = stock(folder / "large.db", names(SYMBOLS), MORE_DAYS)
        with simulator(SYMBOLS) as exchange:
            figures = _starts(small, large, exchange)
        most = max(symbols for symbols, _ in MEMORY)
        wide = stock(folder / "wide.db", names(most), DAYS)
        with simulator(most) as exchange:
            return [*figures, *_memory((small, large, wide), exchange)]


def _starts(small: Stock, large: Stock, exchange: dict[str, str]) -> list[Figure]:
    seconds: dict[Stock, list[float]] = {small: [], large: []}
    floors: list[float] = []
    for turn in range(TIMES):
        for one in (small, large) if turn % 2 else (large, small):
            with agent(one.path.parent, exchange | _settings(one, SYMBOLS, DAYS)) as ready:
                seconds[one].append(ready.ready_s)
                _look(ready.samples(), SYMBOLS)
        floors.append(_floor(small))
    ours, more, floor = map(statistics.median, (seconds[small], seconds[large], floors))
    # Of neighbours in time: the machine is not as busy at all times.
    growth = statistics.median(map(truediv, seconds[large], seconds[small]))
    spread = f"{min(seconds[small]):.2f} to {max(seconds[small]):.2f} s"
    return [
        Figure(
            f"process start to ready, {SYMBOLS} symbols, {DAYS} days",
            ours,
            f"median of {TIMES}, {spread}; the floor takes {floor:.2f} s",
            " s",
            at_most(2),
        ),
        Figure(
            "the same over the floor", ours / floor, f"{ours:.2f} s over {floor:.2f} s, medians"
        ),
        Figure(
            f"the same with {MORE_DAYS} days stored, over that with {DAYS}",
            growth,
            f"median of {TIMES} pairs; {more:.2f} s with {large.rows:,} candles, {ours:.2f} s "
            f"with {small.rows:,}",
            target=at_most(1.1),
        ),
    ]


def _look(samples: dict[str, float], symbols: int) -> None:
    """See that the candles of all symbols are counted."""
    ratios = [value for name, value in samples.items() if name.startswith("blofin_coverage_ratio{")]
    if len(ratios) != symbols or min(ratios) < LEAST_COVERAGE:
        raise AssertionError(f"{len(ratios)} symbols, the least complete {min(ratios, default=0)}")


def _floor(one: Stock) -> float:
    since = int(time.time() * 1000) - DAYS * 86_400_000
    least = SYMBOLS * (DAYS - 1)
    begun = time.perf_counter()
    command = [sys.executable, "-c", _FLOOR, str(one.path), str(since), str(least)]
    subprocess.run(command, check=True)
    return time.perf_counter() - begun


def _memory(stocks: Iterable[Stock], exchange: dict[str, str]) -> list[Figure]:
    figures = []
    for symbols, days in MEMORY:
        one = min(
            (each for each in stocks if len(each.symbols) >= symbols and each.days >= days),
            key=lambda each: (each.days, len(each.symbols)),
        )
        with agent(one.path.parent, exchange | _settings(one, symbols, days)) as ready:
            figures.append(_figure(ready, symbols, days))
    return figures


def _figure(ready: Agent, symbols: int, days: int) -> Figure:
    time.sleep(WORKS_S)
    samples = ready.samples()
    _look(samples, symbols)
    if samples['blofin_feed_messages_total{kind="candle"}'] < symbols:
        raise AssertionError("no live candles came")
    now, most = ready.mib("VmRSS"), ready.mib("VmHWM")
    target = at_most(120) if (symbols, days) == (SYMBOLS, DAYS) else None
    detail = f"{WORKS_S} s after it was ready; {most:.0f} MiB at the most"
    return Figure(
        f"memory, {symbols} symbols, a window of {days} days", now, detail, " MiB", target
    )


def _settings(one: Stock, symbols: int, days: int) -> dict[str, str]:
    return {
        "BLOFIN_DATABASE_URL": one.url,
        "BLOFIN_SYMBOLS": ",".join(one.symbols[:symbols]),
        "BACKFILL_LOOKBACK_HOURS": str(days * 24),
        "BACKFILL_REQUEST_SLEEP_MS": "0",
        "BACKFILL_SYMBOL_SLEEP_MS": "0",
    }
