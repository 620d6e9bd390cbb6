"""Laws of what is served: figures for Prometheus, health, and the page, all from memory."""

import gzip
import re
import socket

import httpx
import pytest
import trio
from prometheus_client.openmetrics.parser import text_string_to_metric_families as strict
from prometheus_client.parser import text_string_to_metric_families as plain

from blofin_agent.core.candle import MINUTE, Bar
from blofin_agent.core.coverage import Coverage, Span
from blofin_agent.core.history import History
from blofin_agent.core.proof import Proof
from blofin_agent.metrics import Metrics
from blofin_agent.watch import Watch
from blofin_agent.web.app import create_app
from blofin_agent.web.serve import bind, serve

OPENMETRICS = "application/openmetrics-text;version=1.0.0"


class Site:
    """The app over a watch of two symbols, served on a real socket."""

    def __init__(self, end):
        self.watch = Watch(Bar.M1, 1, 15_000, lambda: end + 15_000)
        self.metrics = Metrics(self.watch, "1.2.3", "sqlite")
        self.reasons = []
        for symbol in ("BTC-USDT", "ETH-USDT"):
            self.add(symbol)
        self.app = create_app(self.metrics.registry, self.watch, lambda: self.reasons)

    def add(self, symbol):
        self.watch.histories[symbol] = History(symbol, Bar.M1)
        self.metrics.add_symbol(symbol)


@pytest.fixture
def site(end):
    return Site(end)


@pytest.fixture
async def http(site, nursery):
    """Serve the site under hypercorn on a free port; yield a client for it."""
    bound = bind("127.0.0.1", 0)
    port = bound.getsockname()[1]
    stop = trio.Event()
    await nursery.start(serve, site.app, bound, stop.wait)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        yield client
    stop.set()


async def test_metrics_in_text(site, http):
    """What a plain client gets, readable by the parser of that format."""
    site.watch.loaded = True
    answer = await http.get("/metrics", headers={"Accept-Encoding": "identity"})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    assert "Content-Encoding" not in answer.headers
    names = {family.name for family in plain(answer.text)}
    assert {"blofin_coverage_ratio", "blofin_candles_written", "process_cpu_seconds"} <= names


async def test_metrics_in_openmetrics(site, http):
    """What Prometheus asks for, read by the strict parser."""
    site.watch.loaded = True
    answer = await http.get("/metrics", headers={"Accept": OPENMETRICS})
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert answer.headers["Vary"] == "Accept, Accept-Encoding"
    assert "blofin_health" in {family.name for family in strict(answer.text)}


async def test_metrics_zipped(site, http):
    """When asked for; the length is that of the zipped body."""
    async with http.stream("GET", "/metrics", headers={"Accept-Encoding": "gzip"}) as answer:
        body = b"".join([part async for part in answer.aiter_raw()])
    assert answer.headers["Content-Encoding"] == "gzip"
    assert int(answer.headers["Content-Length"]) == len(body)
    assert b"blofin_store_up" in gzip.decompress(body)


async def test_alive_is_alive(http):
    """Whatever else is wrong."""
    answer = await http.get("/healthz")
    assert (answer.status_code, answer.text) == (200, "alive\n")


async def test_ready_says_why_not(site, http):
    """503 with every reason, then 200."""
    site.reasons = ["the stored candles are being counted", "the database cannot be used now"]
    answer = await http.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "reasons": site.reasons}
    site.reasons = []
    answer = await http.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "reasons": []})


def cells(text):
    """Return the page's table, row by row."""
    rows = re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL)
    return [re.findall(r"<td>(.*?)</td>", row, re.DOTALL) for row in rows[1:]]


async def test_the_page_shows_the_figures_worst_first(site, http, end):
    """Coverage, held, expected, missing, unavailable, newest candle; and the worst one's health."""
    site.watch.loaded = True
    whole, half = site.watch.histories["BTC-USDT"], site.watch.histories["ETH-USDT"]
    whole.held = Coverage.of(Bar.M1, range(end - 60 * MINUTE, end, MINUTE))
    half.held = Coverage.of(Bar.M1, range(end - 30 * MINUTE, end, MINUTE))
    half.proofs = [Proof(Span(end - 33 * MINUTE, end - 31 * MINUTE), end, 1, end)]
    site.add("NEW-USDT")
    answer = await http.get("/")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    newest = "2026-09-21 14:12"
    assert cells(answer.text) == [
        ["NEW-USDT", "0.0 %", "0", "60", "60", "0", "none"],
        ["ETH-USDT", "50.0 %", "30", "60", "30", "2", newest],
        ["BTC-USDT", "100.0 %", "60", "60", "0", "0", newest],
    ]
    assert '<span class="CRITICAL">CRITICAL</span>' in answer.text
    assert "Missing minutes" in answer.text


async def test_a_page_without_symbols_is_not_well(site, http):
    """Nothing watched is no good news; nor is it a broken page."""
    site.watch.loaded = True
    site.watch.histories.clear()
    answer = await http.get("/")
    assert answer.status_code == 200
    assert cells(answer.text) == []
    assert '<span class="CRITICAL">' in answer.text


async def test_the_page_says_that_the_store_is_still_read(http):
    """No figure before there is one."""
    answer = await http.get("/")
    assert "reading the store" in answer.text
    assert cells(answer.text) == []


async def test_the_page_escapes_what_the_exchange_named(site, http):
    """A symbol is foreign text."""
    site.watch.loaded = True
    site.add("<script>alert(1)</script>")
    answer = await http.get("/")
    assert "<script>" not in answer.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in answer.text
    assert "script-src" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'self'")


async def test_nothing_else_is_served(http):
    """404 for other paths, 405 for other methods."""
    assert (await http.get("/etc/passwd")).status_code == 404
    assert (await http.post("/metrics")).status_code == 405
    assert (await http.head("/healthz")).status_code == 200


async def test_the_server_says_nothing_of_itself(http):
    """No header names its software."""
    assert "server" not in (await http.get("/healthz")).headers


async def test_many_clients_at_once_are_served(site, http):
    """The event loop is not held while a scrape renders."""
    site.watch.loaded = True
    answers = []

    async def one(path):
        answers.append((await http.get(path)).status_code)

    async with trio.open_nursery() as nursery:
        for path in ["/metrics", "/", "/healthz", "/readyz"] * 8:
            nursery.start_soon(one, path)
    assert answers == [200] * 32


async def test_the_app_works_without_a_socket_too(site):
    """It is plain ASGI."""
    transport = httpx.ASGITransport(app=site.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://agent") as client:
        assert (await client.get("/metrics")).status_code == 200


async def test_the_server_ends_when_it_is_told(site):
    """And its port is free again."""
    bound = bind("127.0.0.1", 0)
    port = bound.getsockname()[1]
    stop = trio.Event()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(serve, site.app, bound, stop.wait)
            stop.set()
    bind("127.0.0.1", port).close()


def test_a_port_in_use_is_a_plain_error():
    """Of the caller's, before anything has begun."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            bind("127.0.0.1", taken.getsockname()[1])


def test_a_host_that_does_not_exist_is_a_plain_error():
    """No address, no socket."""
    with pytest.raises(OSError, match=r".+"):
        bind("no such host.invalid", 0)
