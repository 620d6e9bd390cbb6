"""Queries: whatever a browser, a scraper or a stranger may send to the web server."""

import json
import math
from functools import cache
from urllib.parse import unquote

import trio

from tests.fuzz import laws
from tests.web.conftest import Site

METHODS = ("GET", "HEAD", "POST", "OPTIONS")
STATUSES = {200, 206, 304, 307, 400, 401, 404, 405, 416, 422, 503}
MARK = b"<q\"'&>"
SEEDS = (
    b"/",
    b"/symbols/BTC-USDT",
    b"/runs?symbol=BTC-USDT&status=partial&before=3&recent=1",
    b"/metrics\nAccept: application/openmetrics-text; version=1.0.0; escaping=dots",
    b"/metrics\nAccept: text/plain; version=x.y\nAccept-Encoding: gzip",
    b"/api/v1/gaps?symbol=BTC-USDT&limit=1&after=BTC-USDT:5",
    b"/api/v1/candles?symbol=BTC-USDT&since=1&until=9&limit=2",
    b"/api/v1/map?columns=10",
    b"/api/v1/runs?status=failed&before=1",
    b"/api/v1/coverage/ETH-USDT",
    b"/static/style.css\nRange: bytes=0-5,7-9\nIf-Modified-Since: Mon, 01 Jan 2024 00:00:00 GMT",
    b"/events",
    b"/healthz\nHost: elsewhere\nAuthorization: Basic !!!",
)


@cache
def _site() -> Site:
    site = Site(laws.NOW)
    site.hold("BTC-USDT", but=(3, 4, 30))
    site.hold("ETH-USDT")
    site.ran("BTC-USDT", note="a note")
    return site


def queries(data: bytes) -> None:
    """A request gets one answer, whole, with a status of those that are meant, and no fault.

    A first line `/path?query`, then headers, one a line.
    """
    target, *lines = data.split(b"\n")
    raw, _, query = target.partition(b"?")
    headers = [(b"host", b"agent")]
    for line in lines[:20]:
        name, _, value = line.partition(b":")
        headers.append((name.strip().lower(), value.strip()))
    if lines and lines[0].lower().startswith(b"host:"):
        del headers[0]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": METHODS[len(lines) // 5 % len(METHODS)],
        "scheme": "http",
        # As hypercorn does it.
        "path": unquote(raw.decode("latin-1")),
        "raw_path": raw,
        "query_string": query,
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8780),
    }
    sent = trio.run(_ask, scope)
    starts = [message for message in sent if message["type"] == "http.response.start"]
    assert len(starts) == 1
    _is_answered(int(starts[0]["status"]), dict(starts[0]["headers"]), _body(sent), scope)


async def _ask(scope: dict[str, object]) -> list[dict]:
    sent: list[dict] = []

    async def receive() -> dict[str, object]:
        # Only `/events` would not end: that page goes away at once.
        await trio.sleep(0.001 if scope["path"] == "/events" else math.inf)
        return {"type": "http.disconnect"}

    async def send(message) -> None:
        sent.append(dict(message))

    with trio.fail_after(20):
        await _site().app(scope, receive, send)
    return sent


def _body(sent: list[dict]) -> bytes:
    return b"".join(message.get("body", b"") for message in sent)


def _is_answered(status: int, headers: dict[bytes, bytes], body: bytes, scope: dict) -> None:
    assert status in STATUSES, status
    for name, value in headers.items():
        assert not set(name + value) & set(b"\r\n\0"), (name, value)
    assert headers[b"x-content-type-options"] == b"nosniff"
    kind = headers.get(b"content-type", b"")
    if scope["method"] != "HEAD":
        if b"content-length" in headers:
            assert int(headers[b"content-length"]) == len(body)
        if b"json" in kind:
            json.loads(body)
    if kind.startswith(b"text/html"):
        assert MARK not in body
        assert body.count(b"<script") == body.count(b'<script src="/static/') + body.count(
            b'<script type="module" src="/static/'
        )
