"""Copying: one whole store into another, once, and what came of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import trio

from blofin_agent.domain.symbols import needs_listing
from blofin_agent.jobs.store_copy.candle_copier import CandleCopier, CopyCallbacks, find, is_wanted
from blofin_agent.jobs.store_copy.report import CopyReport
from blofin_agent.jobs.store_copy.table_copier import TableCopier
from blofin_agent.runtime.shutdown import ShutdownState, run_until_signal
from blofin_agent.runtime.user_errors import Failed, WrongUse
from blofin_agent.store.bulk_copy import candle_copy
from blofin_agent.store.database import Database
from blofin_agent.store.errors import StoreUnavailable
from blofin_agent.store.retrying import RetryingDatabase
from blofin_agent.store.tables import instruments
from blofin_agent.store.tables.candle_series import CandleSeries


class CopyError(Failed):
    """The copy broke off. The text is a sentence for a person."""


@dataclass(frozen=True, slots=True)
class CopyRequest:
    """What to copy where. `wanted`: names of symbols and patterns; None means all."""

    source: RetryingDatabase
    target: RetryingDatabase
    wanted: Sequence[str] | None
    addresses: Mapping[str, str]
    """What the target calls an address that the source calls otherwise."""

    @classmethod
    def of(
        cls,
        source: Database,
        target: Database,
        wanted: Sequence[str] | None = None,
        addresses: Mapping[str, str] | None = None,
    ) -> "CopyRequest":
        """Return the order to copy one store into another."""
        return cls(RetryingDatabase(source), RetryingDatabase(target), wanted, addresses or {})

    def cut(self) -> None:
        """End what hangs in one of them. May be called in any thread."""
        for one in (self.source, self.target):
            one.store.lines.close_all()


async def copy(order: CopyRequest, tell: CopyCallbacks) -> CopyReport:
    """Copy once. Raises CopyError and WrongUse.

    SIGINT and SIGTERM end it after the transaction that is under way, and the report says so.
    """
    report = CopyReport(order.source.store.where, order.target.store.where)
    begun, stop = trio.current_time(), ShutdownState(order.cut)
    problem: Exception | None = None
    async with run_until_signal(stop):
        try:
            await _copy(order, report, tell)
        except (StoreUnavailable, WrongUse) as error:
            problem = error
    stop.done()
    if isinstance(problem, StoreUnavailable):
        raise CopyError(f"{problem}; what was copied is kept: run it again to go on")
    if problem is not None:
        raise problem
    report.seconds, report.stopped = trio.current_time() - begun, stop.requested
    return report


async def _copy(order: CopyRequest, report: CopyReport, tell: CopyCallbacks) -> None:
    source, target, wanted = order.source, order.target, order.wanted
    if await source.read("copy", candle_copy.place) == await target.read("copy", candle_copy.place):
        raise WrongUse(f"--from and --to name the same database, {report.source}")
    found = await find(source, wanted)
    symbols = None if wanted is None else await _symbols(source, wanted, found)
    begun = trio.current_time()
    await CandleCopier(source, target, report, tell).copy(found)
    report.candle_seconds = trio.current_time() - begun
    await TableCopier(source, target, report, symbols, order.addresses).copy()


async def _symbols(
    source: RetryingDatabase, wanted: Sequence[str], found: Sequence[CandleSeries]
) -> set[str]:
    """Return all symbols that are meant. Raises WrongUse when one of them is not there."""
    held = {one.symbol for one in found}
    names = {one for one in wanted if not needs_listing([one])}
    if unknown := sorted(names - held) or ([] if held else list(wanted)):
        raise WrongUse(
            f"--symbols names {', '.join(unknown)}, of which {source.store.where} holds no candle"
        )
    listed = (await source.read("copy", instruments.load_instruments)).instruments
    return held | {symbol for symbol in listed if is_wanted(symbol, wanted)}
