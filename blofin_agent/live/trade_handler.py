"""Live trades: each goes to `ticks`. Nothing that happens to them touches candles."""

from blofin_agent.coverage.tracker import CoverageTracker
from blofin_agent.domain.candle import RejectedRow
from blofin_agent.domain.symbol_coverage import SymbolCoverage
from blofin_agent.live import connection_status
from blofin_agent.live.message_handler import MessageHandler
from blofin_agent.observability.metrics import Metrics
from blofin_agent.observability.outage import Outage
from blofin_agent.protocol.subscriptions import Subscriptions
from blofin_agent.protocol.trades import judge_trades
from blofin_agent.protocol.websocket import TRADES, Push
from blofin_agent.writers.trade_writer import TradeWriter


class TradeHandler(MessageHandler):
    """Takes the trades. A quiet symbol has none for minutes."""

    name = connection_status.TRADES
    may_be_quiet = True
    urgent = False
    kind = "trade"
    feed = "trades"
    meanwhile = "reconnect; trades of the meantime are lost, candles are not affected"
    refused = (
        "retry every few minutes; its trades are not stored until then, candles are not affected"
    )

    def __init__(self, tracker: CoverageTracker, ticks: TradeWriter, metrics: Metrics) -> None:
        # A trouble of its own: that of REST and candles tells healing how to go on.
        trouble = Outage("trade connection lost", "trade connections restored", self.meanwhile)
        super().__init__(TRADES, tracker, metrics, trouble)
        self._ticks = ticks

    def _take(
        self, push: Push, _history: SymbolCoverage, subscriptions: Subscriptions, now: float
    ) -> None:
        subscriptions.pushed(push.symbol, now)
        for row in judge_trades(push, self._tracker.clock()):
            if isinstance(row, RejectedRow):
                self._reject(push.symbol, row)
            else:
                self._ticks.try_enqueue(push.symbol, row)

    def show(self, symbol: str, subscriptions: Subscriptions) -> None:
        """Show nothing: `feed_subscribed` is of candles."""
