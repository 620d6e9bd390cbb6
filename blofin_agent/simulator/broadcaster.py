"""Hub: makes each topic's pushes once and hands them to everyone who subscribed to it."""

from collections.abc import Callable, Iterable

import trio

from blofin_agent.simulator.faults.registry import Faults
from blofin_agent.simulator.faults.websocket import spoil_pushes
from blofin_agent.simulator.market import Market
from blofin_agent.simulator.request_stats import RequestStats
from blofin_agent.simulator.websocket_protocol import Topic, pushes

Outbox = trio.MemorySendChannel[list[str]]
"""Where a connection's texts go, a batch at a time. Closed when the connection does not read."""


class Broadcaster:
    """Who subscribed to what. `clock`: ms since the epoch."""

    def __init__(
        self,
        market: Market,
        counts: RequestStats,
        clock: Callable[[], int],
        faults: Faults,
    ) -> None:
        self._market = market
        self._counts = counts
        self._clock = clock
        self._faults = faults
        self._subscribers: dict[Outbox, dict[Topic, None]] = {}

    def join(self, outbox: Outbox) -> None:
        """Add a connection, without subscriptions."""
        self._subscribers[outbox] = {}
        self._counts.connections_opened += 1
        self._count()

    def leave(self, outbox: Outbox) -> None:
        """Take a connection away, if it is still here."""
        self._subscribers.pop(outbox, None)
        self._count()

    def change(self, outbox: Outbox, added: Iterable[Topic], removed: Iterable[Topic]) -> bool:
        """Change what a connection is subscribed to and say whether it has any subscription."""
        topics = self._subscribers.get(outbox)
        if topics is None:
            return False
        topics.update(dict.fromkeys(added))
        for topic in removed:
            topics.pop(topic, None)
        self._count()
        return bool(topics)

    def push(self, last_ms: int, now_ms: int) -> None:
        """Hand out what happened after `last_ms` and up to `now_ms`; never waits for a reader.

        A reader that is a whole outbox behind loses its connection, as at any exchange.
        """
        made: dict[Topic, list[str]] = {}
        for outbox, topics in list(self._subscribers.items()):
            batch: list[str] = []
            for topic in topics:
                if not self._faults.given(topic.inst_id, now_ms):
                    continue
                if topic not in made:
                    made[topic] = list(pushes(self._market, topic, last_ms, now_ms))
                batch += (
                    spoil_pushes(self._faults, self._market, topic, made[topic], last_ms, now_ms)
                    if self._faults
                    else made[topic]
                )
            if not batch:
                continue
            try:
                outbox.send_nowait(batch)
            except trio.WouldBlock:
                self._counts.too_slow += 1
                self.leave(outbox)
                outbox.close()
            except trio.BrokenResourceError:  # the connection is just about to leave
                continue
            else:
                self._counts.pushes += len(batch)

    async def push_forever(self, interval: float) -> None:
        """Push at every whole multiple of `interval` (s) of the clock, so just after each close."""
        step = max(1, round(interval * 1_000))
        last = self._clock()
        while True:
            await trio.sleep((step - self._clock() % step) / 1_000)
            now = self._clock()
            if now // step > last // step:  # a clock may be behind the one that sleeps
                self.push(last, now)
                last = now

    def _count(self) -> None:
        self._counts.connections = len(self._subscribers)
        self._counts.subscriptions = sum(map(len, self._subscribers.values()))
