"""Laws of asking BloFin: every outcome has one name, and no foreign exception crosses."""

import contextlib
import gzip
import json
from datetime import UTC, datetime
from email.utils import format_datetime
from json import dumps as to_json

import httpx
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from blofin_agent.domain.candle import MINUTE, Timeframe
from blofin_agent.domain.errors import (
    Banned,
    ExchangeError,
    InvalidResponse,
    RateLimited,
    RequestRejected,
    RequestTimedOut,
    ServerError,
    Unreachable,
)
from blofin_agent.domain.page_plan import PageRequest
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.exchange import rest_client as rest_module
from blofin_agent.exchange.rest_client import RestClient, client

NOW = 1_790_000_000_000
AT = NOW // MINUTE * MINUTE
ROW = [str(AT - MINUTE), "2", "3", "1", "2", "10", "0.5", "20", "1"]
GOOD = {"code": "0", "msg": "success", "data": [ROW]}
URL = "https://blofin.test"


def scripted(handler, deadline_s=20.0):
    """Return a Rest whose BloFin is a function from request to response."""
    inner = httpx.AsyncClient(base_url=URL, transport=httpx.MockTransport(handler))
    return RestClient(inner, lambda: NOW, deadline_s)


def unread(status, *, json=None, html=None, content=b"", headers=None):
    """Return a response whose body is still to come, as from a socket."""
    if json is not None:
        content = to_json(json).encode()
    elif html is not None:
        content = html.encode()
    return httpx.Response(status, headers=headers, content=once(content))


async def once(content):
    if not isinstance(content, bytes):
        async for part in content:
            yield part
    else:
        yield content


def answering(*, status=200, **how):
    return scripted(lambda _request: unread(status, **how))


async def page(rest):
    return await rest.candles("BTC-USDT", Timeframe.M1, PageRequest(AT, 100), TimeRange(0, AT), AT)


async def test_a_page_is_asked_for_as_documented():
    """instId, bar, after and limit; the answer's rows become candles."""
    seen = []

    def handler(request):
        seen.append(request)
        return unread(200, json=GOOD)

    answer = await page(scripted(handler))
    assert [candle.open_time for candle in answer.candles] == [AT - MINUTE]
    assert seen[0].method == "GET"
    assert seen[0].url.path == "/api/v1/market/candles"
    assert dict(seen[0].url.params) == {
        "instId": "BTC-USDT",
        "bar": "1m",
        "after": str(AT),
        "limit": "100",
    }


async def test_instruments_are_asked_for_as_documented():
    """All of them at once."""
    seen = []

    def handler(request):
        seen.append(str(request.url))
        listing = {"instId": "BTC-USDT", "listTime": "5", "state": "live"}
        return unread(200, json={"code": "0", "data": [listing]})

    ((one,), bad) = await scripted(handler).instruments()
    assert bad == []
    assert (one.symbol, one.list_time) == ("BTC-USDT", 5)
    assert seen == [URL + "/api/v1/market/instruments"]


# httpx leaves its inner generators to the collector when one stops reading.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({"status": 429}, RateLimited),
        ({"status": 429, "html": "<h1>Too Many Requests</h1>"}, RateLimited),
        ({"status": 403}, Banned),
        ({"status": 403, "html": "<h1>Forbidden</h1>"}, Banned),
        ({"status": 500}, ServerError),
        ({"status": 502, "html": "<h1>Bad Gateway</h1>"}, ServerError),
        ({"status": 503, "json": GOOD}, ServerError),
        (
            {"status": 400, "json": {"code": "152002", "msg": "Parameter limit error"}},
            RequestRejected,
        ),
        ({"status": 404, "html": "<h1>Not Found</h1>"}, RequestRejected),
        ({"status": 401, "json": {"code": "500", "msg": "internal"}}, ServerError),
        ({"status": 400, "json": GOOD}, InvalidResponse),
        ({"status": 301, "headers": {"Location": "https://elsewhere.test"}}, InvalidResponse),
        ({"status": 302}, InvalidResponse),
        ({"status": 204}, InvalidResponse),
        ({"status": 201, "json": GOOD}, InvalidResponse),
        ({"json": {"code": "152014", "msg": "Instrument does not exist"}}, RequestRejected),
        ({"json": {"code": 500, "msg": "internal"}}, ServerError),
        ({"json": {"code": "429", "msg": "too many"}}, RateLimited),
        ({"json": {"code": "403", "msg": "firewall"}}, Banned),
        ({"html": "<html>maintenance</html>"}, InvalidResponse),
        ({"content": b""}, InvalidResponse),
        ({"content": json.dumps(GOOD).encode()[:-9]}, InvalidResponse),
        ({"content": b"\xff\xfe\x00"}, InvalidResponse),
        ({"json": []}, InvalidResponse),
        ({"json": {"code": "0", "data": "none"}}, InvalidResponse),
        ({"json": {"msg": "success", "data": [ROW]}}, InvalidResponse),
        ({"content": b"junk", "headers": {"Content-Encoding": "gzip"}}, InvalidResponse),
        (
            {"content": gzip.compress(b"x" * 999)[:40], "headers": {"Content-Encoding": "gzip"}},
            InvalidResponse,
        ),
    ],
)
async def test_every_answer_that_is_no_page_has_its_name(how, error):
    """HTTP statuses, BloFin's codes, pages of a proxy, half answers."""
    with pytest.raises(error) as caught:
        await page(answering(**how))
    assert type(caught.value) is error
    assert len(str(caught.value)) < 400


async def test_a_refusal_carries_blofins_code():
    """With HTTP 200, 400, or none of BloFin's own."""
    with pytest.raises(RequestRejected) as caught:
        await page(answering(status=400, json={"code": "152002", "msg": "Parameter error"}))
    assert caught.value.code == "152002"
    with pytest.raises(RequestRejected) as caught:
        await page(answering(status=404))
    assert (caught.value.code, str(caught.value)) == (
        "404",
        "BloFin refused the request: HTTP 404 (404)",
    )


def http_date(ahead_s):
    return format_datetime(datetime.fromtimestamp(NOW / 1000 + ahead_s, UTC), usegmt=True)


@pytest.mark.parametrize("status", [429, 403])
@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("30", 30.0),
        ("0", 0.0),
        ("1.5", 1.5),
        (" 7 ", 7.0),
        (http_date(90), 90.0),
        (http_date(-90), None),
        ("-5", None),
        ("nan", None),
        ("soon", None),
        ("", None),
        ("Mon, 99 Foo 2026", None),
        ("Thu, 01 Jan 1970 00:00:00", None),
        ("Sun, 06 Nov 99999 08:49:37 GMT", None),
        ("Sun, 06 Nov 99999999999999999999 08:49:37 GMT", None),
        (None, None),
    ],
)
async def test_retry_after_is_seconds_or_a_date(status, header, seconds):
    """Anything else, and what is past, is as if it were absent."""
    headers = {} if header is None else {"Retry-After": header}
    with pytest.raises((RateLimited, Banned)) as caught:
        await page(answering(status=status, headers=headers))
    assert caught.value.retry_after == seconds


@given(header=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40))
def test_no_retry_after_raises_anything_else(header):
    """Whatever a proxy puts there."""
    with pytest.raises(RateLimited) as caught:
        trio.run(page, answering(status=429, headers={"Retry-After": header}))
    assert caught.value.retry_after is None or caught.value.retry_after >= 0


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (httpx.ConnectError("no route to host"), Unreachable),
        (httpx.ConnectError(""), Unreachable),
        (httpx.ReadError("reset"), Unreachable),
        (httpx.RemoteProtocolError("half an answer"), Unreachable),
        (httpx.ProxyError("no proxy"), Unreachable),
        (httpx.UnsupportedProtocol("ftp"), Unreachable),
        (httpx.ConnectTimeout("slow"), RequestTimedOut),
        (httpx.ReadTimeout("slow"), RequestTimedOut),
        (httpx.PoolTimeout("slow"), RequestTimedOut),
        (httpx.DecodingError("no gzip"), InvalidResponse),
    ],
)
async def test_no_exception_of_httpx_crosses(error, ours):
    """Each becomes one of ours, with a sentence."""

    def handler(_request):
        raise error

    with pytest.raises(ours) as caught:
        await page(scripted(handler))
    assert caught.value.__cause__ is None
    assert str(caught.value)
    if ours is Unreachable:
        assert "cannot reach BloFin at blofin.test: " in str(caught.value)


async def test_an_answer_without_end_is_given_up(autojump_clock):
    """The deadline is for the whole question, not for each piece."""

    async def drips():
        while True:
            await trio.sleep(5)
            yield b" "

    begun = trio.current_time()
    with pytest.raises(RequestTimedOut) as caught:
        await page(answering(content=drips()))
    assert trio.current_time() - begun == 20
    assert str(caught.value) == "BloFin did not answer within 20 s"


# httpx leaves its inner generators to the collector when one stops reading.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_an_answer_that_is_too_long_is_given_up(monkeypatch):
    """Memory is not BloFin's to fill."""
    monkeypatch.setattr(rest_module, "MAX_BODY_BYTES", 1_000)

    async def floods():
        while True:
            yield b"x" * 600

    with pytest.raises(InvalidResponse, match="longer than 1000 bytes"):
        await page(answering(content=floods()))


async def test_a_real_peer_that_closes_early_is_unreachable(nursery):
    """Over a real socket; nothing listening is unreachable too."""

    async def peer(stream):
        await stream.receive_some(4_096)
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf")
        await stream.aclose()

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    async with trio.open_nursery() as inner:
        inner.start_soon(trio.serve_listeners, peer, [listener])
        async with client(f"http://127.0.0.1:{port}", "1") as http:
            with pytest.raises(Unreachable):
                await page(RestClient(http, lambda: NOW))
        inner.cancel_scope.cancel()
    async with client(f"http://127.0.0.1:{port}", "1") as http:
        with pytest.raises(Unreachable):
            await page(RestClient(http, lambda: NOW))


async def test_the_moment_of_sending_is_noted(nursery):
    """By trio's clock, once the request is really on the wire; the client says who it is."""
    heads = []

    async def peer(stream):
        heads.append(await stream.receive_some(4_096))
        body = json.dumps(GOOD).encode()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    async with trio.open_nursery() as inner:
        inner.start_soon(trio.serve_listeners, peer, [listener])
        async with client(f"http://127.0.0.1:{port}", "1.2.3") as http:
            rest = RestClient(http, lambda: NOW)
            assert rest.last_sent == -1
            before = trio.current_time()
            assert (await page(rest)).rows == 1
            assert before <= rest.last_sent <= trio.current_time()
        inner.cancel_scope.cancel()
    assert b"blofin-agent/1.2.3" in heads[0]


async def test_a_bug_in_the_way_is_not_hidden():
    """What is no network error is raised as it is."""

    def handler(_request):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await page(scripted(handler))


@given(body=st.binary(max_size=200), status=st.sampled_from([200, 302, 400, 403, 429, 500]))
def test_any_answer_is_a_page_or_an_error_of_ours(body, status):
    """No bytes with any status make anything else."""

    async def ask():
        with contextlib.suppress(ExchangeError):
            await page(answering(status=status, content=body))

    trio.run(ask)
