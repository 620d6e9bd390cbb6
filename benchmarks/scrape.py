"""Scrapes: what the figures of many symbols cost, and what holds the event loop.

Time of a scrape over prometheus_client's own. Ours is the agent's registry, asked and encoded as
`/metrics` does it: a week of every symbol in memory, a gap in every tenth, a proof in every
twentieth, and what verifications found. The floor is the same encoder over the same families,
built beforehand: as many samples with the same labels, and nothing to ask or compute. CPU time of
one thread, in turns; medians.

How long the event loop is held. The real agent with 500 symbols, from its start on: a store with
a week of 480 of them, REST fills the other 20 and what is missing of the rest; 500 pushes a second
and the ends of minutes; a page stands open; every 3 s a compressed scrape, each page, and each
question of the API. An instrument in trio's loop times each step of each task, and a task that
wakes every 5 ms tells how late it was, for whatever reason. A loop in a process of its own that
does nothing else tells how late this machine makes one that has nothing to wait for.
"""

import gc
import json
import os
import signal
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import trio
from prometheus_client import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from benchmarks.beside import Beside, beside
from benchmarks.canned_feed import names
from benchmarks.children import started
from benchmarks.figure import Figure, at_most
from benchmarks.watched import WATCHED, Held
from blofin_agent.config import Settings
from blofin_agent.domain.bar_set import BarSet
from blofin_agent.domain.candle import Timeframe
from blofin_agent.domain.symbol_coverage import SymbolCoverage
from blofin_agent.domain.unavailability import PageHoles
from blofin_agent.exchange.rest_client import client
from blofin_agent.store.database import open_store
from blofin_agent.store.tables.verifications import VerificationTotals
from blofin_agent.wiring import Services, build_services

SIZES = {500: 25, 5_000: 7}
"""Symbols, and how often both are encoded."""
ENCODERS: dict[str, Callable[..., bytes]] = {
    "text": generate_latest,
    "OpenMetrics": generate_openmetrics,
}
SYMBOLS, EMPTY = 500, 20
WATCH_S = 130
EVERY_S = 3
PATHS = (
    *("/", "/symbols/S001-USDT", "/runs", "/runbook", "/healthz", "/readyz", "/static/live.js"),
    *(f"/api/v1/{path}" for path in ("status", "coverage", "gaps", "map", "runs", "openapi.json")),
    *("/api/v1/coverage/S002-USDT", "/api/v1/candles?symbol=S001-USDT&limit=1000"),
)
ACCEPT = ("text/plain", "application/openmetrics-text;version=1.0.0")


def run() -> list[Figure]:
    """Measure both."""
    figures = [figure for symbols in SIZES for figure in trio.run(_scrapes, symbols)]
    return [*figures, *_holds()]


# -- scrapes --------------------------------------------------------------------------------------


class _Built:
    """Families that were built beforehand, as prometheus_client's encoders ask for them."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)
        self.samples = sum(len(one.samples) for one in self._families)

    def collect(self) -> list[Metric]:
        return self._families


async def _scrapes(symbols: int) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{Path(folder) / 'scrape.db'}")
        async with client("http://127.0.0.1", "benchmark") as http:
            parts = build_services(Settings(_env_file=None), store, http, tries=1, what_next="")
            _fill(parts, symbols)
            # As the agent does once all is loaded.
            gc.freeze()
            figures = [_scrape(parts, symbols, form) for form in ENCODERS]
            gc.unfreeze()
        store.close()
    return figures


def _fill(parts: Services, symbols: int) -> None:
    tracker = parts.tracker
    window = tracker.window()
    # What is newest comes within a second or two: a minute that ends meanwhile is no gap.
    end = window.end + 10 * Timeframe.M1.ms
    whole = BarSet.of(Timeframe.M1, range(window.start, end, Timeframe.M1.ms))
    parts.metrics.verified = {}
    for number, symbol in enumerate(names(symbols)):
        history = SymbolCoverage(symbol, Timeframe.M1, list_time=1_600_000_000_000)
        history.held = history.live = whole
        if number % 10 == 0:
            gap = range(window.start + number * Timeframe.M1.ms, end, Timeframe.M1.ms)[
                1_000 : 1_030 + number % 50
            ]
            history.held = BarSet.of(
                Timeframe.M1, set(range(window.start, end, Timeframe.M1.ms)) - set(gap)
            )
        if number % 20 == 0:
            history.learn(PageHoles(history.missing(window), []), window.end)
        tracker.histories[symbol] = history
        parts.metrics.add_symbol(symbol)
        parts.metrics.verified[symbol] = VerificationTotals(9, 2, 1, 3, 4, 1, window.end, 2)
    tracker.loaded = True


def _scrape(parts: Services, symbols: int, form: str) -> Figure:
    registry, encode = parts.metrics.registry, ENCODERS[form]
    built = _Built(registry.collect())
    ours, floor = [], []
    for _ in range(SIZES[symbols]):
        ours.append(_cpu_s(lambda: encode(registry)))
        floor.append(_cpu_s(lambda: encode(built)))
    return Figure(
        f"a scrape of {symbols:,} symbols over prometheus_client's own encoder, {form}",
        median(ours) / median(floor),
        f"{median(ours) * 1000:.1f} ms of {median(floor) * 1000:.1f} ms; {built.samples:,} samples",
        target=at_most(1.3),
    )


def _cpu_s(work: Callable[[], object]) -> float:
    begun = time.thread_time()
    work()
    return time.thread_time() - begun


# -- what holds the event loop --------------------------------------------------------------------


def _holds() -> list[Figure]:
    watched = (sys.executable, "-m", "benchmarks.watched")
    with (
        started("benchmarks.canned_feed", str(SYMBOLS)) as tells,
        started("benchmarks.watched", "nothing", str(WATCH_S)) as bare,
        beside(tells(), SYMBOLS, empty=EMPTY, command=watched) as one,
    ):
        with _page(one):
            _look_at_all(one)
        requests = sum(
            value
            for name, value in one.agent.samples().items()
            if name.startswith("blofin_backfill_requests_total")
        )
        os.kill(one.agent.pid, signal.SIGTERM)
        held = _told(one.folder / WATCHED)
        idle = bare()
    assert requests >= EMPTY
    longest, steps = held["steps"]["longest"], held["steps"]["count"]
    late, collected = held["late"]["longest"], held["garbage"]["longest"]
    others = "; ".join(f"{1000 * one[0]:.1f} ms {one[2]}" for one in longest[1:4])
    return [
        Figure(
            "longest step of any task in the event loop",
            longest[0][0] * 1000,
            f"{longest[0][2]}; of {steps:,} steps in {WATCH_S} s, {requests:.0f} pages fetched; "
            f"then {others}; longest collection of garbage {collected[0][0] * 1000:.1f} ms",
            unit=" ms",
            target=at_most(20),
        ),
        Figure(
            "latest that a task of the loop woke, whatever held it",
            late[0][0] * 1000,
            f"of {held['late']['count']:,} times, then {_some(late[1:4])} ms; a loop that has "
            f"nothing else to do, meanwhile: {_some(idle['longest'][:4])} ms",
            unit=" ms",
        ),
    ]


def _some(longest: Sequence[tuple[float, float, str]]) -> str:
    return ", ".join(f"{1000 * seconds:.1f}" for seconds, _, _ in longest)


@contextmanager
def _page(one: Beside) -> Iterator[None]:
    """Keep a page open: read its stream of events."""
    done = threading.Event()

    def read() -> None:
        url = f"http://127.0.0.1:{one.agent.port}/events"
        with urllib.request.urlopen(url, timeout=30) as answer:
            while not done.is_set():
                answer.readline()

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _look_at_all(one: Beside) -> None:
    end, turn = time.monotonic() + WATCH_S, 0
    while time.monotonic() < end:
        accept = ACCEPT[turn % len(ACCEPT)]
        one.agent.get("/metrics", **{"Accept": accept, "Accept-Encoding": "gzip"})
        for path in PATHS:
            one.agent.get(path)
        turn += 1
        time.sleep(EVERY_S)


def _told(path: Path) -> Held:
    give_up_at = time.monotonic() + 15
    while not path.exists():
        assert time.monotonic() < give_up_at, "the agent does not end"
        time.sleep(0.1)
    time.sleep(0.5)
    found: Held = json.loads(path.read_text(encoding="utf-8"))
    return found
