"""Endpoints: the pages, /metrics and health.

Figures are from memory. Past runs are read from the store, through a connection of its own, so
that nobody who looks holds a commit up. What is rendered is rendered in a worker thread.
"""

import gzip
from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus

import trio
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from blofin_agent.domain.backfill_run import BackfillRun, RunStatus
from blofin_agent.status.snapshot import StatusSnapshotter
from blofin_agent.status.store_reader import StoreReader, StoreReadError
from blofin_agent.web import pages
from blofin_agent.web.event_stream import EventStream, StreamResponse

RECENT_RUNS = 10
PAST_RUNS = 100
_LONGEST_ID = 15
"""Digits of a run's number that are believed."""


class Endpoints:
    """Each method answers one path. Those of the API are in `api`."""

    def __init__(
        self, registry: CollectorRegistry, snapshotter: StatusSnapshotter, store_reader: StoreReader
    ) -> None:
        self.live = EventStream(snapshotter)
        self._registry = registry
        self._snapshotter = snapshotter
        self._store_reader = store_reader
        self._rendering = trio.CapacityLimiter(1)
        pages.load()

    async def overview(self, _request: Request) -> Response:
        """Show health, gap map, symbols and recent runs."""
        runs, view = await self._runs(RECENT_RUNS), await self.live.view()
        rows = list(view.rows.values())
        return await self._html(
            partial(pages.coverage, view.state.health, view.overview, rows, runs)
        )

    async def symbol(self, request: Request) -> Response:
        """Show one symbol: its gaps, candles and runs."""
        name = request.path_params["symbol"]
        row = self._snapshotter.row(name)
        if row is None:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        runs = await self._runs(RECENT_RUNS, symbols=[name])
        return await self._html(partial(pages.symbol, self._snapshotter, row, runs))

    async def runs(self, request: Request) -> Response:
        """Show past runs, a page of them. Parameters that cannot be are passed over."""
        query = request.query_params
        name = query.get("symbol", "").strip().upper() or None
        before, status = query.get("before", ""), query.get("status", "")
        chosen = RunStatus(status) if status in list(RunStatus) else None
        most = RECENT_RUNS if "recent" in query else PAST_RUNS
        known = before.isascii() and before.isdecimal() and len(before) <= _LONGEST_ID
        found = await self._runs(
            most + 1,
            symbols=[name] if name else None,
            statuses=[chosen] if chosen else None,
            before=int(before) if known else None,
        )
        page = None if found is None else found[:most]
        older = page[-1].id if found and page and len(found) > most else None
        return await self._html(partial(pages.past_runs, page, older, name, chosen))

    async def runbook(self, _request: Request) -> Response:
        """Show what to do when an alert fires."""
        return await self._html(pages.runbook)

    async def events(self, _request: Request) -> Response:
        """Stream what changes on the pages."""
        return StreamResponse(self.live)

    async def metrics(self, request: Request) -> Response:
        """Give Prometheus its figures."""
        encode, content_type = _encoder(request.headers.get("Accept", ""))
        zipped = "gzip" in request.headers.get("Accept-Encoding", "")

        def render() -> bytes:
            # Encoding thousands of series takes longer than the event loop may be held.
            text = encode(self._registry)
            return gzip.compress(text, compresslevel=1) if zipped else text

        body = await trio.to_thread.run_sync(render, limiter=self._rendering)
        headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
        if zipped:
            headers["Content-Encoding"] = "gzip"
        return Response(body, headers=headers)

    async def healthz(self, _request: Request) -> Response:
        """Tell that the process lives."""
        return PlainTextResponse("alive\n")

    async def readyz(self, _request: Request) -> Response:
        """Tell whether it is ready, and if not, why."""
        reasons = list(self._snapshotter.not_ready())
        return JSONResponse(
            {"ready": not reasons, "reasons": reasons}, status_code=503 if reasons else 200
        )

    async def refused(self, request: Request, error: Exception) -> Response:
        """Answer what cannot be answered."""
        assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for these
        if error.status_code != HTTPStatus.NOT_FOUND:
            text = f"{error.status_code} {error.detail}\n"
            return PlainTextResponse(text, error.status_code, error.headers)
        return await self._html(partial(pages.missing, request.scope["path"]), HTTPStatus.NOT_FOUND)

    async def _runs(
        self,
        most: int,
        *,
        symbols: Sequence[str] | None = None,
        statuses: Sequence[RunStatus] | None = None,
        before: int | None = None,
    ) -> list[BackfillRun] | None:
        """Return past runs, None when the database cannot be read now."""
        try:
            return await self._store_reader.runs(
                most, symbols=symbols, statuses=statuses, before=before
            )
        except StoreReadError:
            return None

    async def _html(self, render: Callable[[], str], status: int = HTTPStatus.OK) -> Response:
        text = await trio.to_thread.run_sync(render, limiter=self._rendering)
        return HTMLResponse(text, status)


def _encoder(accept: str) -> tuple[Callable[[CollectorRegistry], bytes], str]:
    """Return what writes the metrics in the format that is asked for, and its content type."""
    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):
        # prometheus_client's slip on a version that is no number.
        return choose_encoder("")
