"""Virtual time: a wall clock beside trio's MockClock, and a network in memory to a simulator.

REST and websocket go through the real HTTP and websocket libraries on both sides. Time jumps to
the next deadline whenever nothing is at work. The benchmarks use it, too.
"""

import socket

import httpcore
import httpx
import trio
from httpcore._backends.trio import TrioStream
from trio.testing import MockClock, memory_stream_pair

from blofin_agent.simulator.server import Simulator

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


def client(network: Network) -> httpx.AsyncClient:
    """Return an HTTP client that reaches the simulator as `http://exchange`."""
    transport = httpx.AsyncHTTPTransport()
    transport._pool = httpcore.AsyncConnectionPool(
        max_keepalive_connections=0, network_backend=network
    )
    return httpx.AsyncClient(base_url="http://exchange", transport=transport, timeout=20)
