"""One connection and the hub, in virtual time: an ASGI client without a socket."""

import json
from functools import partial

import pytest
import trio
import trio.testing
from starlette.websockets import WebSocket

from blofin_agent.domain.candle import MINUTE
from blofin_agent.simulator.broadcaster import Broadcaster
from blofin_agent.simulator.faults.registry import Faults
from blofin_agent.simulator.faults.tcp import TcpFaults
from blofin_agent.simulator.market import Market
from blofin_agent.simulator.request_stats import RequestStats
from blofin_agent.simulator.websocket_connection import MAX_QUEUED_PUSHES, serve_connection

FAULTS = Faults(lambda: 0)
START = 1_790_000_000_000 - 1_790_000_000_000 % MINUTE
MARKET = Market(1, 2, hole_rate=0)
SUBSCRIBE = '{"op":"subscribe","args":[{"channel":"candle1m","instId":"BTC-USDT"}]}'


def clock() -> int:
    return START + round((trio.current_time() - BEGIN[0]) * 1_000)


BEGIN = [0.0]


class Client:
    """The other end of an ASGI websocket: what it sends, and what it got and when."""

    def __init__(self) -> None:
        self.send, self._incoming = trio.open_memory_channel[dict[str, str]](100)
        self.send.send_nowait({"type": "websocket.connect"})
        self.got: list[tuple[float, str]] = []
        self.closed: tuple[float, int] | None = None
        self.reads = True
        self.socket = WebSocket({"type": "websocket"}, self._incoming.receive, self._take)

    def say(self, text: str) -> None:
        self.send.send_nowait({"type": "websocket.receive", "text": text})

    async def _take(self, message) -> None:
        at = trio.current_time() - BEGIN[0]
        if message["type"] == "websocket.send":
            if not self.reads:
                await trio.sleep_forever()
            self.got.append((at, message["text"]))
        elif message["type"] == "websocket.close":
            self.closed = (at, message["code"])

    def texts(self) -> list[str]:
        return [text for _, text in self.got]


@pytest.fixture
async def place(autojump_clock, nursery):
    BEGIN[0] = trio.current_time()
    counts = RequestStats()
    hub = Broadcaster(MARKET, counts, clock, Faults(clock))
    client = Client()
    run = partial(serve_connection, client.socket, MARKET, hub, counts, 30, FAULTS, TcpFaults())
    return client, hub, counts, run, nursery


async def test_a_connection_without_a_subscription_is_dropped_after_30_s_whatever_it_pings(
    autojump_clock, place
):
    client, _, counts, run, nursery = place
    nursery.start_soon(run)
    for _ in range(2):
        await trio.sleep(12)
        client.say("ping")
    await trio.sleep(60)
    assert client.got == [(12, "pong"), (24, "pong")]
    assert client.closed == (30, 1008)
    assert (counts.silent, counts.connections, counts.connections_opened) == (1, 0, 1)


async def test_a_subscribed_connection_without_traffic_is_dropped_after_30_s(autojump_clock, place):
    client, _, counts, run, nursery = place
    nursery.start_soon(run)
    await trio.sleep(5)
    client.say(SUBSCRIBE)
    await trio.sleep(20)
    client.say("ping")
    await trio.sleep(60)
    assert client.closed == (55, 1008)
    assert counts.silent == 1


async def test_unsubscribing_starts_the_time_again(autojump_clock, place):
    client, hub, _, run, nursery = place
    nursery.start_soon(run)
    nursery.start_soon(hub.push_forever, 1)
    client.say(SUBSCRIBE)
    await trio.sleep(100.5)
    assert client.closed is None
    client.say(SUBSCRIBE.replace("subscribe", "unsubscribe"))
    await trio.sleep(100)
    assert client.closed == (130.5, 1008)


async def test_pushes_come_once_a_second_and_the_close_at_once(autojump_clock, place):
    client, hub, counts, run, nursery = place
    nursery.start_soon(run)
    nursery.start_soon(hub.push_forever, 1)
    await trio.sleep(0.5)
    client.say(SUBSCRIBE)
    await trio.sleep(60)
    acknowledged, *pushes = client.got
    assert acknowledged[0] == 0.5
    assert json.loads(acknowledged[1])["event"] == "subscribe"
    assert [at for at, _ in pushes] == [*range(1, 60), 60, 60]
    rows = [json.loads(text)["data"][0] for _, text in pushes]
    assert [row[8] for row in rows] == ["0"] * 59 + ["1", "0"]
    assert [int(row[0]) for row in rows] == [START] * 60 + [START + MINUTE]
    assert counts.pushes == 61
    assert (counts.connections, counts.subscriptions) == (1, 1)


async def test_a_topic_is_made_once_and_shared(autojump_clock, place, monkeypatch):
    client, hub, _, run, nursery = place
    other = Client()
    nursery.start_soon(run)
    nursery.start_soon(
        serve_connection, other.socket, MARKET, hub, RequestStats(), 30, FAULTS, TcpFaults()
    )
    client.say(SUBSCRIBE)
    other.say(SUBSCRIBE)
    await trio.testing.wait_all_tasks_blocked()
    made = []

    def count(market, topic, last, now):
        made.append((topic, last, now))
        return ["text"]

    monkeypatch.setattr("blofin_agent.simulator.broadcaster.pushes", count)
    hub.push(START, START + 1_000)
    await trio.testing.wait_all_tasks_blocked()
    assert len(made) == 1
    assert client.texts()[1:] == other.texts()[1:] == ["text"]


async def test_who_does_not_read_loses_the_connection_and_nobody_else_waits(autojump_clock, place):
    client, hub, counts, run, nursery = place
    other = Client()
    nursery.start_soon(run)
    nursery.start_soon(
        serve_connection, other.socket, MARKET, hub, RequestStats(), 30, FAULTS, TcpFaults()
    )
    client.say(SUBSCRIBE)
    other.say(SUBSCRIBE)
    await trio.testing.wait_all_tasks_blocked()
    client.reads = False
    nursery.start_soon(hub.push_forever, 1)
    await trio.sleep(MAX_QUEUED_PUSHES + 40.5)
    assert counts.too_slow == 1
    assert client.closed == (30, 1008)  # its last traffic was the acknowledgement
    assert len(other.got) > MAX_QUEUED_PUSHES + 40


async def test_a_client_that_leaves_is_forgotten(autojump_clock, place):
    client, hub, counts, run, nursery = place
    nursery.start_soon(run)
    client.say(SUBSCRIBE)
    await trio.sleep(1)
    assert counts.connections == 1
    client.send.send_nowait({"type": "websocket.disconnect", "code": 1006})
    await trio.sleep(1)
    assert (counts.connections, counts.subscriptions) == (0, 0)
    assert client.closed is None
    hub.push(START, START + 1_000)


async def test_a_clock_that_stands_still_or_goes_back_pushes_nothing_twice(autojump_clock, place):
    client, _, counts, _, nursery = place
    times = iter([START, *[START + 1_000] * 5, START - 5_000, START - 5_000])
    hub = Broadcaster(MARKET, counts, lambda: next(times, START + 2_000), Faults(lambda: START))
    nursery.start_soon(
        serve_connection, client.socket, MARKET, hub, counts, 30, FAULTS, TcpFaults()
    )
    client.say(SUBSCRIBE)
    await trio.testing.wait_all_tasks_blocked()
    nursery.start_soon(hub.push_forever, 1)
    await trio.sleep(20)
    assert counts.pushes == 2
