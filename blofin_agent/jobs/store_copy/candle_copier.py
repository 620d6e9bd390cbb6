"""Copier: moves the candles of one store into another, some days at a time, and compares them.

A day that is equal on both sides is not written again, so a copy that was broken off anywhere goes
on when it is run again. A candle that the target has is never overwritten.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial

import sqlalchemy as sa

from blofin_agent.domain.candle import CandleBatch, Timeframe
from blofin_agent.domain.candle_diff import Row, by_source, compare, is_storable, reach, spread
from blofin_agent.domain.symbols import is_symbol
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.jobs.store_copy.report import CopiedSeries, CopyReport
from blofin_agent.store.bulk_copy import candle_copy
from blofin_agent.store.postgresql.partitions import WEEK
from blofin_agent.store.retrying import RetryingDatabase
from blofin_agent.store.tables import candles
from blofin_agent.store.tables.candle_series import CandleSeries, next_series

BLOCKS = 7
"""Blocks that are read and written together: 10,080 bars, a week of 1m bars."""
MAX_RANGE_MS = 50 * WEEK
"""So much time the candles of one transaction span: each week is a table on PostgreSQL, and a
transaction locks those that it writes to."""


@dataclass(frozen=True, slots=True)
class CopyCallbacks:
    """What the copy tells as it goes."""

    begun: Callable[[int], None]
    """How many bars there are in all, held or not."""
    at: Callable[[str], None]
    """What is copied now."""
    advanced: Callable[[int], None]
    """So many bars were compared."""
    finished: Callable[[CopiedSeries], None]
    """A symbol is done."""


def is_wanted(symbol: str, wanted: Sequence[str] | None) -> bool:
    """Return whether a symbol is meant by these names and patterns; None means all."""
    return wanted is None or any(one == "all" or fnmatchcase(symbol, one) for one in wanted)


async def find(source: RetryingDatabase, wanted: Sequence[str] | None) -> list[CandleSeries]:
    """Return what the source holds candles of. Raises StoreUnavailable."""
    found: list[CandleSeries] = []
    after: tuple[str, str] | None = None
    while one := await source.read("copy", partial(next_series, after=after)):
        after = one.symbol, one.bar
        if is_wanted(one.symbol, wanted):
            found.append(one)
    return found


class CandleCopier:
    """Copies one series of candles after the other."""

    def __init__(
        self,
        source: RetryingDatabase,
        target: RetryingDatabase,
        report: CopyReport,
        tell: CopyCallbacks,
    ) -> None:
        self._source = source
        self._target = target
        self._report = report
        self._tell = tell
        self._takes_nan = target.store.engine.dialect.name != "sqlite"

    async def copy(self, found: Sequence[CandleSeries]) -> None:
        """Copy these series. Raises StoreUnavailable."""
        self._tell.begun(sum(map(_bars, found)))
        for series in found:
            told = CopiedSeries(series.symbol, series.bar)
            self._report.series.append(told)
            self._tell.at(series.symbol)
            await self._series(series, told)
            self._tell.finished(told)

    async def _series(self, series: CandleSeries, told: CopiedSeries) -> None:
        bar = _bar_of(series)
        if bar is None or series.first is None or series.last is None:
            count = partial(candle_copy.count, symbol=series.symbol, bar=series.bar)
            told.candles = told.refused = await self._source.read("copy", count)
            return
        symbol, at, end = series.symbol, series.first, series.last + bar.ms
        following: int | None = at
        while following is not None and following <= series.last:
            at, span = following, reach(following, bar, BLOCKS)
            read = partial(candle_copy.read, symbol=symbol, bar=bar, span=span)
            following = span.end
            if rows := await self._source.read("copy", read):
                await self._stretch(told, bar, span, rows)
            else:
                next_time = partial(candle_copy.next_time, symbol=symbol, bar=bar, since=span.end)
                following = await self._source.read("copy", next_time)
            self._tell.advanced((min(following or end, end) - at) // bar.ms)

    async def _stretch(
        self, told: CopiedSeries, bar: Timeframe, span: TimeRange, rows: Sequence[Row]
    ) -> None:
        """Compare some days, write what is lacking, and compare them again."""
        ours = is_storable(rows, nan=self._takes_nan)
        told.candles += len(rows)
        told.refused += len(rows) - len(ours)
        look = partial(candle_copy.read, symbol=told.symbol, bar=bar, span=span)
        before = after = compare(ours, await self._target.read("copy", look), bar)
        lacking = [row for day in before for row in day.lacking]
        if lacking:
            for part in spread(lacking, MAX_RANGE_MS):
                insert = partial(_insert, symbol=told.symbol, bar=bar, rows=part)
                told.copied += await self._target.write("copy", insert)
            after = compare(ours, await self._target.read("copy", look), bar)
        told.compared(before, after)
        for day in after:
            self._report.keep(told, day)


def _insert(connection: sa.Connection, symbol: str, bar: Timeframe, rows: Sequence[Row]) -> int:
    """Insert candles that are not there yet, each under its own source; return how many were."""
    batches = [
        CandleBatch(symbol, source, some) for source, some in by_source(rows).items() if some
    ]
    return sum(candles.insert(connection, bar, batches))


def _bar_of(series: CandleSeries) -> Timeframe | None:
    """Return a series' bar, None when it is none of ours, or of nothing that can be a symbol."""
    if series.bar not in set(Timeframe) or not is_symbol(series.symbol):
        return None
    return Timeframe(series.bar)


def _bars(series: CandleSeries) -> int:
    bar = _bar_of(series)
    if bar is None or series.first is None or series.last is None:
        return 0
    return (series.last - series.first) // bar.ms + 1
