"""Live candles: how many messages one process takes in, and how soon candles are committed.

Messages a second over a floor's. A canned server floods connections of 100 symbols each with
pushes as BloFin sends them, 59 of an open candle and then one that completes it. The floor is a
bare trio-websocket loop: the library as it comes, and msgspec into the agent's own type of row,
with nothing done after it. A second one has the agent's larger buffers, too. Ours is the agent's
Ingest with intake, Writer, Metrics and a SQLite Store: each complete candle is stored, and it is
checked that none was lost. Each reader takes a process; the server's clock tells how long it took,
from the first byte to the answer to the close frame behind the last message. The runs take turns;
medians. A reader that looks at nothing shows that the server is not what is waited for.

Delay of commits. The real agent with 500 symbols on 5 connections, in real time: each second a
push of every symbol, and at each minute's end the completing pushes of all 500 at once, before the
500 pushes of that second. From the moment before the first of them is sent until a reader of the
database, which looks again every millisecond, finds the row.
"""

import sqlite3
import time
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from statistics import median, quantiles

from benchmarks.beside import beside
from benchmarks.canned_feed import MINUTE, PER_CONNECTION, names
from benchmarks.children import Tells, Told, started
from benchmarks.figure import Figure, at_least, at_most

REPEATS = 3
MINUTES = 20
"""Minutes of pushes in a flood, over the number of connections."""
SYMBOLS = 500
BURSTS = 3
"""Ends of minutes that are watched."""
LOOK_S = 0.001


def run() -> list[Figure]:
    """Measure both."""
    with started("benchmarks.canned_feed", str(SYMBOLS)) as tells:
        exchange = tells()
        url = exchange["ws"]
        figures = [one for number in (1, 5) for one in _throughput(url, tells, number)]
        return [*figures, _delay(exchange, tells)]


# -- messages a second ----------------------------------------------------------------------------


def _throughput(url: str, tells: Tells, connections: int) -> list[Figure]:
    rates: dict[str, list[float]] = defaultdict(list)
    for number in range(REPEATS):
        for kind in ("raw", "bare", "tuned", "ours"):
            run = f"{kind}-{connections}-{number}"
            flood = f"{url}/flood/{run}/{connections}/{MINUTES // connections}"
            rates[kind].append(_rate(kind, flood, connections, tells))
    rate = {kind: median(found) for kind, found in rates.items()}
    of = f"{connections * PER_CONNECTION} symbols on {connections} connections"
    ours, bare, tuned = rate["ours"], rate["bare"], rate["tuned"]
    return [
        Figure(
            f"messages/s over a bare trio-websocket loop's, {of}",
            ours / bare,
            f"{ours:,.0f}/s of {bare:,.0f}/s; the server can send {rate['raw']:,.0f}/s",
            target=at_least(0.8),
        ),
        Figure(
            f"the same over that loop with the agent's buffers, {of}",
            ours / tuned,
            f"{ours:,.0f}/s of {tuned:,.0f}/s",
        ),
    ]


def _rate(kind: str, url: str, connections: int, tells: Tells) -> float:
    """Let a reader take a flood; return its messages a second by the server's clock."""
    with started("benchmarks.live_readers", kind, url, str(connections)) as reader:
        floods = [tells() for _ in range(connections)]
        counted = reader()
    messages = sum(flood["messages"] for flood in floods)
    if kind != "raw":
        assert counted["messages"] == messages, counted
    if kind == "ours":
        complete = PER_CONNECTION * MINUTES
        assert (counted["stored"], counted["dropped"]) == (complete, 0), counted
    begun, ended = min(one["begun"] for one in floods), max(one["ended"] for one in floods)
    rate: float = messages / (ended - begun)
    return rate


# -- the delay of commits -------------------------------------------------------------------------


def _delay(exchange: Told, tells: Tells) -> Figure:
    with beside(exchange, SYMBOLS) as one:
        delays = sorted(delay for _ in range(BURSTS) for delay in _burst(one.database, tells))
        told = one.agent.samples()
    dropped = told["blofin_writer_dropped_total"]
    assert not dropped
    return Figure(
        f"commit of {SYMBOLS} candles after their completing push, p99",
        quantiles(delays, n=100)[98],
        f"{len(delays):,} candles at {BURSTS} ends of minutes; median {median(delays):.0f} ms, "
        f"longest {delays[-1]:.0f} ms",
        unit=" ms",
        target=at_most(250),
    )


def _burst(database: Path, tells: Tells) -> list[float]:
    """Watch this minute's end; return how long each candle took, in ms."""
    minute = _now() // MINUTE * MINUTE
    query = "SELECT 1 FROM candles WHERE symbol = ? AND bar = '1m' AND open_time = ?"
    seen: list[float] = []
    time.sleep(max(0.0, (minute + MINUTE - 200 - _now()) / 1000))
    give_up_at = time.monotonic() + 20
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        version, left = 0, set(names(SYMBOLS))
        while left:
            assert time.monotonic() < give_up_at, f"{len(left)} candles were not committed"
            time.sleep(LOOK_S)
            (now,) = connection.execute("PRAGMA data_version").fetchone()
            if now != version:
                version = now
                found = {one for one in left if connection.execute(query, (one, minute)).fetchone()}
                seen += [time.time()] * len(found)
                left -= found
    while (pushed := tells())["minute"] != minute:
        pass  # one that ended while nobody looked
    return [(at - pushed["begun"]) * 1000 for at in seen]


def _now() -> int:
    return time.time_ns() // 1_000_000
