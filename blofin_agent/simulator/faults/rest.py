"""What is done wrong instead of answering a REST request."""

from collections.abc import Callable

import trio
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope, Send

from blofin_agent.simulator.faults.registry import Faults
from blofin_agent.simulator.faults.tcp import TcpFaults
from blofin_agent.simulator.rate_limits import SimulatedRateLimits
from blofin_agent.simulator.rest_api import envelope

JSON = "application/json"
_MAINTENANCE = (
    "<!doctype html><title>Maintenance</title><h1>We will be back</h1><p>Please try again later."
)


class Truncated(Response):
    """Says how long its body is, and ends half way."""

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send the head and half of the body."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        half = bytes(self.body)[: len(self.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})


class Hanging(Response):
    """Never comes."""

    async def __call__(self, _scope: Scope, receive: Receive, _send: Send) -> None:
        """Wait until the client has gone."""
        while (await receive())["type"] != "http.disconnect":
            pass


_INSTEAD: dict[str, Callable[[], Response]] = {
    "5xx": lambda: HTMLResponse("<h1>503 Service Unavailable</h1>", 503),
    "hang": Hanging,
    "reset": Hanging,
    "html": lambda: HTMLResponse(_MAINTENANCE),
    "code": lambda: Response(envelope("50001", "Service temporarily unavailable"), media_type=JSON),
    "not-json": lambda: Response(b'{"code":"0","data":[[\xff', media_type=JSON),
}


def address(request: Request) -> tuple[str, int]:
    """Return the client's address and port."""
    return (request.client.host, request.client.port) if request.client else ("", 0)


async def replacement_response(
    faults: Faults,
    limits: SimulatedRateLimits,
    wires: TcpFaults,
    request: Request,
    symbol: str,
    now_ms: int,
) -> Response | None:
    """Return what is answered in place of data, None when nothing is in the way."""
    for status in (429, 403):
        fault = faults.strikes(str(status), symbol)
        if fault:
            limits.suspend(address(request)[0], now_ms, fault.seconds, status)
            return rejection(status)
    for kind, response in _INSTEAD.items():
        if faults.strikes(kind, symbol):
            if kind == "reset":
                await wires.reset(address(request))
            return response()
    slow = faults.strikes("slow", symbol)
    if slow:
        await trio.sleep(slow.seconds)
    return None


def rejection(status: int, headers: dict[str, str] | None = None) -> Response:
    """Return a 429 or a 403."""
    message = "Too Many Requests" if status == 429 else "Forbidden"  # noqa: PLR2004
    return Response(envelope(str(status), message), status, headers, media_type=JSON)
