"""Intake: takes the frames of one channel's connections. What candles and trades have in common."""

from abc import ABC, abstractmethod

import structlog

from blofin_agent.coverage.tracker import CoverageTracker
from blofin_agent.domain.candle import RejectedRow
from blofin_agent.domain.sanitize import shorten
from blofin_agent.domain.symbol_coverage import SymbolCoverage
from blofin_agent.observability.log_limit import LogLimiter
from blofin_agent.observability.metrics import Metrics
from blofin_agent.observability.outage import Outage
from blofin_agent.protocol.subscriptions import Subscriptions
from blofin_agent.protocol.websocket import (
    Frame,
    MalformedMessage,
    Pong,
    Push,
    Subscribed,
    SubscriptionError,
    Unsubscribed,
)

log = structlog.get_logger()


class MessageHandler(ABC):
    """One for all connections of a channel. No method may wait: see `exchange.feed`."""

    name = ""
    """Stands before the numbers of its connections."""
    may_be_quiet = False
    """Whether no push for long is nothing to worry about."""
    urgent = True
    """Whether its connections are made before those of others."""
    kind: str
    """The metrics' word for its pushes."""
    feed: str
    """The metrics' word for where its rows come from."""
    meanwhile: str
    """What is done about a lost connection."""
    refused: str
    """What is done about a refused subscription."""

    def __init__(
        self, channel: str, tracker: CoverageTracker, metrics: Metrics, trouble: Outage
    ) -> None:
        self.channel = channel
        self.trouble = trouble
        """Told of lost connections."""
        self._tracker = tracker
        self._metrics = metrics
        self._log_limiter = LogLimiter(tracker.clock)
        self._messages = metrics.messages

    @abstractmethod
    def _take(
        self, push: Push, history: SymbolCoverage, subscriptions: Subscriptions, now: float
    ) -> None:
        """Take a push of a symbol that is watched."""

    @abstractmethod
    def show(self, symbol: str, subscriptions: Subscriptions) -> None:
        """Show whether the symbol's subscription stands, where that is shown."""

    def handle(self, frame: Frame, now: float, subscriptions: Subscriptions) -> None:
        """Take a frame that came `now` (s, by trio's clock)."""
        if isinstance(frame, Push):
            self._messages[self.kind] += 1
            history = self._tracker.histories.get(frame.symbol)
            if history is not None and frame.channel == self.channel:
                self._take(frame, history, subscriptions, now)
            return
        match frame:
            case Subscribed():
                self._messages["ack"] += 1
                subscriptions.acked(frame.symbol, now)
                self.show(frame.symbol, subscriptions)
            case SubscriptionError():
                self._messages["refused"] += 1
                self._refuse(frame, subscriptions, now)
            case Unsubscribed():
                self._messages["ack"] += 1
            case Pong():
                self._messages["pong"] += 1
            case MalformedMessage():
                self._messages["invalid"] += 1
                if self._log_limiter.allow("garbled"):
                    log.warning("malformed websocket message", feed=self.feed, text=frame.text)

    def _refuse(self, frame: SubscriptionError, subscriptions: Subscriptions, now: float) -> None:
        named = frame.names(subscriptions.waiting())
        if len(named) > 1:
            # It repeats the whole message: which of them is meant shows when each goes alone.
            subscriptions.send_alone(named)
            return
        subscriptions.refused(named, now)
        for symbol in named:
            self.show(symbol, subscriptions)
            log.warning(
                "subscription rejected by BloFin",
                symbol=symbol,
                feed=self.feed,
                code=frame.code,
                error=shorten(frame.text),
                action=self.refused,
            )
        if not named and self._log_limiter.allow("refused"):
            log.warning(
                "subscription rejected by BloFin",
                feed=self.feed,
                code=frame.code,
                error=shorten(frame.text),
            )

    def _reject(self, symbol: str, row: RejectedRow) -> None:
        self._metrics.rows_rejected.labels(self.feed, row.reason.value).inc()
        if self._log_limiter.allow(row.reason):
            log.warning(
                "rows rejected",
                symbol=symbol,
                feed=self.feed,
                reason=row.reason.value,
                count=1,
                example=row.text,
            )
