"""Archive: what the page and the API show of the store: runs and candles.

It reads through a connection of its own, so that whoever looks holds no commit up.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from blofin_agent.domain.backfill_run import Run, Status
from blofin_agent.domain.candle import Bar
from blofin_agent.domain.time_range import Span
from blofin_agent.store.database import Store
from blofin_agent.store.errors import StoreUnavailable
from blofin_agent.store.tables import backfill_runs as runs
from blofin_agent.store.tables import candles
from blofin_agent.store.tables.candles import Stored


class ArchiveAway(Exception):
    """The database cannot be read now. The text says why."""


class Archive:
    """Reads runs and candles of one bar. Every method raises ArchiveAway."""

    def __init__(self, reader: Store, bar: Bar) -> None:
        self._reader = reader
        self._bar = bar

    async def runs(
        self,
        most: int,
        *,
        symbols: Sequence[str] | None = None,
        statuses: Sequence[Status] | None = None,
        before: int | None = None,
    ) -> list[Run]:
        """Return the last runs, the newest first; see `store.runs.latest`."""
        work = partial(
            runs.latest, bar=self._bar, most=most, symbols=symbols, statuses=statuses, before=before
        )
        with _told():
            return await self._reader.read("page", work)

    async def candles(self, symbol: str, span: Span, most: int) -> list[Stored]:
        """Return at most so many candles of the span, the oldest first."""
        work = partial(candles.page, symbol=symbol, bar=self._bar, span=span, most=most)
        with _told():
            return await self._reader.read("page", work)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except StoreUnavailable as error:
        raise ArchiveAway(str(error)) from None
