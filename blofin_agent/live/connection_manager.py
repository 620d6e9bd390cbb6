"""Ingest: keeps the websocket sessions alive; what comes is for the intakes.

Holes are `heal`'s work.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import structlog
import trio

from blofin_agent.coverage.tracker import CoverageTracker
from blofin_agent.domain.errors import Banned
from blofin_agent.exchange.websocket_session import FeedDisconnected, SessionTiming, session
from blofin_agent.live.candle_handler import CandleHandler
from blofin_agent.live.connection_status import Connections
from blofin_agent.live.message_handler import MessageHandler
from blofin_agent.live.trade_handler import TradeHandler
from blofin_agent.observability.metrics import Metrics
from blofin_agent.observability.outage import Outage
from blofin_agent.protocol.subscriptions import Subscriptions
from blofin_agent.protocol.websocket import Frame
from blofin_agent.ratelimit.limiter import RateLimiter
from blofin_agent.runtime.backoff import Backoff
from blofin_agent.writers.candle_writer import CandleWriter
from blofin_agent.writers.trade_writer import TradeWriter

log = structlog.get_logger()

MAX_SYMBOLS_PER_CONNECTION = 100
"""Symbols of one connection: a lost one is a small loss, and 500 symbols need only five."""
MAX_SYMBOLS_PER_MESSAGE = 8
"""Symbols of one subscribe message, as the brief sends them."""
CONNECT_INTERVAL_S = 1.25
"""BloFin allows one new connection a second from an address; a little more, because the way there
takes now longer and now shorter."""
STEADY_AFTER_S = 60.0
"""A session that lasted so long was a good one: the next backoff begins anew."""
_FORBIDDEN = 403


class _Connection(NamedTuple):
    """A connection: its name, who takes its frames, and what it is subscribed to."""

    name: str
    intake: MessageHandler
    subscriptions: Subscriptions

    @property
    def room(self) -> int:
        """How many symbols more it may have."""
        return MAX_SYMBOLS_PER_CONNECTION - len(self.subscriptions.symbols)


class ConnectionManager:
    """Runs the sessions. `trouble` is shared with REST, so that one outage is told once.

    With `ticks` there are sessions of their own for trades, made after those for candles.
    """

    def __init__(
        self,
        url: str,
        tracker: CoverageTracker,
        writer: CandleWriter,
        metrics: Metrics,
        rate_limiter: RateLimiter,
        trouble: Outage,
        timing: SessionTiming | None = None,
        ticks: TradeWriter | None = None,
    ) -> None:
        self._url = url
        self._metrics = metrics
        self._rate_limiter = rate_limiter
        self._timing = timing or SessionTiming()
        self._intakes: list[MessageHandler] = [CandleHandler(tracker, writer, metrics, trouble)]
        if ticks is not None:
            self._intakes.append(TradeHandler(tracker, ticks, metrics))
        self._lines: list[_Connection] = []
        self._counts: Counter[str] = Counter()
        self._added, self._adding = trio.open_memory_channel[_Connection](1_000)
        self._next_connect = -1.0
        self._door = trio.Lock()
        self._urgent = 0
        """Connections for candles that wait for their turn."""
        self.links = Connections(tracker.clock)

    def add(self, symbols: Iterable[str]) -> None:
        """Subscribe further symbols: on connections that have room, and on new ones."""
        names = list(symbols)
        for intake in self._intakes:
            left = names
            for line in self._lines:
                if line.intake is intake and (room := line.room):
                    line.subscriptions.add(left[:room])
                    left = left[room:]
            for start in range(0, len(left), MAX_SYMBOLS_PER_CONNECTION):
                self._add_line(intake, left[start : start + MAX_SYMBOLS_PER_CONNECTION])

    def _add_line(self, intake: MessageHandler, symbols: Sequence[str]) -> None:
        subscriptions = Subscriptions(symbols, may_be_quiet=intake.may_be_quiet)
        self._counts[intake.name] += 1
        line = _Connection(f"{intake.name}{self._counts[intake.name]}", intake, subscriptions)
        self._lines.append(line)
        self._metrics.add_connection(line.name)
        self.links.add(line.name, subscriptions)
        self._added.send_nowait(line)

    def drop(self, symbol: str) -> None:
        """Take no more notice of a symbol."""
        for line in self._lines:
            line.subscriptions.drop(symbol)

    async def run(self) -> None:
        """Keep every connection alive for ever."""
        # A process that was just ended here may have connected a moment ago.
        self._next_connect = trio.current_time() + CONNECT_INTERVAL_S
        async with trio.open_nursery() as nursery:
            async for line in self._adding:
                nursery.start_soon(self._keep_alive, line, nursery)

    async def _keep_alive(self, line: _Connection, nursery: trio.Nursery) -> None:
        connection, intake, subscriptions = line
        connected = self._metrics.feed_connected.labels(connection)
        backoff = Backoff()
        since = trio.current_time()
        source = f"websocket connection {connection}"
        silent = True
        """Whether no frame came yet over the connection that stands."""

        def opened() -> None:
            nonlocal since, silent
            since, silent = trio.current_time(), True
            nursery.start_soon(self._rate_limiter.websocket_connected, under)
            connected.set(1)
            self.links.opened(connection)
            self._metrics.feed_connects.labels(connection).inc()
            log.debug(
                "websocket connection established",
                connection=connection,
                symbols=len(subscriptions.symbols),
            )

        def handle(frame: Frame, now: float) -> None:
            nonlocal silent
            if silent:
                silent = False
                intake.trouble.clear(source)
            intake.handle(frame, now, subscriptions)

        while subscriptions.symbols:
            under = await self._may_connect(intake)
            since = trio.current_time()
            lost = FeedDisconnected("closed", "the session ended")
            try:
                await session(
                    self._url,
                    intake.channel,
                    subscriptions,
                    opened=opened,
                    handle=handle,
                    per_message=MAX_SYMBOLS_PER_MESSAGE,
                    timing=self._timing,
                )
            except FeedDisconnected as error:
                lost = error
            connected.set(0)
            self.links.lost(connection, str(lost))
            subscriptions.closed()
            for symbol in subscriptions.symbols:
                intake.show(symbol, subscriptions)
            if not subscriptions.symbols:
                break
            self._metrics.feed_disconnects.labels(connection, lost.reason).inc()
            what_next = None if lost.reason == "unreachable" else intake.meanwhile
            intake.trouble.report(
                lost, source, what_next, connection=connection, reason=lost.reason
            )
            if trio.current_time() - since >= STEADY_AFTER_S:
                backoff.reset()
            if lost.status == _FORBIDDEN:
                await self._rate_limiter.websocket_banned(
                    Banned("BloFin's firewall refuses this address (403 at the websocket)"), under
                )
            await trio.sleep(backoff.next())
        # Nothing is left to subscribe: a connection that is not wanted is not a lost one.
        self._lines.remove(line)
        intake.trouble.clear(source)
        self._metrics.remove_connection(connection)
        self.links.remove(connection)

    async def _may_connect(self, intake: MessageHandler) -> int:
        """Wait for our turn among the connections, and for the end of a ban.

        Return what `RateLimiter.websocket_admit` does.
        """
        self._urgent += intake.urgent
        shared_budget = self._rate_limiter.shared_budget
        try:
            while True:
                if shared_budget.suspension.banned and shared_budget.suspended_until():
                    await trio.sleep(1)
                elif self._urgent and not intake.urgent:
                    await trio.sleep(CONNECT_INTERVAL_S)
                elif (under := await self._knock()) is not None:
                    return under
                else:
                    await trio.sleep(1)
        finally:
            self._urgent -= intake.urgent

    async def _knock(self) -> int | None:
        async with self._door:
            await trio.sleep_until(self._next_connect)
            under = await self._rate_limiter.websocket_admit()
            if under is not None:
                await self._rate_limiter.shared_budget.take_turn(CONNECT_INTERVAL_S)
                self._next_connect = trio.current_time() + CONNECT_INTERVAL_S
            return under
