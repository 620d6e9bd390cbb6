"""Stock: a database of the agent's own schema with so many symbols and days, made quickly."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from blofin_agent.domain.candle import DAY, MINUTE, Timeframe
from blofin_agent.domain.coverage_blocks import block_starts
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.runtime.clock import wall_ms
from blofin_agent.store.database import Database, open_store
from blofin_agent.store.sqlite.driver import checkpoint
from blofin_agent.store.tables import coverage_blocks

_FIRST = """
WITH RECURSIVE bar(time) AS (SELECT :start UNION ALL SELECT time + 60000 FROM bar
    WHERE time + 60000 < :end)
INSERT INTO candles SELECT :symbol, '1m', time, 1.5 + time % 7, 9.25, 1.125, 2.0625 + time % 3,
    1000 + time % 977, 10.5 + time % 977, 21.25 + time % 977,
    CASE WHEN time % 5 THEN 'blofin_ws' ELSE 'historical_fill' END FROM bar
"""
_LIKE_IT = (
    """
    INSERT INTO candles SELECT :symbol, bar, open_time, open, high, low, close, volume,
        volume_base, volume_quote, source FROM candles WHERE symbol = :first
    """,
    """
    INSERT INTO coverage_blocks SELECT bar, start, :symbol, held, live FROM coverage_blocks
        WHERE symbol = :first
    """,
)
"""Every symbol has the candles of the first, so that SQLite can copy them."""


@dataclass(frozen=True, slots=True)
class Stock:
    """A database of minutes without a gap up to when it was made."""

    path: Path
    symbols: tuple[str, ...]
    days: int

    @property
    def url(self) -> str:
        """The database's URL."""
        return f"sqlite:///{self.path}"

    @property
    def rows(self) -> int:
        """How many candles it was made with."""
        return len(self.symbols) * self.days * DAY // MINUTE


def stock(path: Path, symbols: Sequence[str], days: int) -> Stock:
    """Make the database, and return it. Its blocks of coverage were proven for one symbol."""
    made = Stock(path, tuple(symbols), days)
    end = Timeframe.M1.floor(wall_ms())
    span = TimeRange(end - days * DAY, end)
    these = list(block_starts(Timeframe.M1, span))
    first, last = min(symbols), max(symbols)
    store = open_store(made.url)
    with store.engine.begin() as connection:
        values = {"symbol": first, "start": span.start, "end": span.end}
        connection.execute(sa.text(_FIRST), values)
        coverage_blocks.repair_blocks(connection, Timeframe.M1, first, these)
    for symbol in sorted(set(symbols) - {first}):
        _write(store, symbol, first)
    wrong = store.read_here(
        partial(coverage_blocks.find_wrong_blocks, bar=Timeframe.M1, symbol=last, these=these)
    )
    if wrong:
        raise AssertionError(f"the blocks of {last} do not say what its candles say")
    store.close()
    return made


def _write(store: Database, symbol: str, first: str) -> None:
    with store.engine.begin() as connection:
        for statement in _LIKE_IT:
            connection.execute(sa.text(statement), {"symbol": symbol, "first": first})
    with store.engine.connect() as connection:
        checkpoint(connection)
