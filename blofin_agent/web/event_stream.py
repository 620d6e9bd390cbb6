"""Live: the page's updates as server-sent events.

What changed is rendered once for all who look, at most once a second, by the templates that made
the page; a page that lost the agent reconnects by itself, which is the browser's own work.
"""

from collections.abc import Awaitable, Callable
from functools import partial

import msgspec
import trio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from blofin_agent.status.snapshot import StatusSnapshotter, SymbolRow
from blofin_agent.web import pages

INTERVAL_S = 1.0
KEEPALIVE_INTERVAL_S = 5.0
"""So often something is sent, so that a page can tell a quiet agent from a lost one."""


class ScriptState(msgspec.Struct, frozen=True):
    """What the page's script goes by. Times in ms since the epoch."""

    version: str
    health: str
    reason: str
    window: tuple[int, int]
    latest_run: int
    """When the last run of all ended, 0 without any: then there is a new one to show."""


class PageState(msgspec.Struct, frozen=True):
    """What a page shows at one moment."""

    state: ScriptState
    overview: str
    rows: dict[str, str]
    """The HTML of each symbol's row."""


class EventStream:
    """Makes views of the board, and streams what changed."""

    def __init__(self, snapshotter: StatusSnapshotter) -> None:
        self._snapshotter = snapshotter
        self._rendering = trio.CapacityLimiter(1)
        self._lock = trio.Lock()
        self._view: PageState | None = None
        self._made_at = -INTERVAL_S
        self._known: dict[str, tuple[SymbolRow, str]] = {}
        self._closing = trio.Event()

    def close(self) -> None:
        """End every stream: the agent stops."""
        self._closing.set()

    async def view(self) -> PageState:
        """Return the view of now, at most a second old."""
        async with self._lock:
            now = trio.current_time()
            if self._view is None or now - self._made_at >= INTERVAL_S:
                self._view = await trio.to_thread.run_sync(self._make, limiter=self._rendering)
                self._made_at = now
            return self._view

    def _make(self) -> PageState:
        rows = self._snapshotter.rows()
        overview = self._snapshotter.overview(rows)
        known = {}
        for row in rows:
            before = self._known.get(row.symbol)
            same = before is not None and before[0] == row
            known[row.symbol] = before if same and before else (row, pages.row_html(row))
        self._known = known
        runs = (row.last_run.finished for row in rows if row.last_run)
        state = ScriptState(
            self._snapshotter.version,
            overview.verdict.health.value,
            overview.verdict.reason,
            overview.window,
            max(runs, default=0),
        )
        html = {symbol: text for symbol, (_, text) in known.items()}
        return PageState(state, pages.overview_html(overview, self._snapshotter), html)

    async def tell(self, say: Callable[[bytes], Awaitable[None]]) -> None:
        """Say the events of one page: all of it first, then what changed, until `close`."""
        shown: PageState | None = None
        told_at = trio.current_time()
        await say(b"retry: 2000\n\n")
        while not self._closing.is_set():
            view = await self.view()
            now = trio.current_time()
            found = _changes(shown, view)
            if found or now - told_at >= KEEPALIVE_INTERVAL_S:
                await say(b"".join(found) or b"event: alive\ndata: \n\n")
                told_at = now
            shown = view
            with trio.move_on_after(INTERVAL_S):
                await self._closing.wait()


class StreamResponse(Response):
    """The answer that never ends by itself."""

    media_type = "text/event-stream"

    def __init__(self, live: EventStream) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["Content-Length"]
        self._live = live

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tell until the page is gone or the agent stops."""
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )

        async def say(body: bytes) -> None:
            await send({"type": "http.response.body", "body": body, "more_body": True})

        async with trio.open_nursery() as nursery:

            async def until_gone() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                nursery.cancel_scope.cancel()

            nursery.start_soon(until_gone)
            if scope["method"] != "HEAD":
                await self._live.tell(say)
            nursery.cancel_scope.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _changes(before: PageState | None, after: PageState) -> list[bytes]:
    """Return the events that make the one view the other."""
    found = []
    if before is None or before.rows != after.rows:
        known = before.rows if before else {}
        rows = {name: html for name, html in after.rows.items() if known.get(name) != html}
        gone = [name for name in known if name not in after.rows]
        # A page that comes back may show symbols that are not watched any more.
        found.append(_event("rows", {"rows": rows, "gone": gone, "all": before is None}))
    if before is None or before.overview != after.overview:
        found.append(_event("overview", after.overview))
    if before is None or before.state != after.state:
        found.append(_event("state", after.state))
    return found


_encode = partial(msgspec.json.encode, order="deterministic")


def _event(name: str, data: object) -> bytes:
    # JSON has no line breaks of its own, which would end the field.
    return b"event: %s\ndata: %s\n\n" % (name.encode(), _encode(data))
