"""Verifier: asks BloFin again for what is stored of one symbol, and compares field by field.

What does not agree is asked for again, in a page of its own with rows around it: one garbled
answer is no mismatch, and never costs a stored candle.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import structlog
import trio

from blofin_agent.backfill.page_fetcher import PageFetcher
from blofin_agent.coverage import gap_reasons
from blofin_agent.domain import page_plan
from blofin_agent.domain.bar_set import BarSet
from blofin_agent.domain.candle import Candle
from blofin_agent.domain.candle_page import CandlePage
from blofin_agent.domain.errors import ExchangeError, InvalidResponse, RequestRejected
from blofin_agent.domain.symbol_coverage import SymbolCoverage
from blofin_agent.domain.time_range import TimeRange, subtract
from blofin_agent.domain.verification import (
    CandleDifference,
    PendingMismatches,
    compare_page,
    widen,
)
from blofin_agent.jobs.verify.report import Mismatch, SymbolVerification, VerifyProgress
from blofin_agent.runtime.format import plural
from blofin_agent.runtime.shutdown import DRAIN_TIMEOUT_S
from blofin_agent.store.database import Database
from blofin_agent.store.retrying import RetryingDatabase
from blofin_agent.store.tables import verifications
from blofin_agent.store.tables.verifications import RepairResult, VerificationOutcome
from blofin_agent.writers.candle_writer import CandleWriter

log = structlog.get_logger()

CONTEXT_ROWS = (0, 10, 100, 100)
"""Rows asked for on either side, the first time and each time that it is asked again: a hole is
seen only from both of its sides."""


@dataclass(slots=True)
class SymbolWork:
    """One symbol's verification: where it stands."""

    history: SymbolCoverage
    newest: int
    """No page starts above it (ms)."""
    found: SymbolVerification
    tell: VerifyProgress
    doubts: PendingMismatches = field(default_factory=PendingMismatches)


class Verifier:
    """Verifies one symbol after the other. `clock` gives ms since the epoch."""

    def __init__(
        self,
        page_fetcher: PageFetcher,
        store: Database,
        writer: CandleWriter,
        clock: Callable[[], int],
        *,
        tries: int,
        repair: bool,
    ) -> None:
        self.page_fetcher = page_fetcher
        self._store = RetryingDatabase(store)
        self._writer = writer
        self._clock = clock
        self._tries = tries
        self._repair = repair

    async def verify(self, work: SymbolWork, targets: Sequence[TimeRange]) -> None:
        """Compare the stored candles of the targets (oldest first), and write down what was found.

        Raises StoreUnavailable; what the exchange does is told by the verification's status.
        """
        told = work.found.verification
        try:
            await self._rounds(work, targets)
        except ExchangeError as error:
            told.status, told.note = (
                VerificationOutcome.FAILED,
                gap_reasons.failure_text(work.history.symbol, error),
            )
            work.found.away = not isinstance(error, RequestRejected | InvalidResponse)
        except trio.Cancelled:
            told.status, told.note = VerificationOutcome.FAILED, "stopped before its end"
            with trio.CancelScope(shield=True), trio.move_on_after(DRAIN_TIMEOUT_S):
                await self._end(work)
            raise
        await self._end(work)

    async def _end(self, work: SymbolWork) -> None:
        told = work.found.verification
        told.unanswered += len(work.doubts.times)
        told.finished = self._clock()
        if told.status is not VerificationOutcome.FAILED:
            _judge(work.found)
        record = partial(verifications.record, verification=told)
        await self._store.write("run", record)

    async def _rounds(self, work: SymbolWork, targets: Sequence[TimeRange]) -> None:
        for again, rows_around in enumerate(CONTEXT_ROWS):
            if again:
                targets = BarSet.of(work.history.bar, work.doubts.times).spans()
            if targets:
                await self._ask(work, targets, rows_around, again=bool(again))

    async def _ask(
        self, work: SymbolWork, targets: Sequence[TimeRange], rows_around: int, *, again: bool
    ) -> None:
        """Ask for all of the targets, the newest first, and compare page by page."""
        history, told, tell = work.history, work.found.verification, work.tell
        bar, sampled = history.bar, told.sample is not None and not again
        wanted = left = list(targets)
        if again:
            left = widen(targets, rows_around * bar.ms, work.newest)
        # A row more than is asked about may come at either end, to see what lies between.
        window = TimeRange(left[0].start - bar.ms, max(left[-1].end, work.newest))
        while page := page_plan.next_page(left, bar, self.page_fetcher.size, work.newest):
            pages = page_plan.plan(left, bar, self.page_fetcher.size, work.newest)
            tell.planned(history.symbol, len(left if sampled else pages))
            page, answer = await self.page_fetcher.fetch(
                history, page, left[-1].end, window, told, self._tries
            )
            tell.fetched(history.symbol, page, answer)
            if not answer.times:
                # Nothing older. It proves nothing, and the pager has asked twice.
                if not again:
                    told.unanswered += sum(history.held.count(span) for span in left)
                break
            reach = page_plan.reached(answer.times, page, left, bar)
            if asked := [part for one in wanted if (part := one.meet(reach))]:
                await self._compare(work, answer, asked)
            # Two pages may both hold a bar: it is compared once.
            wanted = subtract(wanted, reach)
            rest = subtract(left, reach)
            # A sample is one page of each stretch, however short BloFin's pages turn out.
            left = [one for one in rest if not (sampled and one.meet(left[-1]))]

    async def _compare(
        self, work: SymbolWork, answer: CandlePage, asked: Sequence[TimeRange]
    ) -> None:
        """Compare a page with what is stored; repair what two answers agree on."""
        symbol, bar, told = work.history.symbol, work.history.bar, work.found.verification
        # Read only now: what the agent stored meanwhile is not missing.
        read = partial(
            verifications.stored,
            symbol=symbol,
            bar=bar,
            span=TimeRange(asked[0].start, asked[-1].end),
        )
        page = compare_page(await self._store.read("load", read), answer, asked, bar)
        agreed = work.doubts.settle(page)
        differing = [one for one in agreed if one.given is not None]
        told.compared += len(page.equal) + len(differing)
        told.different += len(differing)
        told.absent += len(agreed) - len(differing)
        told.missing += len(page.missing)
        done = RepairResult(frozenset(), 0)
        if self._repair and (differing or page.missing):
            done = await self._mend(work.history, differing, page.missing)
        told.repaired += len(done.replaced)
        told.added += done.added
        work.found.missing += [candle.open_time for candle in page.missing]
        work.found.mismatches += [
            Mismatch(symbol, one, one.open_time in done.replaced) for one in agreed
        ]

    async def _mend(
        self, history: SymbolCoverage, differing: list[CandleDifference], missing: list[Candle]
    ) -> RepairResult:
        """Replace and store in one transaction, and erase the proofs that this refutes."""
        mend = partial(
            verifications.repair,
            symbol=history.symbol,
            bar=history.bar,
            differences=differing,
            missing=missing,
            now_ms=self._clock(),
        )
        done = await self._store.write("insert", mend)
        if done.replaced:
            # At this level it does not tear the progress bar: the report says what was replaced.
            log.debug("candles replaced", symbol=history.symbol, replaced=len(done.replaced))
        if history.hold(candle.open_time for candle in missing):
            await self._writer.save_proofs(history.symbol)
        return done


def _judge(found: SymbolVerification) -> None:
    """Say how a verification that did not fail ended."""
    told = found.verification
    parts = []
    if told.different:
        names = [name for one in found.mismatches for name in one.difference.fields]
        counts = ", ".join(f"{name} {names.count(name)}" for name in dict.fromkeys(names))
        parts.append(f"{plural(told.different, 'candle')} differed ({counts})")
    if told.absent:
        parts.append(f"{told.absent} stored that BloFin does not have (kept)")
    if told.unanswered:
        parts.append(
            f"{told.unanswered} not compared: BloFin's answers did not hold them, were garbled or "
            "disagreed"
        )
    told.note = "; ".join(parts)
    if told.left:
        told.status = VerificationOutcome.DIFFERENT
    elif told.unanswered:
        told.status = VerificationOutcome.PARTIAL
    elif told.repaired or told.added:
        told.status = VerificationOutcome.REPAIRED
