"""A world in one process and in virtual time: the agent's own parts, and the simulator.

REST and websocket go over streams in memory, through the real HTTP and websocket libraries on both
sides; the store is a real SQLite file. Time jumps to the next deadline whenever nothing is at
work, so a day takes a few minutes, and happens the same way for the same seed.
"""

import contextlib
import math
import socket
import sqlite3
from collections.abc import AsyncIterator
from types import SimpleNamespace

import httpcore
import httpx
import trio
from httpcore._backends.trio import TrioStream
from trio.testing import MockClock, memory_stream_pair

from blofin_agent import agent
from blofin_agent.config import Settings
from blofin_agent.core.candle import Bar, Candle
from blofin_agent.exchange import feed
from blofin_agent.parts import Parts, assemble
from blofin_agent.simulator.serve import Options, Simulator
from blofin_agent.store.engine import Store

BEGIN = 1_790_000_000_000 // 60_000 * 60_000
"""When each world begins (ms)."""


class Wall:
    """The wall clock (ms) beside the virtual one; may be read in any thread."""

    def __init__(self, virtual: MockClock) -> None:
        self.virtual = virtual
        self.ahead_ms = 0
        """How far the machine's clock is ahead of the true time."""

    def true(self) -> int:
        """Return what time it really is: what the exchange goes by."""
        return BEGIN + round(self.virtual.current_time() * 1000)

    def __call__(self) -> int:
        return self.true() + self.ahead_ms


class _Socket:
    """As much of a socket as a server asks for."""

    family = socket.AF_INET

    def __init__(self, port: int, stream: trio.StapledStream) -> None:
        self._port = port
        self._stream = stream

    def getpeername(self) -> tuple[str, int]:
        return "127.0.0.1", self._port

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", 80

    def setsockopt(self, *_args: object) -> None:
        pass

    def close(self) -> None:
        self._stream.send_stream.close()
        self._stream.receive_stream.close()


class _End(trio.abc.HalfCloseableStream):
    """The server's end of a connection."""

    def __init__(self, stream: trio.StapledStream, port: int) -> None:
        self._stream = stream
        self.socket = _Socket(port, stream)

    async def send_all(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Begin(TrioStream):
    """The client's end, as httpx sees it."""

    def get_extra_info(self, info: str) -> None:
        """Tell nothing of sockets."""


class Network(httpcore.AsyncNetworkBackend):
    """Connects the agent with the simulator."""

    def __init__(self, simulator: Simulator, nursery: trio.Nursery) -> None:
        self._simulator = simulator
        self._nursery = nursery
        self._ports = iter(range(1_024, 1 << 30))

    async def _open(self) -> trio.StapledStream:
        ours, theirs = memory_stream_pair()
        self._nursery.start_soon(self._simulator.handle, _End(theirs, next(self._ports)))
        await trio.lowlevel.checkpoint()
        return ours

    async def connect_tcp(self, *_args: object, **_kwargs: object) -> _Begin:
        """Connect httpx."""
        return _Begin(await self._open())

    async def connect(self, _url: str, _timing: object) -> trio.StapledStream:
        """Connect the feed."""
        return await self._open()


class World:
    """A running agent and its exchange. Make one with `world`."""

    def __init__(self, wall: Wall, simulator: Simulator, store: Store, parts: Parts) -> None:
        self.wall = wall
        self.simulator = simulator
        self.store = store
        self.parts = parts
        self.deck: list[str] = []
        """Faults that are still to come."""

    def stored(self, symbol: str) -> dict[int, Candle]:
        """Return the stored candles of a symbol by open time."""
        names = ", ".join(f'"{name}"' for name in Candle._fields)
        query = f"SELECT {names} FROM candles WHERE symbol = '{symbol}'"
        rows = self.store.read_here(lambda connection: connection.exec_driver_sql(query).all())
        return {row[0]: Candle(*row) for row in rows}

    def stored_times(self, symbol: str) -> list[int]:
        """Return the open times of the newest stored candles of a symbol."""
        query = (
            "SELECT open_time FROM candles WHERE symbol = ? AND bar = '1m' "
            "ORDER BY open_time DESC LIMIT 1"
        )
        with contextlib.closing(sqlite3.connect(self.store.where)) as connection:
            return [time for (time,) in connection.execute(query, (symbol,))]

    def truth(self, symbol: str, start: int, end: int) -> dict[int, Candle]:
        """Return what the exchange has."""
        return {
            time: candle
            for time in range(start, end, Bar.M1.ms)
            if (candle := self.simulator.market.candle(symbol, Bar.M1, time))
        }

    def figure(self, name: str, **labels: str) -> float | None:
        """Return a series' value as a scrape would show it."""
        return self.parts.metrics.registry.get_sample_value(name, labels)


async def _jump(virtual: MockClock, limiters: list[trio.CapacityLimiter]) -> None:
    while True:
        await trio.testing.wait_all_tasks_blocked()
        wait = trio.lowlevel.current_statistics().seconds_to_next_deadline
        if any(one.borrowed_tokens for one in limiters):
            await trio.testing.wait_all_tasks_blocked(0.0005)
        elif 0 < wait < math.inf:
            virtual.jump(wait)


@contextlib.asynccontextmanager
async def world(
    store: Store, settings: Settings, options: Options, monkeypatch
) -> AsyncIterator[World]:
    """Run an agent against a simulator until the block ends. Call it under a MockClock."""
    virtual = trio.lowlevel.current_clock()
    assert isinstance(virtual, MockClock)
    wall = Wall(virtual)
    simulator = Simulator(options, wall.true)
    async with trio.open_nursery() as nursery:
        limiters = [store.limiter, trio.to_thread.current_default_thread_limiter()]
        nursery.start_soon(_jump, virtual, limiters)
        nursery.start_soon(simulator.push)
        network = Network(simulator, nursery)
        monkeypatch.setattr(feed, "_connect", network.connect)
        transport = httpx.AsyncHTTPTransport()
        transport._pool = httpcore.AsyncConnectionPool(
            max_keepalive_connections=0, network_backend=network
        )
        async with httpx.AsyncClient(
            base_url="http://exchange", transport=transport, timeout=20
        ) as client:
            parts = assemble(
                settings, store, client, tries=agent.TRIES, what_next="it goes on", clock=wall
            )
            nursery.start_soon(parts.writer.run)
            board = SimpleNamespace(links=None)
            nursery.start_soon(agent._produce, settings, store, parts, board, None)
            yield World(wall, simulator, store, parts)
            nursery.cancel_scope.cancel()
