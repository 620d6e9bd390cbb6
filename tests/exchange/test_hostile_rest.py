"""Laws of asking a BloFin that means ill: over real sockets, bounded in time and in memory."""

import gzip
import json
import tracemalloc
import zlib
from functools import cache

import pytest
import trio

from blofin_agent.domain.candle import MINUTE, Timeframe
from blofin_agent.domain.errors import (
    Banned,
    ExchangeError,
    InvalidResponse,
    RateLimited,
    RequestTimedOut,
    Unreachable,
)
from blofin_agent.domain.page_plan import PageRequest
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.exchange.rest_client import MAX_BODY_BYTES, RestClient, client

NOW = 1_790_000_040_000
AT = NOW // MINUTE * MINUTE
GOOD = json.dumps(
    {"code": "0", "data": [[str(AT - MINUTE), "2", "3", "1", "2", "10", "0.5", "20", "1"]]}
).encode()
MB = 1_000_000

pytestmark = pytest.mark.filterwarnings(
    # httpx leaves its inner generators to the collector when one stops reading.
    "ignore::pytest.PytestUnraisableExceptionWarning"
)


def head(status=200, *lines, length=None):
    sized = () if length is None else (f"Content-Length: {length}",)
    return "\r\n".join([f"HTTP/1.1 {status} X", *lines, *sized, "", ""]).encode("latin-1")


def gzipped(body, *lines, status=200):
    return head(status, "Content-Encoding: gzip", *lines, length=len(body)) + body


@cache
def bomb(megabytes):
    """Return so many MB of zeros, compressed a thousandfold."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join([*(deflate.compress(bytes(MB)) for _ in range(megabytes)), deflate.flush()])


async def asked(answer, *, again=None, every_s=0.0, deadline_s=60.0):
    """Ask a peer that says `answer`, and then `again` for ever; return what came of it."""
    seen = []

    async def peer(stream):
        try:
            seen.append(await stream.receive_some(65_536))
            await stream.send_all(answer)
            while again is not None:
                await trio.sleep(every_s)
                await stream.send_all(again)
            await stream.aclose()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, peer, [listener])
        async with client(f"http://127.0.0.1:{port}", "1") as http:
            rest = RestClient(http, lambda: NOW, deadline_s)
            try:
                came = await rest.candles(
                    "A-B", Timeframe.M1, PageRequest(AT, 100), TimeRange(0, AT), AT
                )
            except ExchangeError as error:
                came = error
        nursery.cancel_scope.cancel()
    assert len(seen) == 1, "asked once, and nobody else"
    text = str(came)
    assert text.isprintable()
    assert len(text) < 2_000
    return came


async def test_a_compressed_page_is_read():
    """As gzip, the one encoding that is asked for."""
    came = await asked(gzipped(gzip.compress(GOOD)))
    assert came.rows == 1


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        (lambda: bomb(100), ()),
        pytest.param(
            lambda: gzip.compress(bomb(1_000)),
            ("Content-Encoding: gzip",),
            marks=pytest.mark.slow("compresses a gigabyte"),
        ),
        (lambda: bomb(1)[:500], ()),
        (lambda: b"no gzip", ()),
        (lambda: gzip.compress(GOOD) + b"x" * MAX_BODY_BYTES, ()),
    ],
    ids=["bomb", "bomb in a bomb", "cut", "junk", "endless"],
)
async def test_no_compressed_answer_fills_memory(body, lines):
    """What it holds is not made before it is known to be short enough."""
    answer = gzipped(body(), *lines)
    tracemalloc.start()
    try:
        came = await asked(answer, deadline_s=10)
        assert tracemalloc.get_traced_memory()[1] < 6 * MAX_BODY_BYTES
    finally:
        tracemalloc.stop()
    assert isinstance(came, InvalidResponse)


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, gzip", "x\x9b31m"])
async def test_another_encoding_is_not_read(encoding):
    """It was not asked for."""
    came = await asked(head(200, f"Content-Encoding: {encoding}", length=len(GOOD)) + GOOD)
    assert isinstance(came, InvalidResponse)


@pytest.mark.parametrize(
    ("answer", "again", "error"),
    [
        (
            head(200, "Transfer-Encoding: chunked"),
            b"10000\r\n" + b" " * 65_536 + b"\r\n",
            InvalidResponse,
        ),
        (head(200), b" " * 65_536, InvalidResponse),
        (head(200, length=64 * MB), b"[" * 65_536, InvalidResponse),
        (b"HTTP/1.1 200 OK\r\n", b"X-A: " + b"a" * 65_536, Unreachable),
        (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n" * 4_000, Unreachable),
        (b"", b"\x1b[31m\n\xff" * 5_000, Unreachable),
        (b"HTTP/1.1 200 OK\r\n\x1b[31m: " + b"\xff" * 5_000 + b"\r\n\r\n", None, Unreachable),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 500, RequestTimedOut),
        (b"", b"HTTP/1.1 103 X\r\nLink: x\r\n\r\n" * 500, RequestTimedOut),
        (head(301, "Location: http://127.0.0.1:1/", length=0), None, InvalidResponse),
        (head(307, "Location: http://user:pass@127.0.0.1:1/", length=0), None, InvalidResponse),
        (head(200, "Content-Type: text/html", length=6) + b"<html>", None, InvalidResponse),
        (head(200, "Content-Length: -5"), None, Unreachable),
        (head(200, length="9" * 5_000), None, Unreachable),
    ],
)
async def test_floods_and_nonsense_are_given_up(answer, again, error):
    """Bodies, headers and interim answers without end; redirects, which are not followed."""
    # What is refused is so however slow the machine is; what times out need not take long.
    came = await asked(answer, again=again, deadline_s=1 if error is RequestTimedOut else 60)
    assert isinstance(came, error)


async def test_dripping_bytes_do_not_hold_it_up():
    """Neither of the headers nor of the body: the deadline is for the whole."""
    for begin in (b"HTTP/1.1 200 OK\r\n", head(200, length=99)):
        begun = trio.current_time()
        came = await asked(begin, again=b"a", every_s=0.1, deadline_s=1)
        assert isinstance(came, RequestTimedOut)
        assert trio.current_time() - begun < 3


@pytest.mark.parametrize(("status", "error"), [(403, Banned), (429, RateLimited)])
@pytest.mark.parametrize(
    ("answer", "again"),
    [
        (lambda status: gzipped(bomb(100), status=status), None),
        (lambda status: gzipped(b"no gzip", status=status), None),
        (lambda status: head(status, length=99), b" "),
        (head, b" " * 65_536),
    ],
    ids=["bomb", "junk", "drips", "flood"],
)
async def test_no_body_hides_a_ban(status, error, answer, again):
    """Who reads on would not hear that all requests must stop."""
    came = await asked(answer(status), again=again, every_s=0.01, deadline_s=1)
    assert isinstance(came, error)
