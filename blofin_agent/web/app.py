"""The ASGI app. Every answer is made from memory; none waits for the database."""

import gzip
from collections.abc import Callable, Sequence
from functools import partial

import trio
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from blofin_agent.watch import Watch
from blofin_agent.web import pages

_HEADERS = {"Content-Security-Policy": "default-src 'self'; style-src 'unsafe-inline'"}


def create_app(
    registry: CollectorRegistry, watch: Watch, not_ready: Callable[[], Sequence[str]]
) -> Starlette:
    """Return the app. `not_ready` tells why the agent is not ready, in words; empty when it is."""
    rendering = trio.CapacityLimiter(1)

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        zipped = "gzip" in request.headers.get("Accept-Encoding", "")

        def render() -> bytes:
            # Encoding thousands of series takes longer than the event loop may be held.
            text = encode(registry)
            return gzip.compress(text, compresslevel=1) if zipped else text

        body = await trio.to_thread.run_sync(render, limiter=rendering)
        headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
        if zipped:
            headers["Content-Encoding"] = "gzip"
        return Response(body, headers=headers)

    async def healthz(_request: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def readyz(_request: Request) -> Response:
        reasons = list(not_ready())
        return JSONResponse(
            {"ready": not reasons, "reasons": reasons}, status_code=503 if reasons else 200
        )

    async def page(_request: Request) -> Response:
        return await html(partial(pages.coverage, watch))

    async def runbook(_request: Request) -> Response:
        return await html(pages.runbook)

    async def html(render: Callable[[], str]) -> Response:
        text = await trio.to_thread.run_sync(render, limiter=rendering)
        return HTMLResponse(text, headers=_HEADERS)

    return Starlette(
        routes=[
            Route("/", page),
            Route("/runbook", runbook),
            Route("/metrics", metrics),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
        ]
    )
