"""The simulator as an ASGI application: REST, the public websocket, and how to control it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from blofin_agent.simulator.broadcaster import Broadcaster
from blofin_agent.simulator.faults.registry import Faults
from blofin_agent.simulator.faults.rest import (
    JSON,
    Truncated,
    address,
    rejection,
    replacement_response,
)
from blofin_agent.simulator.faults.tcp import TcpFaults
from blofin_agent.simulator.market import Market
from blofin_agent.simulator.rate_limits import SECOND, SimulatedRateLimits
from blofin_agent.simulator.request_stats import RequestStats
from blofin_agent.simulator.rest_api import ENDPOINTS, PREFIX, RestApi
from blofin_agent.simulator.websocket_connection import serve_connection

WS_PATH = "/ws/public"
STATS_PATH = "/control/stats"
FAULTS_PATH = "/control/faults"


@dataclass(frozen=True, slots=True)
class SimulatedExchange:
    """What the application is made of. Clocks give ms since the epoch."""

    market: Market
    rest: RestApi
    limits: SimulatedRateLimits
    counts: RequestStats
    hub: Broadcaster
    clock: Callable[[], int]
    """BloFin's, which a fault may put out of step..."""
    steady: Callable[[], int]
    """...and the one that requests are counted by."""
    retry_after: bool
    """Whether a 429 says in its header `Retry-After` how many seconds the suspension lasts."""
    idle_seconds: float
    faults: Faults
    wires: TcpFaults


def make_app(exchange: SimulatedExchange) -> Starlette:
    """Return the application. The hub's pushes come only while somebody runs `push_forever`."""
    rest = [
        Route(PREFIX + endpoint, partial(_rest, exchange, endpoint), methods=["GET"])
        for endpoint in ENDPOINTS
    ]
    return Starlette(
        routes=[
            *rest,
            Route(STATS_PATH, partial(_stats, exchange), methods=["GET"]),
            Route(FAULTS_PATH, partial(_faults, exchange), methods=["GET", "DELETE"]),
            Route(FAULTS_PATH + "/{kind}", partial(_fault, exchange), methods=["PUT", "DELETE"]),
            WebSocketRoute(WS_PATH, partial(_websocket, exchange)),
        ]
    )


async def _rest(exchange: SimulatedExchange, endpoint: str, request: Request) -> Response:
    now, steady = exchange.clock(), exchange.steady()
    query = request.query_params
    symbol = query.get("instId", "")
    exchange.counts.request(endpoint, symbol, steady)
    suspended_ms = exchange.limits.request(address(request)[0], steady)
    if suspended_ms:
        return _suspended(exchange, request, suspended_ms)
    if exchange.faults:
        other = await replacement_response(
            exchange.faults, exchange.limits, exchange.wires, request, symbol, steady
        )
        if other is not None:
            return other
    body = exchange.rest.answer(endpoint, query, now)
    if exchange.faults and exchange.faults.strikes("truncated", symbol):
        return Truncated(body, media_type=JSON)
    return Response(body, media_type=JSON)


async def _stats(exchange: SimulatedExchange, _: Request) -> Response:
    return JSONResponse(exchange.counts.report(exchange.limits))


async def _faults(exchange: SimulatedExchange, request: Request) -> Response:
    """Tell which faults are in force, how often each struck, and which there are; or end all."""
    if request.method == "DELETE":
        exchange.faults.clear()
    return JSONResponse(exchange.faults.report())


async def _fault(exchange: SimulatedExchange, request: Request) -> Response:
    """Put a fault in force, or end it."""
    kind, options = request.path_params["kind"], dict(request.query_params)
    symbol = options.get("symbol", "")
    if symbol and symbol not in exchange.market.instruments:
        return PlainTextResponse(f"there is no {symbol} here\n", 404)
    if request.method == "DELETE":
        exchange.faults.clear(kind, symbol or None)
    else:
        try:
            exchange.faults.put(kind, options)
        except ValueError as error:
            return PlainTextResponse(f"{error}\n", 400)
    return JSONResponse(exchange.faults.report())


async def _websocket(exchange: SimulatedExchange, socket: WebSocket) -> None:
    host = socket.client.host if socket.client else ""
    steady = exchange.steady()
    if not exchange.limits.connect(host, steady):
        banned = exchange.limits.suspended_until(host) > steady
        status = exchange.limits.status(host) if banned else 429
        await socket.send_denial_response(rejection(status))
        return
    if exchange.faults and exchange.faults.strikes("ws-refuse"):
        await socket.send_denial_response(Response(status_code=503))
        return
    await serve_connection(
        socket,
        exchange.market,
        exchange.hub,
        exchange.counts,
        exchange.idle_seconds,
        exchange.faults,
        exchange.wires,
    )


def _suspended(exchange: SimulatedExchange, request: Request, suspended_ms: int) -> Response:
    headers = {}
    if exchange.retry_after:
        headers["Retry-After"] = str(math.ceil(suspended_ms / SECOND))
    return rejection(exchange.limits.status(address(request)[0]), headers)
