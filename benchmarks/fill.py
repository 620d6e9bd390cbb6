"""How fast a cold store is filled: 32 symbols, 7 days of 1m candles, nothing throttled.

The server is canned (`canned.py`), so that nobody waits for it. Each way (`ways.py`) runs in a
process of its own and is measured from its first request to its last commit, without what it loads
and opens before; the ways take turns, and the medians are compared. The floor is the least code
that moves the same bytes: raw httpx GET, typed msgspec decode, the driver's own executemany, rows
in key order, in one thread or in two, whichever is faster. All write into a table of the same
columns with a write-ahead log, and commit once a page, or as their names say; ccxt gives six of the
eleven columns. The plain loop keeps its connection and commits once a symbol.
"""

import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.figure import Figure, at_least
from benchmarks.processes import Cost, measured, server
from benchmarks.ways import WAYS
from blofin_agent.domain.candle import DAY, HOUR, MINUTE

SYMBOLS, DAYS, TURNS = 32, 7, 5
FLOORS = ("floor", "floor, two threads")
PLAIN, COMMITTING = "plain requests, 300 a page", "plain requests, a commit a row"


def run() -> list[Figure]:
    """Let each way fill its own database, in turns."""
    end = int(time.time() * 1000) // MINUTE * MINUTE - HOUR
    start = end - DAYS * DAY
    costs: dict[str, list[Cost]] = {way: [] for way in WAYS}
    with server("benchmarks.canned", SYMBOLS, start - HOUR, end) as url:
        for _ in range(TURNS):
            for way in WAYS:
                with tempfile.TemporaryDirectory() as folder:
                    database = Path(folder, "blofin.db")
                    costs[way].append(measured("benchmarks.ways", way, url, database, start, end))
    return _figures({way: _median(found) for way, found in costs.items()})


def _median(found: list[Cost]) -> Cost:
    return Cost(*map(statistics.median, zip(*found, strict=True)))


def _figures(costs: dict[str, Cost]) -> list[Figure]:
    ours, plain = costs["blofin-agent"], costs[PLAIN]
    floor = min((costs[way] for way in FLOORS), key=lambda cost: cost.seconds)
    peers = [cost for way, cost in costs.items() if way.startswith("ccxt")]
    quick = min(peers, key=lambda cost: cost.seconds)
    cheap = min(peers, key=lambda cost: cost.cpu)
    return [
        Figure(
            "candles a second, over the floor's",
            floor.seconds / ours.seconds,
            f"{_rate(ours)} over {_rate(floor)}",
            target=at_least(0.7),
        ),
        Figure(
            "times as fast as the best of ccxt",
            quick.seconds / ours.seconds,
            f"{ours.seconds:.2f} s, {quick.seconds:.2f} s",
            target=at_least(2),
        ),
        Figure(
            "times as little CPU as the best of ccxt",
            cheap.cpu / ours.cpu,
            f"{ours.cpu:.2f} s, {cheap.cpu:.2f} s",
            target=at_least(2),
        ),
        Figure(
            "times as fast as the plain loop",
            plain.seconds / ours.seconds,
            f"{ours.seconds:.2f} s, {plain.seconds:.2f} s",
            target=at_least(5),
        ),
        Figure(
            "times as fast as the plain loop with a commit a row",
            costs[COMMITTING].seconds / ours.seconds,
            f"{ours.seconds:.2f} s, {costs[COMMITTING].seconds:.2f} s",
        ),
        *(
            Figure(way, cost.rate / 1000, f"{cost.seconds:.2f} s, CPU {cost.cpu:.2f} s", "k/s")
            for way, cost in costs.items()
        ),
    ]


def _rate(cost: Cost) -> str:
    return f"{cost.rate / 1000:.0f},000/s"
