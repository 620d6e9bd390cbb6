"""Importer: reads the old scripts' prices, takes over what can be trusted, and counts the rest.

A close alone is no candle, and a live price without its trade is no tick: nothing is made of them
but figures, by which the store can be told to be complete and the old data to be right.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import sqlalchemy as sa
import trio

from blofin_agent.domain.candle import (
    DAY,
    MINUTE,
    Candle,
    CandleBatch,
    RejectedRow,
    Source,
    Timeframe,
)
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.jobs.legacy_import import row_parsing
from blofin_agent.jobs.legacy_import.minute_coverage import look_up, minutes
from blofin_agent.jobs.legacy_import.report import (
    MAX_DIFFERENCES,
    CloseDifference,
    FileFinding,
    ImportReport,
)
from blofin_agent.jobs.legacy_import.row_parsing import CANDLE, FILL, TICKS, TRADE
from blofin_agent.jobs.legacy_import.source_file import SourceFile
from blofin_agent.runtime.user_errors import Failed
from blofin_agent.store.bulk_copy import candle_copy
from blofin_agent.store.retrying import RetryingDatabase
from blofin_agent.store.tables import candles
from blofin_agent.store.tables import trades as trades_table

BATCH_ROWS = 10_000
"""Rows that are read together."""
WEEK = 7 * DAY

CLOSE_ONLY = "a close alone is no candle"
NO_TRADE_ID = "a live price without trade id, size and side is no tick"
NO_CLOSE = "no close that can be read"
NOT_ON_THE_MINUTE = "from REST, but not of a minute's beginning"
CONFLICTING_CANDLES = "two candles of a minute that differ: neither is believed"

Values = Mapping[str, Any]
"""A row of the file, by what its columns mean."""


class _Close(NamedTuple):
    """A row that REST gave: a minute's close, and the candle that it is, if it is one."""

    symbol: str
    time: int
    close: float
    candle: Candle | None


class CandleImporter:
    """Imports one file's prices. `now_ms`: when; `step` is told of rows as they are read.

    Raises Failed when the table cannot be understood.
    """

    def __init__(
        self,
        old: SourceFile,
        store: RetryingDatabase,
        report: ImportReport,
        now_ms: int,
        step: Callable[[int], None],
    ) -> None:
        self._old = old
        self._store = store
        self._report = report
        self._now = now_ms
        self._step = step
        self._over = Timeframe.M1.floor(now_ms)
        """Minutes that open earlier are over."""
        self._table = old.tables["ticks"]
        columns = old.columns(self._table)
        self._names = row_parsing.recognise(columns, TICKS)
        for needed, such_as in (("time", "ts_ms"), ("symbol", "symbol")):
            if needed not in self._names:
                raise Failed(
                    f"{old.path}: no column of its table ticks can be told to be the {needed}, "
                    f"such as {such_as}; they are {', '.join(columns)}"
                )
        self._has_candles = all(name in self._names for name in CANDLE)
        self._has_trades = all(name in self._names for name in TRADE)

    async def run(self) -> None:
        """Do it all. Raises NotReadable and StoreUnavailable."""
        async for part in self._parts(("time", "symbol", "source", "bar", *TRADE)):
            await self._count(part)
        if "source" in self._names:
            await self._closes()
        for _, found in sorted(self._report.symbols.items()):
            await look_up(found, self._store, self._over)

    async def _parts(self, meanings: Iterable[str], **how: Any) -> AsyncIterator[list[Values]]:
        """Yield rows by what their columns mean, some at a time."""
        wanted = [name for name in dict.fromkeys(meanings) if name in self._names]
        columns = [self._names[name] for name in wanted]
        source = self._old.rows(self._table, columns, BATCH_ROWS, **how)
        while part := await trio.to_thread.run_sync(next, source, None):
            self._step(len(part))
            yield [dict(zip(wanted, row, strict=True)) for row in part]

    # -- what there is ----------------------------------------------------------------------------

    async def _count(self, part: Sequence[Values]) -> None:
        """Count rows and the minutes that they touch, and store those that are trades."""
        left = self._report.left
        trades = []
        for row in part:
            placed = row_parsing.place(row, self._now)
            if isinstance(placed, str):
                left[placed] += 1
                continue
            symbol, time = placed
            found = self._report.found(symbol)
            found.first = min(time, found.first) if found.rows else time
            found.last = max(time, found.last)
            found.rows += 1
            day = time // DAY * DAY
            found.bits[day] = found.bits.get(day, 0) | 1 << (time - day) // MINUTE
            if row.get("source") == FILL:
                found.closes += 1
            elif not self._has_trades or row["trade_id"] is None:
                left[NO_TRADE_ID] += 1
            else:
                tick = row_parsing.tick(row, symbol, time, self._now)
                if isinstance(tick, RejectedRow):
                    left[f"no tick that BloFin can have sent: {tick.reason.value}"] += 1
                else:
                    found.ticks += 1
                    trades.append((symbol, tick))
        if trades and not self._report.dry_run:
            stored = await self._store.write(
                "import", partial(trades_table.insert_trades, found=trades)
            )
            for symbol, count in stored.items():
                self._report.found(symbol).ticks_stored += count

    # -- closes and candles -----------------------------------------------------------------------

    async def _closes(self) -> None:
        """Compare what REST gave with what is stored, and store what is a whole candle."""
        meanings = ("symbol", "time", "price", "bar", *self._candle_columns())
        source, order = self._names["source"], [self._names["symbol"], self._names["time"]]
        waiting: list[_Close] = []
        parts = self._parts(meanings, having=(source, FILL), ordered_by=order)
        async for part in parts:
            waiting += filter(None, map(self._close, part))
            # The last minute may go on in the next part.
            last = waiting[-1][:2] if waiting else None
            await self._compare([one for one in waiting if one[:2] != last])
            waiting = [one for one in waiting if one[:2] == last]
        await self._compare(waiting)

    def _candle_columns(self) -> Sequence[str]:
        return (*CANDLE, "confirm") if self._has_candles else ()

    def _close(self, row: Values) -> _Close | None:
        placed = row_parsing.place(row, self._now)
        if isinstance(placed, str):
            return None
        symbol, time = placed
        left = self._report.left
        close = row_parsing.number(row.get("price"))
        if time % MINUTE:
            left[NOT_ON_THE_MINUTE] += 1
            return None
        if close is None:
            left[NO_CLOSE] += 1
            return None
        if not self._has_candles:
            left[CLOSE_ONLY] += 1
            return _Close(symbol, time, close, None)
        candle = row_parsing.candle(row, time, self._over)
        if isinstance(candle, RejectedRow):
            left[f"no candle that BloFin can have given: {candle.reason.value}"] += 1
            return _Close(symbol, time, close, None)
        self._report.found(symbol).candles += 1
        return _Close(symbol, time, close, candle)

    async def _compare(self, closes: Sequence[_Close]) -> None:
        for (symbol, week), some in groupby(closes, lambda one: (one.symbol, one.time // WEEK)):
            span = TimeRange(week * WEEK, (week + 1) * WEEK)
            look = partial(candle_copy.read, symbol=symbol, bar=Timeframe.M1, span=span)
            stored = {row[0]: row[4] for row in await self._store.read("import", look)}
            found, new = self._report.found(symbol), []
            for time, these in groupby(some, lambda one: one.time):
                candle = self._judge(found, list(these), stored.get(time))
                if candle is not None:
                    new.append(candle)
            if new and not self._report.dry_run:
                insert = partial(_insert, symbol=symbol, found=new)
                found.candles_stored += await self._store.write("import", insert)
            elif new:
                found.candles_stored += len(new)
                for candle in new:
                    day = candle.open_time // DAY * DAY
                    span = TimeRange(candle.open_time, candle.open_time + MINUTE)
                    found.new[day] = found.new.get(day, 0) | minutes(span, day)

    def _judge(
        self, found: FileFinding, closes: list[_Close], stored: float | None
    ) -> Candle | None:
        """Compare a minute's closes with the stored one; return a candle to be stored, if any."""
        if stored is None:
            whole = {one.candle for one in closes if one.candle is not None}
            if len(whole) > 1:
                self._report.left[CONFLICTING_CANDLES] += len(closes)
            return whole.pop() if len(whole) == 1 else None
        others = [one for one in closes if one.close != stored]
        if not others:
            found.equal += 1
            return None
        found.different += 1
        if len(self._report.differences) < MAX_DIFFERENCES:
            first = others[0]
            told = CloseDifference(found.symbol, first.time, first.close, stored)
            self._report.differences.append(told)
        return None


def _insert(connection: sa.Connection, symbol: str, found: Sequence[Candle]) -> int:
    return sum(candles.insert(connection, Timeframe.M1, [CandleBatch(symbol, Source.FILL, found)]))
