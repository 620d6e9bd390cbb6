"""Serve an ASGI app under hypercorn's trio worker, on a socket that we bind ourselves."""

import logging
import socket
from collections.abc import Awaitable, Callable

import hypercorn.trio
import trio
from hypercorn.config import Config
from hypercorn.typing import ASGIFramework

STOP_WITHIN_S = 2.0
"""Requests under way at shutdown have so long to end."""


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
    config.graceful_timeout = STOP_WITHIN_S
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn")
    config.errorlog.setLevel(logging.ERROR)
    await hypercorn.trio.serve(app, config, shutdown_trigger=shutdown, task_status=task_status)
