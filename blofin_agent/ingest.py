"""Ingest: keeps the websocket sessions alive; pushes go to the writer. Holes are `heal`'s work."""

from collections.abc import Iterable

import structlog
import trio

from blofin_agent.core.candle import BadRow, Reason
from blofin_agent.core.errors import Banned
from blofin_agent.core.frames import (
    Acked,
    Frame,
    Garbled,
    Left,
    Ponged,
    Push,
    Rejected,
    channel,
    judge_push,
)
from blofin_agent.core.subscriptions import Subscriptions
from blofin_agent.exchange.feed import FeedLost, Timing, session
from blofin_agent.links import Links
from blofin_agent.metrics import Metrics
from blofin_agent.retry import Backoff
from blofin_agent.throttle import Throttle
from blofin_agent.trouble import Seldom, Trouble
from blofin_agent.watch import Watch
from blofin_agent.writer import Writer

log = structlog.get_logger()

PER_CONNECTION = 100
"""Symbols of one connection: a lost one is a small loss, and 500 symbols need only five."""
PER_MESSAGE = 8
"""Symbols of one subscribe message, as the brief sends them."""
CONNECT_EVERY_S = 1.25
"""BloFin allows one new connection a second from an address; a little more, because the way there
takes now longer and now shorter."""
STEADY_S = 60.0
"""A session that lasted so long was a good one: the next backoff begins anew."""
MEANWHILE = "it is made again, and what it misses is fetched by REST"
_FORBIDDEN = 403
SKEW_MS = 60_000
"""How far the machine's clock may be behind BloFin's before live candles look impossible."""


class Ingest:
    """Runs the sessions. `trouble` is shared with REST, so that one outage is told once."""

    def __init__(
        self,
        url: str,
        watch: Watch,
        writer: Writer,
        metrics: Metrics,
        throttle: Throttle,
        trouble: Trouble,
        timing: Timing | None = None,
    ) -> None:
        self._url = url
        self._watch = watch
        self._writer = writer
        self._metrics = metrics
        self._throttle = throttle
        self._trouble = trouble
        self._timing = timing or Timing()
        self._connections: list[Subscriptions] = []
        self._added, self._adding = trio.open_memory_channel[tuple[str, Subscriptions]](1_000)
        self._next_connect = -1.0
        self._seldom = Seldom(self._watch.clock)
        self.links = Links(self._watch.clock)

    def add(self, symbols: Iterable[str]) -> None:
        """Subscribe further symbols, on connections of their own."""
        names = list(symbols)
        for start in range(0, len(names), PER_CONNECTION):
            subscriptions = Subscriptions(names[start : start + PER_CONNECTION])
            self._connections.append(subscriptions)
            connection = str(len(self._connections))
            self._metrics.add_connection(connection)
            self.links.add(connection, subscriptions)
            self._added.send_nowait((connection, subscriptions))

    def drop(self, symbol: str) -> None:
        """Take no more notice of a symbol."""
        for subscriptions in self._connections:
            subscriptions.drop(symbol)

    async def run(self) -> None:
        """Keep every connection alive for ever."""
        # A process that was just ended here may have connected a moment ago.
        self._next_connect = trio.current_time() + CONNECT_EVERY_S
        async with trio.open_nursery() as nursery:
            async for connection, subscriptions in self._adding:
                nursery.start_soon(self._keep_alive, connection, subscriptions)

    async def _keep_alive(self, connection: str, subscriptions: Subscriptions) -> None:
        connected = self._metrics.feed_connected.labels(connection)
        backoff = Backoff()
        since = trio.current_time()
        source = f"websocket connection {connection}"

        def opened() -> None:
            nonlocal since
            since = trio.current_time()
            connected.set(1)
            self.links.opened(connection)
            self._metrics.feed_connects.labels(connection).inc()
            log.debug(f"websocket connection {connection} stands")

        def handle(frame: Frame) -> None:
            self._trouble.gone(source)
            self._handle(frame, subscriptions)

        while subscriptions.symbols:
            await self._may_connect()
            since = trio.current_time()
            lost = FeedLost("closed", "the session ended")
            try:
                await session(
                    self._url,
                    self._watch.bar,
                    subscriptions,
                    opened=opened,
                    handle=handle,
                    per_message=PER_MESSAGE,
                    timing=self._timing,
                )
            except FeedLost as error:
                lost = error
            connected.set(0)
            self.links.lost(connection, str(lost))
            subscriptions.closed()
            for symbol in subscriptions.symbols:
                self._show(symbol, subscriptions)
            self._metrics.feed_disconnects.labels(connection, lost.reason).inc()
            self._trouble.seen(
                f"{source}: {lost}", source, None if lost.reason == "unreachable" else MEANWHILE
            )
            if trio.current_time() - since >= STEADY_S:
                backoff.reset()
            if lost.status == _FORBIDDEN:
                await self._throttle.ban(
                    Banned("BloFin's firewall refuses this address (403 at the websocket)")
                )
            await trio.sleep(backoff.next())
        # Nothing is left to subscribe: a connection that is not wanted is not a lost one.
        self._trouble.gone(source)
        self._metrics.remove_connection(connection)
        self.links.remove(connection)

    async def _may_connect(self) -> None:
        """Wait for our turn among the connections, and for the end of a ban."""
        while True:
            if self._throttle.suspension.banned and self._throttle.suspended_until():
                await trio.sleep(1)
                continue
            now = trio.current_time()
            if now >= self._next_connect:
                self._next_connect = now + CONNECT_EVERY_S
                return
            await trio.sleep(self._next_connect - now)

    def _handle(self, frame: Frame, subscriptions: Subscriptions) -> None:
        """Take a frame. Must not wait: see `exchange.feed`."""
        now = trio.current_time()
        match frame:
            case Push():
                self._take(frame, subscriptions, now)
            case Acked():
                self._count("ack")
                subscriptions.acked(frame.symbol, now)
                self._show(frame.symbol, subscriptions)
            case Rejected():
                self._count("refused")
                self._refuse(frame, subscriptions, now)
            case Left():
                self._count("ack")
            case Ponged():
                self._count("pong")
            case Garbled():
                self._count("invalid")
                if self._seldom.ready("garbled"):
                    log.warning(f"a websocket message is not in BloFin's grammar: {frame.text!r}")

    def _take(self, push: Push, subscriptions: Subscriptions, now: float) -> None:
        self._count("candle")
        history = self._watch.histories.get(push.symbol)
        if history is None or push.channel != channel(self._watch.bar):
            return
        was_standing = subscriptions.standing(push.symbol)
        subscriptions.pushed(push.symbol, now)
        if not was_standing:
            self._show(push.symbol, subscriptions)
        clock = self._watch.clock()
        self._metrics.feed_last_push.labels(push.symbol).set(clock / 1000)
        for row in judge_push(push, self._watch.bar, self._watch.bar.floor(clock + SKEW_MS)):
            if isinstance(row, BadRow):
                self._reject(push.symbol, row)
            elif row.open_time < self._watch.window().start:
                self._reject(push.symbol, BadRow(Reason.OUTSIDE, str(tuple(row)), row.open_time))
            elif not history.held.has(row.open_time):
                self._writer.offer(push.symbol, row)

    def _reject(self, symbol: str, row: BadRow) -> None:
        self._metrics.rows_rejected.labels("ws", row.reason.value).inc()
        if self._seldom.ready(row.reason):
            log.warning(f"{symbol}: a live row is not stored ({row.reason.value}): {row.text}")

    def _refuse(self, frame: Rejected, subscriptions: Subscriptions, now: float) -> None:
        named = frame.names(subscriptions.waiting())
        if len(named) > 1:
            # It repeats the whole message: which of them is meant shows when each goes alone.
            subscriptions.send_alone(named)
            return
        subscriptions.refused(named, now)
        for symbol in named:
            self._show(symbol, subscriptions)
            log.warning(
                f"{symbol}: BloFin refused the subscription ({frame.code} {frame.text}); it is "
                "tried again every few minutes, and its candles are fetched by REST meanwhile"
            )
        if not named and self._seldom.ready("refused"):
            log.warning(f"BloFin refused a subscription: {frame.code} {frame.text}")

    def _show(self, symbol: str, subscriptions: Subscriptions) -> None:
        if symbol in self._watch.histories:
            self._metrics.feed_subscribed.labels(symbol).set(subscriptions.standing(symbol))

    def _count(self, kind: str) -> None:
        self._metrics.feed_messages.labels(kind).inc()
