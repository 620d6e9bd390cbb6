"""Big: a store of many candles of 500 symbols, made quickly, with the runs that would be in it."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from blofin_agent.domain.candle import HOUR, MINUTE, Candle, CandleBatch, Source, Timeframe
from blofin_agent.runtime.clock import wall_ms
from blofin_agent.simulator.instruments import choose
from blofin_agent.store.database import open_store
from blofin_agent.store.tables import candles

SYMBOLS = tuple(sorted(choose(500)))
RECENT = 25 * HOUR // MINUTE
"""The newest minutes of each symbol go in by the agent's own path, with all that it keeps beside
the candles; the older ones by SQLite alone."""
_AT_ONCE = 20
_RUN_MINUTES = 30

_OLD = """
WITH RECURSIVE bar(time) AS (SELECT :start UNION ALL SELECT time + 60000 FROM bar
    WHERE time + 60000 < :end)
INSERT INTO candles SELECT :symbol, '1m', time, 50000 + time / 60000 % 997 / 10.0,
    50001 + time / 60000 % 991 / 10.0, 49999 + time / 60000 % 983 / 10.0,
    50000.5 + time / 60000 % 977 / 10.0, 100 + time / 60000 % 971 / 10.0,
    time / 60000 % 967 / 1000.0, 12345.678 + time / 60000 % 953, 'historical_fill' FROM bar
"""
_RUNS = """
WITH RECURSIVE pass(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM pass
    WHERE number < :passes)
INSERT INTO gap_fill_runs (started, finished, symbol, bar, trigger, missing_before, missing_after,
    gaps_found, requests, rate_limited, rows_fetched, rows_inserted, coverage_before,
    coverage_after, status, note)
SELECT :end - (:passes - number) * 1800000, :end - (:passes - number) * 1800000 + 200, value, '1m',
    'periodic', 0, 0, 0, 0, 0, 0, 0, 1, 1, 'complete', '' FROM pass, json_each(:symbols)
"""


@dataclass(slots=True)
class Big:
    """A store of so many candles, as many of each symbol, up to when it was made."""

    path: Path
    rows: int
    end: int
    """When the newest candle closes (ms)."""
    bytes_a_row: float = 0.0
    oldest: dict[str, int] = field(default_factory=dict)
    """The oldest open time (ms) of each symbol."""

    @property
    def url(self) -> str:
        """The database's URL."""
        return f"sqlite:///{self.path}"


def build(path: Path, rows: int) -> Big:
    """Make the store, and return it."""
    end = Timeframe.M1.floor(wall_ms())
    start = end - rows // len(SYMBOLS) * MINUTE
    recent = end - RECENT * MINUTE
    made = Big(path, rows, end, oldest=dict.fromkeys(SYMBOLS, start))
    open_store(made.url).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        # A build that is broken off is made anew: nothing need be safe meanwhile.
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -100000"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("BEGIN")
        for symbol in SYMBOLS:
            connection.execute(_OLD, {"symbol": symbol, "start": start, "end": recent})
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")
    store = open_store(made.url)
    for symbols in _parts(SYMBOLS):
        batches = [CandleBatch(symbol, Source.FILL, minutes(recent, RECENT)) for symbol in symbols]
        with store.engine.begin() as opened:
            candles.insert(opened, Timeframe.M1, batches)
    store.close()
    made.bytes_a_row = path.stat().st_size / rows
    _add_runs(made)
    return made


def minutes(start: int, count: int) -> list[Candle]:
    """Return so many candles from an open time (ms) on."""
    return [
        Candle(start + place * MINUTE, 50_000.5, 50_001.5, 49_999.25, 50_000.75, 100.5, 0.125, 12.5)
        for place in range(count)
    ]


def _parts(symbols: Sequence[str]) -> Iterator[Sequence[str]]:
    for at in range(0, len(symbols), _AT_ONCE):
        yield symbols[at : at + _AT_ONCE]


def _add_runs(made: Big) -> None:
    """Add a run of each symbol for each half hour of its candles, as periodic passes leave them."""
    passes = made.rows // len(SYMBOLS) // _RUN_MINUTES
    symbols = "[" + ",".join(f'"{symbol}"' for symbol in SYMBOLS) + "]"
    with closing(sqlite3.connect(made.path)) as connection, connection:
        connection.execute(_RUNS, {"passes": passes, "end": made.end, "symbols": symbols})
