"""serve(options): the simulator on a socket, until it is cancelled or told to stop."""

import errno
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, cast

import trio
from hypercorn.config import Config
from hypercorn.trio import serve as serve_asgi

from blofin_agent.simulator.app import WS_PATH, Exchange, make_app
from blofin_agent.simulator.counts import Counts
from blofin_agent.simulator.faults import Faults
from blofin_agent.simulator.hub import Hub
from blofin_agent.simulator.limits import RULES, Limits, Rule
from blofin_agent.simulator.market import HOLE_RATE, Market
from blofin_agent.simulator.rest import MAXIMUM_LIMIT, Rest

if TYPE_CHECKING:
    from hypercorn.typing import Framework

IDLE_SECONDS = 30.0
"""Source: BloFin's API documentation, "WebSocket"."""

_GRACE_SECONDS = 0.5  # for connections that are open when the shutdown is triggered
_KEEP_ALIVE_SECONDS = 75  # an idle HTTP connection stays usable for so long
_WILDCARDS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


@dataclass(frozen=True, slots=True)
class Options:
    """How the simulator behaves. The defaults are BloFin's own rules, on a free port."""

    host: str = "127.0.0.1"
    port: int = 0
    """0: any free one; `Running.rest_url` tells which."""
    symbols: int | Sequence[str] = 8
    seed: int = 1
    hole_rate: float = HOLE_RATE
    """The share of bars that never existed, 0 to 0.25."""
    listed: Mapping[str, int] = field(default_factory=dict)
    """When a symbol was listed (ms since the epoch), where that is not long ago."""
    page_limit: int = MAXIMUM_LIMIT
    """Larger limits are clamped to it silently."""
    refuse_limit_above: int | None = None
    """Larger limits are refused with code 152002, where this is set."""
    limits: bool = True
    """Whether the request and connection limits refuse anything; they are counted either way."""
    rules: Sequence[Rule] = RULES
    retry_after: bool = False
    """Whether a 429 carries the header `Retry-After`."""
    push_interval: float = 1.0
    """Seconds between two pushes of one topic."""
    idle_seconds: float = IDLE_SECONDS
    """A websocket without traffic or without a subscription is dropped after so many seconds."""


@dataclass(frozen=True, slots=True)
class Running:
    """A simulator whose socket is bound and listening."""

    rest_url: str
    """`http://127.0.0.1:PORT`, without a trailing slash."""
    ws_url: str
    """`ws://127.0.0.1:PORT/ws/public`."""
    market: Market
    limits: Limits
    counts: Counts


def wall_clock() -> int:
    """Return the time in ms since the epoch."""
    return time.time_ns() // 1_000_000


async def serve(
    options: Options,
    *,
    clock: Callable[[], int] = wall_clock,
    shutdown_trigger: Callable[[], Awaitable[None]] | None = None,
    task_status: trio.TaskStatus[Running] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled, or until `shutdown_trigger()` returns.

    `clock`: ms since the epoch; everything that depends on the time of day asks it, and pushes
    come at its whole seconds. Raises ValueError for options that cannot be and OSError when the
    address cannot be bound, both before anything is served.
    """
    limits = Limits(options.rules, enforced=options.limits)
    market = Market(
        options.seed, options.symbols, hole_rate=options.hole_rate, listed=options.listed
    )
    faults = Faults()
    rest = Rest(market, options.page_limit, options.refuse_limit_above, faults)
    counts = Counts()
    hub = Hub(market, counts, clock, faults)
    app = make_app(
        Exchange(
            market,
            rest,
            limits,
            counts,
            hub,
            clock,
            options.retry_after,
            options.idle_seconds,
            faults,
        )
    )
    bound = bind(options.host, options.port)
    address = _address(options.host, bound.getsockname()[1])
    async with trio.open_nursery() as nursery:

        async def serve_until_stopped(task_status: trio.TaskStatus[list[str]]) -> None:
            await serve_asgi(
                cast("Framework", app),
                _config(bound),
                shutdown_trigger=shutdown_trigger,
                task_status=task_status,
                mode="asgi",
            )
            nursery.cancel_scope.cancel()

        await nursery.start(serve_until_stopped)
        nursery.start_soon(partial(hub.push_forever, options.push_interval))
        task_status.started(
            Running(f"http://{address}", f"ws://{address}{WS_PATH}", market, limits, counts)
        )


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


def _config(bound: socket.socket) -> Config:
    """Return hypercorn's settings, which now own the socket. It logs failures and nothing else."""
    config = Config()
    config.bind = [f"fd://{bound.detach()}"]
    config.loglevel = "WARNING"
    config.graceful_timeout = _GRACE_SECONDS
    config.keep_alive_timeout = _KEEP_ALIVE_SECONDS
    return config


def _address(host: str, port: int) -> str:
    reachable = _WILDCARDS.get(host, host)
    return f"[{reachable}]:{port}" if ":" in reachable else f"{reachable}:{port}"
