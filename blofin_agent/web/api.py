"""API: the JSON interface under /api/v1, for reading only."""

from collections.abc import Callable
from http import HTTPStatus
from itertools import islice
from typing import Annotated, NamedTuple
from urllib.parse import urlencode

import trio
from fastapi import FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response

from blofin_agent import __version__
from blofin_agent.coverage.tracker import health_of
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.status.snapshot import StatusSnapshotter
from blofin_agent.status.store_reader import StoreReader, StoreReadError
from blofin_agent.web import models, openapi
from blofin_agent.web.problem_details import problem
from blofin_agent.web.query_params import (
    NAME,
    CandlesQuery,
    GapsQuery,
    MapQuery,
    RunsQuery,
    SymbolsQuery,
)
from blofin_agent.web.status_model import StatusModel

PREFIX = "/api/v1"


class UnknownSymbol(Exception):
    """A symbol that is asked for is not watched."""


class _Cursor(NamedTuple):
    """The last gap of a page."""

    symbol: str
    start: int

    @classmethod
    def read(cls, text: str | None) -> "_Cursor":
        symbol, _, start = (text or ":-1").partition(":")
        return cls(symbol, int(start))


class ApiEndpoints:
    """Each method answers one path. Its docstring stands in the OpenAPI document."""

    def __init__(self, snapshotter: StatusSnapshotter, store_reader: StoreReader) -> None:
        self._snapshotter = snapshotter
        self._store_reader = store_reader
        self._bar = snapshotter.tracker.bar.value
        # Building and encoding thousands of rows takes longer than the event loop may be held.
        self._working = trio.CapacityLimiter(2)

    async def status(self) -> Response:
        """Tell how everything is: health and why, budget, suspension, connections."""
        snapshotter = self._snapshotter
        return await self._answer(
            lambda: StatusModel.of(
                snapshotter.overview(), __version__, self._bar, list(snapshotter.not_ready())
            )
        )

    async def coverage(self, query: Annotated[SymbolsQuery, Query()]) -> Response:
        """Tell how complete each symbol is, the least complete first."""
        wanted = self._watched(query.symbol)

        def build() -> models.CoverageModel:
            rows = [
                row for row in self._snapshotter.rows() if wanted is None or row.symbol in wanted
            ]
            return models.CoverageModel(
                health=health_of(row.count for row in rows),
                bar=self._bar,
                window=models.WindowModel.of(self._snapshotter.tracker.window()),
                symbols=[models.SymbolModel.of(row) for row in rows],
            )

        return await self._answer(build)

    async def symbol(self, symbol: Annotated[str, Path(pattern=NAME)]) -> Response:
        """Tell how complete one symbol is."""
        row = self._snapshotter.row(symbol)
        if row is None:
            raise UnknownSymbol(symbol)
        return await self._answer(lambda: models.SymbolModel.of(row))

    async def gaps(self, query: Annotated[GapsQuery, Query()]) -> Response:
        """List each missing stretch of the window and why it is missing, by symbol and time."""
        wanted, after = self._watched(query.symbol), _Cursor.read(query.after)

        def build() -> models.GapsModel:
            gaps = self._snapshotter.gaps(wanted)
            later = (gap for gap in gaps if (gap.symbol, gap.span.start) > after)
            found = list(islice(later, query.limit + 1))
            page, more = found[: query.limit], None
            if len(found) > len(page):
                last = page[-1]
                more = _next("gaps", query, after=f"{last.symbol}:{last.span.start}")
            return models.GapsModel(
                bar=self._bar,
                window=models.WindowModel.of(self._snapshotter.tracker.window()),
                gaps=[models.GapModel.of(gap) for gap in page],
                next_url=more,
            )

        return await self._answer(build)

    async def gap_map(self, query: Annotated[MapQuery, Query()]) -> Response:
        """Tell what each symbol holds, column by column of the window."""
        wanted = self._watched(query.symbol)
        return await self._answer(
            lambda: models.GapMapModel.of(
                self._snapshotter.gap_map(query.columns, wanted), self._bar
            )
        )

    async def runs(self, query: Annotated[RunsQuery, Query()]) -> Response:
        """List past runs of the backfill, the newest first."""
        found = await self._store_reader.runs(
            query.limit + 1, symbols=query.symbol, statuses=query.status, before=query.before
        )
        page = found[: query.limit]
        more = _next("runs", query, before=page[-1].id) if len(found) > len(page) else None
        return await self._answer(
            lambda: models.RunsModel(runs=[models.RunModel.of(run) for run in page], next_url=more)
        )

    async def candles(self, query: Annotated[CandlesQuery, Query()]) -> Response:
        """List stored candles of one symbol, the oldest first."""
        span = TimeRange(query.since, query.until)
        found = await self._store_reader.candles(query.symbol, span, query.limit + 1)
        if not found:
            self._watched([query.symbol])
        page = found[: query.limit]
        more = None
        if len(found) > len(page):
            more = _next("candles", query, since=found[-1].open_time)
        return await self._answer(
            lambda: models.CandlesModel(
                symbol=query.symbol,
                bar=self._bar,
                candles=[models.CandleModel(**one._asdict()) for one in page],
                next_url=more,
            )
        )

    def _watched(self, symbols: list[str] | None) -> list[str] | None:
        """Return the symbols as they are. Raises NotWatched."""
        unknown = sorted(set(symbols or ()) - set(self._snapshotter.tracker.histories))
        if unknown:
            raise UnknownSymbol(unknown[0])
        return symbols

    async def _answer(self, build: Callable[[], BaseModel]) -> Response:
        def work() -> bytes:
            return build().model_dump_json().encode()

        body = await trio.to_thread.run_sync(work, limiter=self._working)
        return Response(body, media_type="application/json")


def create_api(snapshotter: StatusSnapshotter, store_reader: StoreReader) -> FastAPI:
    """Return the application to be mounted at /api/v1."""
    api = FastAPI(
        title="blofin-agent",
        version=__version__,
        description="How complete the stored BloFin candles are, and what is done about it. "
        "Times are ms since the epoch, UTC; shares are from 0 to 1.",
        servers=[{"url": PREFIX}],
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses=openapi.problems(400, 401),
        telemetry={"tracing": False, "metrics": False},
        exception_handlers={
            HTTPException: _http_error,
            RequestValidationError: _wrong_parameter,
            UnknownSymbol: _not_watched,
            StoreReadError: _away,
            Exception: _fault,
        },
    )
    answers = ApiEndpoints(snapshotter, store_reader)
    for path, method, model, statuses in (
        ("/status", answers.status, StatusModel, ()),
        ("/coverage", answers.coverage, models.CoverageModel, (404, 422)),
        ("/coverage/{symbol}", answers.symbol, models.SymbolModel, (404, 422)),
        ("/gaps", answers.gaps, models.GapsModel, (404, 422)),
        ("/map", answers.gap_map, models.GapMapModel, (404, 422)),
        ("/runs", answers.runs, models.RunsModel, (422, 503)),
        ("/candles", answers.candles, models.CandlesModel, (404, 422, 503)),
    ):
        api.add_api_route(path, method, response_model=model, responses=openapi.problems(*statuses))
    openapi.finish(api)
    return api


def _next(path: str, query: BaseModel, **changes: object) -> str:
    """Return the address of the next page: the same question, further on."""
    asked = query.model_dump(mode="json", exclude_none=True, exclude_defaults=True) | changes
    return f"{PREFIX}/{path}?{urlencode(asked, doseq=True)}"


# -- errors ---------------------------------------------------------------------------------------


async def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for these
    return problem(error.status_code, str(error.detail), headers=error.headers)


async def _wrong_parameter(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - likewise
    errors = [
        {"parameter": ".".join(str(part) for part in one["loc"][1:]), "detail": one["msg"]}
        for one in error.errors()
    ]
    names = ", ".join(sorted({one["parameter"] for one in errors}))
    return problem(
        HTTPStatus.UNPROCESSABLE_ENTITY, f"these parameters cannot be: {names}", errors=errors
    )


async def _not_watched(_request: Request, error: Exception) -> Response:
    return problem(
        HTTPStatus.NOT_FOUND, f"{error} is not watched here; {PREFIX}/coverage lists what is"
    )


async def _away(_request: Request, error: Exception) -> Response:
    return problem(
        HTTPStatus.SERVICE_UNAVAILABLE, f"{error}; try again later", headers={"Retry-After": "5"}
    )


async def _fault(_request: Request, _error: Exception) -> Response:
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR, "a fault of the agent's own; its log has the details"
    )
