"""The simulator as an ASGI application: REST, the public websocket, and what it counted."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from blofin_agent.simulator.connection import converse
from blofin_agent.simulator.counts import Counts
from blofin_agent.simulator.faults import Faults
from blofin_agent.simulator.hub import Hub
from blofin_agent.simulator.limits import CONNECT_SPACING, SECOND, Limits
from blofin_agent.simulator.market import Market
from blofin_agent.simulator.rest import ENDPOINTS, PREFIX, Rest, envelope

WS_PATH = "/ws/public"
STATS_PATH = "/control/stats"
WITHHOLD_PATH = "/control/faults/withhold/{symbol}"

_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Exchange:
    """What the application is made of. `clock`: ms since the epoch."""

    market: Market
    rest: Rest
    limits: Limits
    counts: Counts
    hub: Hub
    clock: Callable[[], int]
    retry_after: bool
    """Whether a 429 says in its header `Retry-After` how many seconds the suspension lasts."""
    idle_seconds: float
    faults: Faults


def make_app(exchange: Exchange) -> Starlette:
    """Return the application. The hub's pushes come only while somebody runs `push_forever`."""
    rest = [
        Route(PREFIX + endpoint, partial(_rest, exchange, endpoint), methods=["GET"])
        for endpoint in ENDPOINTS
    ]
    return Starlette(
        routes=[
            *rest,
            Route(STATS_PATH, partial(_stats, exchange), methods=["GET"]),
            Route(WITHHOLD_PATH, partial(_withhold, exchange), methods=["PUT", "DELETE"]),
            WebSocketRoute(WS_PATH, partial(_websocket, exchange)),
        ]
    )


async def _rest(exchange: Exchange, endpoint: str, request: Request) -> Response:
    now = exchange.clock()
    query = request.query_params
    exchange.counts.request(endpoint, query.get("instId", ""), now)
    suspended_ms = exchange.limits.request(_address(request), now)
    if suspended_ms:
        return _too_many(exchange, suspended_ms)
    return Response(exchange.rest.answer(endpoint, query, now), media_type=_JSON)


async def _stats(exchange: Exchange, _: Request) -> Response:
    return JSONResponse(exchange.counts.report(exchange.limits))


async def _withhold(exchange: Exchange, request: Request) -> Response:
    """Stop giving a symbol, from now or from `since` (ms) on; DELETE: give it again."""
    symbol, since = request.path_params["symbol"], request.query_params.get("since", "")
    if symbol not in exchange.market.instruments:
        return PlainTextResponse(f"there is no {symbol} here\n", 404)
    if since and not since.isdecimal():
        return PlainTextResponse("since is a time in ms since the epoch\n", 400)
    if request.method == "PUT":
        exchange.faults.withheld[symbol] = int(since) if since else exchange.clock()
    else:
        exchange.faults.withheld.pop(symbol, None)
    return JSONResponse(exchange.faults.withheld)


async def _websocket(exchange: Exchange, socket: WebSocket) -> None:
    if not exchange.limits.connect(_address(socket), exchange.clock()):
        await socket.send_denial_response(_too_many(exchange, int(CONNECT_SPACING * SECOND)))
        return
    await converse(socket, exchange.market, exchange.hub, exchange.counts, exchange.idle_seconds)


def _too_many(exchange: Exchange, suspended_ms: int) -> Response:
    headers: dict[str, Any] = {}
    if exchange.retry_after:
        headers["Retry-After"] = str(math.ceil(suspended_ms / SECOND))
    return Response(envelope("429", "Too Many Requests"), 429, headers, media_type=_JSON)


def _address(connection: HTTPConnection) -> str:
    return connection.client.host if connection.client else ""
