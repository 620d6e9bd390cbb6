"""The ASGI app: what is served where, and who may ask."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from blofin_agent.status.snapshot import StatusSnapshotter
from blofin_agent.status.store_reader import StoreReader
from blofin_agent.web.access_control import AccessControl, AccessPolicy
from blofin_agent.web.api import PREFIX, create_api
from blofin_agent.web.endpoints import Endpoints


@dataclass(frozen=True, slots=True)
class WebApp:
    """The app, and how to end its streams when the agent stops."""

    app: ASGIApp
    close: Callable[[], None]


class _Static(StaticFiles):
    """Files that the browser asks for anew each time, and mostly has already."""

    def file_response(self, *args: object, **how: object) -> Response:
        answer = super().file_response(*args, **how)  # type: ignore[arg-type]
        answer.headers["Cache-Control"] = "no-cache"
        return answer


def create_app(
    registry: CollectorRegistry,
    snapshotter: StatusSnapshotter,
    store_reader: StoreReader,
    access: AccessPolicy,
) -> WebApp:
    """Return the site."""
    ends = Endpoints(registry, snapshotter, store_reader)
    app = Starlette(
        routes=[
            Route("/", ends.overview),
            Route("/symbols/{symbol}", ends.symbol),
            Route("/runs", ends.runs),
            Route("/runbook", ends.runbook),
            Route("/events", ends.events),
            Route("/metrics", ends.metrics),
            Route("/healthz", ends.healthz),
            Route("/readyz", ends.readyz),
            Route("/openapi.json", lambda _: RedirectResponse(f"{PREFIX}/openapi.json")),
            Mount(PREFIX, create_api(snapshotter, store_reader)),
            Mount("/static", _Static(directory=str(resources.files(__package__) / "static"))),
        ],
        exception_handlers={HTTPException: ends.refused},
    )
    guarded = AccessControl(app, names=access.names, wide=access.wide, token=access.token)
    return WebApp(guarded, ends.live.close)
