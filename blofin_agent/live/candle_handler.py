"""Live candles: those that are complete go to the writer."""

from blofin_agent.coverage.tracker import CoverageTracker
from blofin_agent.domain import price_jump
from blofin_agent.domain.candle import Candle, RejectedRow, RejectReason
from blofin_agent.domain.clock_offset import ClockOffset
from blofin_agent.domain.symbol_coverage import SymbolCoverage
from blofin_agent.live.message_handler import MessageHandler
from blofin_agent.observability.metrics import Metrics
from blofin_agent.observability.outage import Outage
from blofin_agent.protocol.candle_row import WireRow
from blofin_agent.protocol.subscriptions import Subscriptions
from blofin_agent.protocol.websocket import Push, channel, judge_push
from blofin_agent.writers.candle_writer import CandleWriter

MAX_CLOCK_SKEW_MS = 60_000
"""How far the machine's clock may be behind BloFin's before live candles look impossible."""


class CandleHandler(MessageHandler):
    """Takes the candles of the watch's bar."""

    kind = "candle"
    feed = "ws"
    meanwhile = "reconnect, and fetch what was missed by REST"
    refused = "retry every few minutes; its candles are fetched by REST until then"

    def __init__(
        self, tracker: CoverageTracker, writer: CandleWriter, metrics: Metrics, trouble: Outage
    ) -> None:
        super().__init__(channel(tracker.bar), tracker, metrics, trouble)
        self._writer = writer
        self._skew = ClockOffset()
        self._latest: dict[str, int] = {}
        """The newest candle that came, by symbol, open or complete..."""
        self._complete: dict[str, int] = {}
        """...and the last complete one."""

    def _take(
        self, push: Push, history: SymbolCoverage, subscriptions: Subscriptions, now: float
    ) -> None:
        if subscriptions.pushed(push.symbol, now):
            self.show(push.symbol, subscriptions)
        clock = history.pushed = self._tracker.clock()
        latest = self._latest.get(push.symbol)
        for row in push.rows:
            if not isinstance(row, WireRow) or row.complete or row.open_time != latest:
                self._judge(push, history, clock)
                return
        # The open candle goes on, and nothing else is told: so it is with 59 pushes of 60.

    def _judge(self, push: Push, history: SymbolCoverage, clock: int) -> None:
        closed_before = history.bar.floor(clock + MAX_CLOCK_SKEW_MS)
        for wire in push.rows:
            if isinstance(wire, WireRow):
                self._count_odd(push.symbol, wire, closed_before)
        for row in judge_push(push, history.bar, closed_before):
            self._judge_clock(row, clock)
            if isinstance(row, RejectedRow):
                self._reject(push.symbol, row)
            elif row.open_time < self._tracker.window().start:
                self._reject(
                    push.symbol, RejectedRow(RejectReason.OUTSIDE, str(tuple(row)), row.open_time)
                )
            elif history.held.has(row.open_time):
                continue
            elif history.newest and price_jump.has_jump([row], [history.newest], history.bar):
                self._reject(
                    push.symbol, RejectedRow(RejectReason.DOUBTFUL, str(tuple(row)), row.open_time)
                )
            else:
                self._writer.try_enqueue(push.symbol, row)

    def _count_odd(self, symbol: str, row: WireRow, closed_before: int) -> None:
        """Count a complete candle that comes again, and any that comes after a later one."""
        time = row.open_time
        if time > closed_before:
            return
        if time < self._latest.get(symbol, 0):
            self._metrics.oddities.labels("ws", "unordered").inc()
        else:
            self._latest[symbol] = time
        if row.complete:
            if time == self._complete.get(symbol):
                self._metrics.oddities.labels("ws", "repeated").inc()
            self._complete[symbol] = time

    def _judge_clock(self, row: Candle | RejectedRow, clock: int) -> None:
        # One that is called impossible for being of the future tells that the clock is behind.
        told = isinstance(row, Candle) or row.reason is RejectReason.OUTSIDE
        if told and row.open_time is not None:
            close = row.open_time + self._tracker.bar.ms
            self._metrics.clock_offset.set(self._skew.note(close, clock))

    def show(self, symbol: str, subscriptions: Subscriptions) -> None:
        """Show whether the symbol's candles are subscribed."""
        self._metrics.feed_subscribed.set(symbol, to=subscriptions.standing(symbol))
