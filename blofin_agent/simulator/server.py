"""serve(options): the simulator on a socket, until it is cancelled or told to stop."""

import errno
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, cast

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext

from blofin_agent.runtime.clock import wall_ms
from blofin_agent.simulator.app import WS_PATH, SimulatedExchange, make_app
from blofin_agent.simulator.broadcaster import Broadcaster
from blofin_agent.simulator.faults.registry import Faults
from blofin_agent.simulator.faults.tcp import TcpFaults
from blofin_agent.simulator.market import MISSING_BAR_RATE, Market
from blofin_agent.simulator.rate_limits import RULES, RateRule, SimulatedRateLimits
from blofin_agent.simulator.request_stats import RequestStats
from blofin_agent.simulator.rest_api import MAX_LIMIT, RestApi

if TYPE_CHECKING:
    from hypercorn.typing import ASGIFramework, ConnectionState

IDLE_TIMEOUT_S = 30.0
"""Source: BloFin's API documentation, "WebSocket"."""

_GRACE_SECONDS = 0.5  # for connections that are open when the shutdown is triggered
_BACKLOG = 100
_KEEP_ALIVE_SECONDS = 75  # an idle HTTP connection stays usable for so long
_WILDCARDS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


@dataclass(frozen=True, slots=True)
class SimulatorOptions:
    """How the simulator behaves. The defaults are BloFin's own rules, on a free port."""

    host: str = "127.0.0.1"
    port: int = 0
    """0: any free one; `RunningSimulator.rest_url` tells which."""
    symbols: int | Sequence[str] = 8
    seed: int = 1
    hole_rate: float = MISSING_BAR_RATE
    """The share of bars that never existed, 0 to 0.25."""
    listed: Mapping[str, int] = field(default_factory=dict)
    """When a symbol was listed (ms since the epoch), where that is not long ago."""
    page_limit: int = MAX_LIMIT
    """Larger limits are clamped to it silently."""
    refuse_limit_above: int | None = None
    """Larger limits are refused with code 152002, where this is set."""
    limits: bool = True
    """Whether the request and connection limits refuse anything; they are counted either way."""
    rules: Sequence[RateRule] = RULES
    retry_after: bool = False
    """Whether a 429 carries the header `Retry-After`."""
    push_interval: float = 1.0
    """Seconds between two pushes of one topic."""
    idle_seconds: float = IDLE_TIMEOUT_S
    """A websocket without traffic or without a subscription is dropped after so many seconds."""
    faults: Sequence[str] = ()
    """Faults in force from the start, each as `KIND,name=value,...`."""


@dataclass(frozen=True, slots=True)
class RunningSimulator:
    """A simulator whose socket is bound and listening."""

    rest_url: str
    """`http://127.0.0.1:PORT`, without a trailing slash."""
    ws_url: str
    """`ws://127.0.0.1:PORT/ws/public`."""
    market: Market
    limits: SimulatedRateLimits
    counts: RequestStats
    faults: Faults


class Simulator:
    """All of a simulator but the socket: `handle` serves one connection.

    `clock`: ms since the epoch; everything that depends on the time of day asks it, and pushes
    come at its whole seconds. Raises ValueError for options that cannot be.
    """

    def __init__(self, options: SimulatorOptions, clock: Callable[[], int] = wall_ms) -> None:
        self.market = Market(
            options.seed, options.symbols, hole_rate=options.hole_rate, listed=options.listed
        )
        self.limits = SimulatedRateLimits(options.rules, enforced=options.limits)
        self.faults = Faults(clock, options.seed)
        for text in options.faults:
            self.faults.parse(text)
        self.counts = RequestStats()

        def exchange_clock() -> int:
            return clock() + self.faults.skew_ms()

        self._hub = Broadcaster(self.market, self.counts, exchange_clock, self.faults)
        self._interval = options.push_interval
        self._wires = TcpFaults()
        exchange = SimulatedExchange(
            self.market,
            RestApi(self.market, self.faults, options.page_limit, options.refuse_limit_above),
            self.limits,
            self.counts,
            self._hub,
            exchange_clock,
            clock,
            options.retry_after,
            options.idle_seconds,
            self.faults,
            self._wires,
        )
        self._app = ASGIWrapper(cast("ASGIFramework", make_app(exchange)))
        self._config = _config()
        self._context = WorkerContext(None)

    async def push(self) -> None:
        """Push what happens, for ever."""
        await self._hub.push_forever(self._interval)

    async def handle(self, stream: trio.SocketStream) -> None:
        """Serve one connection until it ends."""
        try:
            client = stream.socket.getpeername()[:2]
        except OSError:  # it was gone before it was served
            await trio.aclose_forcefully(stream)
            return
        self._wires.add(client, stream)
        try:
            await TCPServer(
                self._app,
                self._config,
                self._context,
                cast("ConnectionState", {}),
                cast("trio.SSLStream[trio.SocketStream]", stream),
            )
        finally:
            self._wires.remove(client)

    async def close(self) -> None:
        """Ask connections that stand to end, and end those that do not."""
        await self._context.terminated.set()
        await trio.sleep(_GRACE_SECONDS)
        self.cut()

    def cut(self) -> None:
        """End all connections at once: hypercorn lets nobody cancel what it sends."""
        self._wires.close()


async def serve(
    options: SimulatorOptions,
    *,
    clock: Callable[[], int] = wall_ms,
    shutdown_trigger: Callable[[], Awaitable[None]] | None = None,
    task_status: trio.TaskStatus[RunningSimulator] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled, or until `shutdown_trigger()` returns. `clock`: see `Simulator`.

    Raises ValueError for options that cannot be and OSError when the address cannot be bound,
    both before anything is served.
    """
    simulator = Simulator(options, clock)
    bound = bind(options.host, options.port)
    bound.listen(_BACKLOG)
    address = _address(options.host, bound.getsockname()[1])
    running = RunningSimulator(
        f"http://{address}",
        f"ws://{address}{WS_PATH}",
        simulator.market,
        simulator.limits,
        simulator.counts,
        simulator.faults,
    )
    listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(bound))]
    async with trio.open_nursery() as connections:
        accept = partial(
            trio.serve_listeners, simulator.handle, listeners, handler_nursery=connections
        )
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(simulator.push)
                nursery.start_soon(accept)
                task_status.started(running)
                await (shutdown_trigger or trio.sleep_forever)()
                nursery.cancel_scope.cancel()
            await simulator.close()
        finally:
            simulator.cut()


def bind(host: str, port: int) -> socket.socket:
    """Return a socket bound to an address, not yet listening. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except (OSError, TypeError, UnicodeError) as error:
        bound.close()
        if isinstance(error, OSError):
            raise
        raise OSError(errno.EINVAL, "it can be the name of no host") from None
    return bound


def _config() -> Config:
    """Return hypercorn's settings. It logs failures and nothing else."""
    config = Config()
    config.loglevel = "WARNING"
    config.keep_alive_timeout = _KEEP_ALIVE_SECONDS
    return config


def _address(host: str, port: int) -> str:
    reachable = _WILDCARDS.get(host, host)
    return f"[{reachable}]:{port}" if ":" in reachable else f"{reachable}:{port}"
