"""Serve an ASGI app under hypercorn's trio worker, on a socket that we bind ourselves."""

import logging
import socket
from collections.abc import Awaitable, Callable

import hypercorn.trio
import hypercorn.trio.run
import structlog
import trio
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.typing import ASGIFramework

from blofin_agent.observability.log_limit import LogLimiter
from blofin_agent.runtime.clock import wall_ms

log = structlog.get_logger()

STOP_TIMEOUT_S = 2.0
"""Requests under way at shutdown have so long to end."""


class LenientConnection(TCPServer):
    """One connection. What it sends may break itself, and nothing else.

    hypercorn lets an error of its parsers end the whole server: one request over HTTP/2 whose path
    is no ASCII is enough. What goes wrong in the app does not come here.
    """

    log_limiter = LogLimiter(wall_ms)

    async def run(self) -> None:
        """Serve it to its end."""
        try:
            await super().run()
        except Exception as error:  # noqa: BLE001 - whatever its parsers trip over
            if self.log_limiter.allow("broken"):
                log.warning(
                    "closed an HTTP connection that sent an invalid request", error=_named(error)
                )


# There is no other place where it lets its connections be told.
vars(hypercorn.trio.run)["TCPServer"] = LenientConnection


def _named(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return type(error).__name__


async def serve(
    app: ASGIFramework,
    bound: socket.socket,
    shutdown: Callable[[], Awaitable[None]],
    *,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `shutdown` returns. `bound` is taken over."""
    config = Config()
    config.bind = [f"fd://{bound.detach()}"]
    config.graceful_timeout = STOP_TIMEOUT_S
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn")
    config.errorlog.setLevel(logging.ERROR)
    await hypercorn.trio.serve(app, config, shutdown_trigger=shutdown, task_status=task_status)
