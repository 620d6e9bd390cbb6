"""Metrics: the Prometheus instruments, in a registry of their own.

What is asked for at the scrape, coverage above all, is in `collector`.
"""

from typing import TYPE_CHECKING

import prometheus_client as prom

from blofin_agent.coverage.tracker import CoverageTracker
from blofin_agent.domain.candle import RejectReason, Source
from blofin_agent.domain.errors import OUTCOMES
from blofin_agent.domain.rate_limit import LIMITS
from blofin_agent.observability.database_outage import AWAY, OPERATIONS, DatabaseOutage
from blofin_agent.observability.symbol_metrics import Kind, PerSymbolMetric
from blofin_agent.status.scrape_collector import ScrapeCollector
from blofin_agent.store.database import TransactionResult

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from blofin_agent.store.tables.verifications import VerificationTotals

ENDPOINTS = ("candles", "instruments")
MESSAGE_KINDS = ("candle", "trade", "ack", "refused", "pong", "invalid")
DISCONNECT_REASONS = ("closed", "rejected", "unreachable", "timeout", "silent", "stale")
ANOMALIES = {"rest": ("empty", "unordered", "starts_late"), "ws": ("repeated", "unordered")}
FEEDS = ("rest", "ws", "trades", "instruments")

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SLOW = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)
_DELAY = (0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120)


class Metrics:
    """The instruments. What others know is asked of them at the scrape, through callables.

    `store_away`: what to say is done while the database cannot be used.
    """

    def __init__(
        self, tracker: CoverageTracker, version: str, store: str, store_away: str = AWAY
    ) -> None:
        prom.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = prom.CollectorRegistry()
        for collector in (prom.ProcessCollector, prom.PlatformCollector, prom.GCCollector):
            collector(registry=registry)
        self.tracker = tracker
        self._ticks = False
        self.used: Callable[[], dict[str, int]] = lambda: {limit.label: 0 for limit in LIMITS}
        """Tells how many requests count in each window; the allowance's, once there is one."""
        self.share: Callable[[], float] = lambda: 1.0
        """Tells how much of the limits is ours, 0 to 1; the allowance's, once there is one."""
        self.suspended_until: Callable[[], int] = lambda: 0
        """Tells when (ms) a suspension ends, 0 without one; the allowance's, once there is one."""
        self.eta: Callable[[], float] = lambda: 0.0
        """Tells how long (s) healing takes at least; the passes', once there are any."""
        self.verified: Mapping[str, VerificationTotals] | None = None
        """What verifications found in each symbol, once that was read from the store."""
        self.messages = dict.fromkeys(MESSAGE_KINDS, 0)
        """Websocket messages received, by kind: an intake counts a thousand a second here."""
        self.database_outage = DatabaseOutage(store_away)

        def counter(name: str, text: str, *labels: str) -> prom.Counter:
            return prom.Counter(f"blofin_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> prom.Gauge:
            return prom.Gauge(f"blofin_{name}", text, labels, registry=registry)

        def histogram(
            name: str, text: str, buckets: tuple[float, ...], *labels: str
        ) -> prom.Histogram:
            return prom.Histogram(
                f"blofin_{name}", text, labels, registry=registry, buckets=buckets
            )

        def by_symbol(kind: Kind, name: str, text: str, *labels: str) -> PerSymbolMetric:
            return PerSymbolMetric(kind, f"blofin_{name}", text, ("symbol", *labels), registry)

        self.candles_written = by_symbol(
            "counter", "candles_written", "Candles newly stored.", "source"
        )
        self.rows_rejected = counter(
            "rows_rejected", "Rows from BloFin that were not stored, by why.", "feed", "reason"
        )
        self.requests, self.rate_limited = (
            by_symbol("counter", "backfill_requests", "Pages of candles asked for."),
            by_symbol(
                "counter", "backfill_rate_limited", "Pages answered with 429, too many requests."
            ),
        )
        self.last_pass_requests, self.last_pass_rate_limited = (
            by_symbol("gauge", "backfill_last_pass_requests", "Pages asked for in the last pass."),
            by_symbol(
                "gauge",
                "backfill_last_pass_rate_limited",
                "Pages answered with 429, too many requests, in the last pass.",
            ),
        )
        self.last_pass = gauge(
            "backfill_last_pass_timestamp_seconds", "When the last pass ended, however it ended."
        )
        self.last_success = gauge(
            "backfill_last_success_timestamp_seconds",
            "When the last pass ended in which no symbol failed.",
        )
        self.pass_duration = gauge("backfill_pass_duration_seconds", "How long the last pass took.")
        self.interval = gauge(
            "backfill_interval_seconds", "A periodic pass over all symbols begins so often."
        )
        gauge("bar_seconds", "Length of a bar.").set(tracker.bar.ms / 1000)
        self.api_requests = counter(
            "api_requests", "Requests to BloFin's REST interface.", "endpoint", "outcome"
        )
        self.api_duration = histogram(
            "api_request_duration_seconds",
            "From a request's start to its answer's last byte.",
            _SLOW,
            "endpoint",
        )
        self.feed_connected = gauge(
            "feed_connected", "1 while the websocket connection stands.", "connection"
        )
        self.feed_connects = counter("feed_connects", "Websocket connections made.", "connection")
        self.feed_disconnects = counter(
            "feed_disconnects", "Websocket connections lost or refused.", "connection", "reason"
        )
        self.feed_subscribed = by_symbol(
            "gauge", "feed_subscribed", "1 while the symbol's subscription is acknowledged."
        )
        self.candle_delay = histogram(
            "candle_delay_seconds", "From a live candle's close to its commit.", _DELAY
        )
        self.clock_offset = gauge(
            "clock_offset_seconds",
            "How far this machine's clock is ahead of BloFin's, as live candles tell.",
        )
        self.queue_length = gauge("writer_queue_length", "Batches that wait to be stored.")
        self.queue_capacity = gauge(
            "writer_queue_capacity", "Batches that may wait before live candles are dropped."
        )
        self.oddities = counter(
            "oddities", "Answers and pushes that were odd, and cost nothing.", "feed", "kind"
        )
        self.dropped = counter(
            "writer_dropped",
            "Live candles dropped because the queue was full; they are fetched again by REST.",
        )
        self.ticks_written, self.ticks_queue_length, self.ticks_dropped = (
            by_symbol("counter", "ticks_written", "Ticks newly stored."),
            gauge("ticks_queue_length", "Ticks that wait to be stored."),
            counter("ticks_dropped", "Ticks lost because the queue was full."),
        )
        gauge("store_up", "1 while the database takes transactions.").set_function(
            self.database_outage.up
        )
        self.store_duration = histogram(
            "store_operation_duration_seconds", "How long transactions took.", _FAST, "operation"
        )
        self.store_errors = counter(
            "store_errors", "Transactions that the database did not take.", "operation"
        )
        self._start_at_zero()
        registry.register(ScrapeCollector(self, version, store))

    def _start_at_zero(self) -> None:
        for endpoint in ENDPOINTS:
            self.api_duration.labels(endpoint)
            for outcome in OUTCOMES:
                self.api_requests.labels(endpoint, outcome)
        for operation in OPERATIONS:
            self.store_duration.labels(operation)
            self.store_errors.labels(operation)
        for feed in FEEDS:
            for reason in RejectReason:
                self.rows_rejected.labels(feed, reason.value)
        for feed, kinds in ANOMALIES.items():
            for kind in kinds:
                self.oddities.labels(feed, kind)

    def count_ticks(self) -> None:
        """Make each symbol's series of ticks exist from now on: without ticks there are none."""
        self._ticks = True
        for symbol in self.tracker.histories:
            self.ticks_written.add(symbol)

    def add_symbol(self, symbol: str) -> None:
        """Make a symbol's series exist, at 0."""
        for source in Source:
            self.candles_written.add(symbol, source.value)
        for each in self._by_symbol():
            each.add(symbol)

    def remove_symbol(self, symbol: str) -> None:
        """Make a symbol's series vanish."""
        for source in Source:
            self.candles_written.remove(symbol, source.value)
        for each in self._by_symbol():
            each.remove(symbol)

    def _by_symbol(self) -> tuple[PerSymbolMetric, ...]:
        return (
            *((self.ticks_written,) if self._ticks else ()),
            self.requests,
            self.rate_limited,
            self.last_pass_requests,
            self.last_pass_rate_limited,
            self.feed_subscribed,
        )

    def add_connection(self, connection: str) -> None:
        """Make a websocket connection's series exist, at 0."""
        self.feed_connected.labels(connection)
        self.feed_connects.labels(connection)
        for reason in DISCONNECT_REASONS:
            self.feed_disconnects.labels(connection, reason)

    def remove_connection(self, connection: str) -> None:
        """Make the series of a connection vanish that is not made again."""
        self.feed_connected.remove(connection)
        self.feed_connects.remove(connection)
        for reason in DISCONNECT_REASONS:
            self.feed_disconnects.remove(connection, reason)

    def answered(self, endpoint: str, outcome: str, seconds: float) -> None:
        """Count an answer of BloFin's, or the lack of one."""
        self.api_requests.labels(endpoint, outcome).inc()
        self.api_duration.labels(endpoint).observe(seconds)

    def store_operation(self, done: TransactionResult) -> None:
        """Count a transaction; see `store.engine.Observer`. Called in worker threads."""
        self.store_duration.labels(done.operation).observe(done.seconds)
        if done.problem is not None:
            self.store_errors.labels(done.operation).inc()
        self.database_outage.judge(done)
