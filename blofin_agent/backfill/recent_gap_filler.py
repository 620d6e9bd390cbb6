"""Heal: fills fresh holes through REST within a minute or two, without waiting for the pass.

A hole is a closed bar whose completing push did not come: the connection was gone, the push was
lost, the queue was full. Symbols are taken one at a time, each at most once a minute, and all
together use at most half of what the limits allow: if no push ever carried `confirm` "1", each
symbol would still be whole again every few minutes, and the passes would still have their half.
"""

from dataclasses import dataclass, field

import trio

from blofin_agent.backfill.gap_filler import GapFiller
from blofin_agent.coverage.tracker import CoverageTracker
from blofin_agent.domain.backfill_run import RunStatus, RunTrigger
from blofin_agent.domain.candle import HOUR
from blofin_agent.domain.rate_limit import LIMITS
from blofin_agent.domain.symbol_coverage import SymbolCoverage
from blofin_agent.domain.time_range import TimeRange, subtract
from blofin_agent.observability.outage import Outage
from blofin_agent.runtime.backoff import Backoff

TICK_INTERVAL_S = 5.0
RETRY_DELAY_S = 50.0
"""A symbol is not healed again sooner, so that the holes of a bad minute are fetched together."""
MAX_RETRY_DELAY_S = 600.0
"""How rarely a hole is tried at least that REST does not give either."""
DATABASE_RETRY_DELAY_S = 10.0
"""Between two attempts while BloFin is away."""
MAX_LIMIT_FRACTION = 0.5
REQUEST_INTERVAL_S = max(limit.seconds / limit.requests for limit in LIMITS) / MAX_LIMIT_FRACTION
"""Waited after each request of healing; longer while only a share of the limits is ours."""
RECENT_WINDOW_MS = HOUR
"""Holes so young are healed, older ones are the passes' work."""


@dataclass(slots=True)
class _RetryState:
    """When a symbol may be healed next; times by trio's clock in seconds."""

    not_before: float = 0.0
    tried: list[TimeRange] = field(default_factory=list)
    """What the last run asked for and did not get: it does not hurry, new holes do."""
    tried_again_at: float = 0.0
    newest: int | None = None
    """The newest candle held (ms) when they were tried."""
    backoff: Backoff = field(default_factory=lambda: Backoff(RETRY_DELAY_S, MAX_RETRY_DELAY_S))


class RecentGapFiller:
    """Heals young holes: of symbols that a pass will still come to, those since it was made.

    `trouble`: true while BloFin is away.
    """

    def __init__(self, gap_filler: GapFiller, tracker: CoverageTracker, trouble: Outage) -> None:
        self._gap_filler = gap_filler
        self._tracker = tracker
        self._trouble = trouble
        self._since = tracker.window().end
        self._patients: dict[str, _RetryState] = {}

    async def run(self) -> None:
        """Heal for ever."""
        while True:
            history = self._next()
            if history is None:
                await trio.sleep(TICK_INTERVAL_S)
            else:
                await self._fill(history)

    def _fresh(self, history: SymbolCoverage) -> TimeRange:
        window = self._tracker.window()
        recent = self._since
        if history.symbol not in self._gap_filler.queued:
            recent = window.end - max(RECENT_WINDOW_MS, 3 * history.bar.ms)
        return TimeRange(max(recent, window.start), window.end)

    def _next(self) -> SymbolCoverage | None:
        """Return the symbol whose turn it is: of those with a hole, the one due the longest."""
        due = [
            (patient.not_before, history.symbol, history)
            for history in self._tracker.all()
            if (patient := self._patients.setdefault(history.symbol, _RetryState())).not_before
            <= trio.current_time()
            and not self._gap_filler.busy(history.symbol)
            and self._holes(history, patient)
        ]
        return min(due)[2] if due else None

    def _holes(self, history: SymbolCoverage, patient: _RetryState) -> list[TimeRange]:
        gaps = history.gaps(self._fresh(history), self._tracker.clock())
        if trio.current_time() < patient.tried_again_at:
            for span in patient.tried:
                if not _came_back(span, patient.newest, history.held.newest):
                    gaps = subtract(gaps, span)
        return gaps

    async def _fill(self, history: SymbolCoverage) -> None:
        patient = self._patients[history.symbol]
        pause_s = REQUEST_INTERVAL_S / self._gap_filler.page_fetcher.share
        run = await self._gap_filler.fill(
            history, self._fresh(history), RunTrigger.HEAL, pause_s=pause_s, tries=1
        )
        now = trio.current_time()
        patient.not_before = now + RETRY_DELAY_S
        patient.tried = []
        if run.status is RunStatus.COMPLETE:
            patient.backoff.reset()
        elif run.status is RunStatus.FAILED and self._trouble:
            # Not the symbol's doing: one at a time knocks, until BloFin is back.
            await trio.sleep(DATABASE_RETRY_DELAY_S)
        else:
            patient.tried = history.gaps(self._fresh(history), self._tracker.clock())
            patient.tried_again_at = now + patient.backoff.next()
            patient.newest = history.held.newest
        if run.requests:
            # Not in the run: a pass that comes to this symbol would wait for it, each time.
            await trio.sleep(pause_s)


def _came_back(span: TimeRange, newest_then: int | None, newest_now: int | None) -> bool:
    """Return whether there was nothing newer than a hole, and now there is.

    Its symbol is traded again, so that a page can fill or prove the hole.
    """
    was_last = newest_then is None or newest_then < span.start
    return was_last and newest_now is not None and newest_now >= span.end
