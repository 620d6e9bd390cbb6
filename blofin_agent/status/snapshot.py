"""Board: all that a person sees, as plain data from memory. The page and the API show it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from prometheus_client import Gauge

from blofin_agent.backfill.scheduler import BackfillScheduler
from blofin_agent.coverage.gap_reasons import Gap, explain_gaps
from blofin_agent.coverage.tracker import CoverageTracker, worst_first
from blofin_agent.domain.backfill_run import BackfillRun
from blofin_agent.domain.symbol_coverage import (
    GOOD_COVERAGE,
    WARN_COVERAGE,
    CoverageCounts,
    Health,
    SymbolCoverage,
)
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.domain.timeline import Timeline, TimelineRun, make_timeline, timeline_runs
from blofin_agent.fleet.status import FleetStatus
from blofin_agent.live.connection_status import ConnectionStatus
from blofin_agent.observability.metrics import Metrics
from blofin_agent.observability.outage import Outage
from blofin_agent.ratelimit.describe import limit_fraction_text
from blofin_agent.ratelimit.shared_budget import SharedRateBudget
from blofin_agent.status.health_summary import (
    HealthSummary,
    RecoveryOutlook,
    RecoveryState,
    judge_health,
)

STALE_REASON = (
    "the database was not reached for so long that other agents may have taken these symbols over"
)


@dataclass(frozen=True, slots=True)
class SymbolRow:
    """What is known of one symbol. Times in ms since the epoch, shares from 0 to 1."""

    symbol: str
    count: CoverageCounts
    newest: int | None
    """Open time of the newest candle held."""
    live_share: float | None
    """Of the candles held, those that came over the websocket; the rest came by REST."""
    list_time: int | None
    last_run: BackfillRun | None


@dataclass(frozen=True, slots=True)
class WindowUse:
    """Requests that count in one of BloFin's windows, and how many the agent allows itself."""

    label: str
    seconds: int
    used: int
    limit: int


@dataclass(frozen=True, slots=True)
class SuspensionInfo:
    """No request is sent before `until` (ms)."""

    until: int
    banned: bool
    reason: str


@dataclass(frozen=True, slots=True)
class StatusSnapshot:
    """How everything is, at `now` (ms)."""

    now: int
    window: TimeRange
    loaded: bool
    verdict: HealthSummary
    outlook: RecoveryOutlook
    total: CoverageCounts
    symbols: int
    below_good: int
    below_warn: int
    budget: Sequence[WindowUse]
    share: float
    """How much of the limits the agent takes; less than 1 after others' use of the address."""
    share_note: str
    """Why it is less than 1, in words; empty when it is not."""
    suspended: SuspensionInfo | None
    links: Sequence[ConnectionStatus]
    store_up: bool
    last_pass: float
    """When the last pass ended, in s since the epoch; 0 when there was none."""
    last_success: float
    next_pass: int | None
    fleet_status: FleetStatus | None = None
    """The agents that share the symbols, where several may."""


@dataclass(frozen=True, slots=True)
class GapMapData:
    """Symbols by time: each symbol's strip over the same columns, the worst first."""

    grid: Timeline
    strips: Sequence[tuple[str, Sequence[TimelineRun]]]


class StatusSnapshotter:
    """Asks the parts of the agent. Every method may be called in any thread.

    `links` tells of the websocket connections, `not_ready` why the agent is not ready, in words.
    """

    def __init__(
        self,
        tracker: CoverageTracker,
        metrics: Metrics,
        shared_budget: SharedRateBudget,
        passes: BackfillScheduler,
        trouble: Outage,
        not_ready: Callable[[], Sequence[str]],
        *,
        version: str,
        where: str,
    ) -> None:
        self.tracker = tracker
        self.not_ready = not_ready
        self.version = version
        self.where = where
        """The database, without credentials."""
        self.links: Callable[[], Sequence[ConnectionStatus]] = list
        self._metrics = metrics
        self._shared_budget = shared_budget
        self._passes = passes
        self._trouble = trouble

    def rows(self) -> list[SymbolRow]:
        """Return every symbol, the worst first; none before the stored candles are counted."""
        if not self.tracker.counted:
            return []
        window = self.tracker.window()
        histories = {history.symbol: history for history in self.tracker.all()}
        counts = {symbol: history.count(window) for symbol, history in histories.items()}
        return [
            self._row(histories[symbol], count, window) for symbol, count in worst_first(counts)
        ]

    def row(self, symbol: str) -> SymbolRow | None:
        """Return one symbol, None when it is not watched."""
        history = self.tracker.histories.get(symbol)
        if history is None or not self.tracker.counted:
            return None
        window = self.tracker.window()
        return self._row(history, history.count(window), window)

    def _row(self, history: SymbolCoverage, count: CoverageCounts, window: TimeRange) -> SymbolRow:
        return SymbolRow(
            history.symbol,
            count,
            history.held.newest,
            history.live_share(window),
            history.list_time,
            self.tracker.last_runs.get(history.symbol),
        )

    def overview(self, rows: Sequence[SymbolRow] | None = None) -> StatusSnapshot:
        """Return how everything is. `rows`: those of now, if they are at hand."""
        rows = self.rows() if rows is None else rows
        none = CoverageCounts(0, 0, 0, 0)
        counts = (none, *(row.count for row in rows))
        total = CoverageCounts(*(sum(figures) for figures in zip(*counts, strict=True)))
        now = self.tracker.clock()
        outlook = self._outlook(total, now)
        verdict = judge_health([(row.symbol, row.count) for row in rows], self.tracker.bar, outlook)
        fleet_status = self.tracker.fleet_status() if self.tracker.fleet_status else None
        if fleet_status and fleet_status.joined and not rows:
            verdict = HealthSummary(
                Health.GOOD, f"no symbol falls to this agent, one of {fleet_status.agents}"
            )
        if not self.tracker.loaded:
            verdict = HealthSummary(Health.CRITICAL, "the stored candles are being counted")
        elif fleet_status and not fleet_status.holds:
            verdict = HealthSummary(Health.CRITICAL, STALE_REASON)
        used, until = self._shared_budget.used(), self._shared_budget.suspended_until()
        state, share = self._shared_budget.suspension, self._shared_budget.share()
        return StatusSnapshot(
            now=now,
            window=self.tracker.window(),
            loaded=self.tracker.counted,
            verdict=verdict,
            outlook=outlook,
            total=total,
            symbols=len(rows),
            below_good=sum(row.count.ratio < GOOD_COVERAGE for row in rows),
            below_warn=sum(row.count.ratio < WARN_COVERAGE for row in rows),
            budget=[
                WindowUse(limit.label, limit.seconds, used[limit.label], limit.requests)
                for limit in self._shared_budget.limits()
            ],
            share=share,
            share_note=limit_fraction_text(share) if share < 1 else "",
            suspended=SuspensionInfo(until, state.banned, state.reason) if until else None,
            links=list(self.links()),
            store_up=not self._metrics.database_outage,
            last_pass=_value(self._metrics.last_pass),
            last_success=_value(self._metrics.last_success),
            next_pass=self._passes.next_at,
            fleet_status=fleet_status,
        )

    def _outlook(self, total: CoverageCounts, now: int) -> RecoveryOutlook:
        until, next_at = self._shared_budget.suspended_until(), self._passes.next_at
        soon = None if next_at is None else max(0, next_at - now) / 1000
        tell = partial(RecoveryOutlook, suspended_until=until, next_pass_seconds=soon)
        if not total.missing:
            return tell(RecoveryState.NOTHING_TO_DO, 0.0)
        eta = self._passes.eta()
        if self._metrics.database_outage:
            return tell(RecoveryState.STORE_AWAY, eta)
        if until:
            return tell(RecoveryState.SUSPENDED, eta)
        if self._trouble.is_reported_by("REST"):
            return tell(RecoveryState.EXCHANGE_AWAY, eta)
        if total.missing == total.unavailable:
            return tell(RecoveryState.UNAVAILABLE, eta)
        return tell(RecoveryState.FILLING if self._passes.working else RecoveryState.WAITING, eta)

    def gaps(self, symbols: Sequence[str] | None = None) -> Iterator[Gap]:
        """Tell each missing stretch and why it is missing, by symbol and time."""
        if not self.tracker.counted:
            return
        window = self.tracker.window()
        for symbol in sorted(self.tracker.histories) if symbols is None else sorted(set(symbols)):
            history = self.tracker.histories.get(symbol)
            if history is not None:
                yield from explain_gaps(history, window, self.tracker.last_runs.get(symbol))

    def gap_map(self, most: int, symbols: Sequence[str] | None = None) -> GapMapData:
        """Return the window in at most `most` columns, for these symbols or all of them."""
        window = self.tracker.window()
        over = make_timeline(window, self.tracker.bar, most)
        chosen = None if symbols is None else set(symbols)
        strips = [
            (row.symbol, timeline_runs(history, over))
            for row in self.rows()
            if (chosen is None or row.symbol in chosen)
            and (history := self.tracker.histories.get(row.symbol))
        ]
        return GapMapData(over, strips)


def _value(gauge: Gauge) -> float:
    """Return what a gauge without labels shows."""
    (family,) = gauge.collect()
    return family.samples[0].value
