"""Archive: what the page and the API show of the store: runs and candles.

It reads through a connection of its own, so that whoever looks holds no commit up.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from blofin_agent.domain.backfill_run import BackfillRun, RunStatus
from blofin_agent.domain.candle import Timeframe
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.store.database import Database
from blofin_agent.store.errors import StoreUnavailable
from blofin_agent.store.tables import backfill_runs as runs
from blofin_agent.store.tables import candles
from blofin_agent.store.tables.candles import StoredCandle


class StoreReadError(Exception):
    """The database cannot be read now. The text says why."""


class StoreReader:
    """Reads runs and candles of one bar. Every method raises ArchiveAway."""

    def __init__(self, reader: Database, bar: Timeframe) -> None:
        self._reader = reader
        self._bar = bar

    async def runs(
        self,
        most: int,
        *,
        symbols: Sequence[str] | None = None,
        statuses: Sequence[RunStatus] | None = None,
        before: int | None = None,
    ) -> list[BackfillRun]:
        """Return the last runs, the newest first; see `store.runs.latest`."""
        work = partial(
            runs.latest, bar=self._bar, most=most, symbols=symbols, statuses=statuses, before=before
        )
        with _told():
            return await self._reader.read("page", work)

    async def candles(self, symbol: str, span: TimeRange, most: int) -> list[StoredCandle]:
        """Return at most so many candles of the span, the oldest first."""
        work = partial(candles.page, symbol=symbol, bar=self._bar, span=span, most=most)
        with _told():
            return await self._reader.read("page", work)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except StoreUnavailable as error:
        raise StoreReadError(str(error)) from None
