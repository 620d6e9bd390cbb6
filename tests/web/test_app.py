"""Laws of what is served: figures for Prometheus, health, and the page, all from memory."""

import gzip
import re
import socket

import httpx
import pytest
import trio
from prometheus_client.openmetrics.parser import text_string_to_metric_families as strict
from prometheus_client.parser import text_string_to_metric_families as plain

from blofin_agent.domain.backfill_run import RunStatus
from blofin_agent.domain.candle import MINUTE, Timeframe
from blofin_agent.domain.rate_limit import Suspension
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.domain.unavailability import UnavailableRange
from blofin_agent.live.connection_status import ConnectionStatus
from blofin_agent.web import pages
from blofin_agent.web.listen import bind
from blofin_agent.web.server import serve

OPENMETRICS = "application/openmetrics-text;version=1.0.0"


async def test_metrics_in_text(site, http):
    """What a plain client gets, readable by the parser of that format."""
    site.tracker.loaded = True
    answer = await http.get("/metrics", headers={"Accept-Encoding": "identity"})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    assert "Content-Encoding" not in answer.headers
    names = {family.name for family in plain(answer.text)}
    assert {"blofin_coverage_ratio", "blofin_candles_written", "process_cpu_seconds"} <= names


async def test_metrics_in_openmetrics(site, http):
    """What Prometheus asks for, read by the strict parser."""
    site.tracker.loaded = True
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
    """Return the table of symbols, row by row, as text."""
    body = re.search(r'<table id="symbols">.*?<tbody>(.*?)</tbody>', text, re.DOTALL)[1]
    rows = re.findall(r"<tr.*?>(.*?)</tr>", body, re.DOTALL)
    return [
        [re.sub(r"<.*?>", "", cell) for cell in re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row)]
        for row in rows
    ]


async def test_the_page_shows_the_figures_worst_first(site, http, end):
    """Coverage, missing, unavailable, newest, live, last pass; the worst one's health and why."""
    site.hold("BTC-USDT")
    half = site.hold("ETH-USDT", but=range(1, 31))
    half.proofs = [UnavailableRange(TimeRange(end - 13 * MINUTE, end - 11 * MINUTE), end, 1, end)]
    half.hold([end - 31 * MINUTE], live=True)
    site.add("NEW-USDT")
    site.ran("ETH-USDT", RunStatus.PARTIAL)
    site.passes.working = True
    answer = await http.get("/")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    assert cells(answer.text) == [
        ["NEW-USDT", "0.0 %", "60", "0", "none", "none", "none"],
        ["ETH-USDT", "50.0 %", "30", "2", "2026-09-21 13:42", "0.0 %", "partial 2026-09-21 14:13"],
        ["BTC-USDT", "100.0 %", "0", "0", "2026-09-21 14:12", "0.0 %", "none"],
    ]
    assert '<span class="badge critical">CRITICAL</span>' in answer.text
    assert (
        "NEW-USDT 0.0 %, 60 minutes missing, and 1 more symbol below 99.5 %; "
        "filling, about 40 s left" in answer.text
    )
    assert "Missing minutes" in answer.text
    assert "12 <small>of 475</small>" in answer.text
    assert "Fewer requests" not in answer.text


async def test_bars_are_called_minutes_only_when_they_are(make_site, client_of):
    """An hour's bars are bars."""
    site = make_site(bar=Timeframe.M5)
    site.tracker.loaded = True
    text = (await client_of(site.app).get("/")).text
    assert "Missing bars" in text
    assert "12 5m bars missing" in text
    assert "minutes" not in text


async def test_a_page_without_symbols_is_not_well(site, http):
    """Nothing watched is no good news; nor is it a broken page."""
    site.tracker.loaded = True
    site.tracker.histories.clear()
    answer = await http.get("/")
    assert answer.status_code == 200
    assert cells(answer.text) == []
    assert '<span class="badge critical">' in answer.text
    assert "no symbol is watched" in answer.text


async def test_the_page_says_that_the_store_is_still_read(site, http):
    """No figure before there is one."""
    site.reasons = ["the stored candles are being counted"]
    answer = await http.get("/")
    assert "Not ready: the stored candles are being counted" in answer.text
    assert cells(answer.text) == []


@pytest.mark.parametrize("path", ["/", "/symbols/", "/runs", "/api/v1/coverage", "/events"])
async def test_foreign_text_is_escaped(site, client_of, path):
    """A symbol, and what BloFin said of it, are foreign text."""
    trap = "<script>alert(1)</script>"
    site.hold("BTC-USDT")
    site.add(trap)
    site.ran(trap, note=trap)
    site.tracker.last_runs["BTC-USDT"] = site.store_reader.past[-1]
    site.store_reader.past.append(site.ran("BTC-USDT", note=trap))
    if path == "/events":
        told = pages.row_html(site.snapshotter.row(trap))
    elif path == "/symbols/":
        told = (await client_of(site.app).get("/symbols/BTC-USDT")).text
    else:
        told = (await client_of(site.app).get(path)).text
    if path == "/api/v1/coverage":
        assert trap in told  # as JSON, which nobody runs
        return
    assert trap not in told
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in told


async def test_nothing_else_is_served(http):
    """404 for other paths, 405 for other methods."""
    answer = await http.get("/etc/passwd")
    assert answer.status_code == 404
    assert "There is nothing at /etc/passwd" in answer.text
    refused = await http.post("/metrics")
    assert refused.status_code == 405
    assert set(refused.headers["Allow"].split(", ")) == {"GET", "HEAD"}
    assert (await http.get("/symbols/NOPE")).status_code == 404
    assert (await http.get("/static/../pages.py")).status_code == 404
    assert (await http.head("/healthz")).status_code == 200


async def test_the_server_says_nothing_of_itself(http):
    """No header names its software."""
    assert "server" not in (await http.get("/healthz")).headers


async def test_many_clients_at_once_are_served(site, http):
    """The event loop is not held while a scrape renders."""
    site.tracker.loaded = True
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
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert (await client.get("/metrics")).status_code == 200


async def test_nothing_is_taken_from_elsewhere(site, http):
    """Every script, style and picture is the agent's own, and nothing stands inline."""
    site.hold("BTC-USDT")
    site.hold("ETH-USDT", but=(3,))
    for path in ("/", "/symbols/ETH-USDT", "/runs", "/runbook", "/nothing"):
        text = (await http.get(path)).text
        sources = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="([^"]+)"', text)
        assert sources
        for source in sources:
            assert source.startswith("/static/")
            assert (await http.get(source)).status_code == 200
        assert not re.search(r"<script(?![^>]*src=)|<style|style=|\son[a-z]+=", text)


async def test_a_suspension_is_told_with_its_countdown(site, http, end):
    """Why, until when, and how long it still takes; which connection is down, and why."""
    site.hold("BTC-USDT", but=(5,))
    site.hold("ETH-USDT")
    site.shared_budget.until = site.now + 250_000
    site.shared_budget.suspension = Suspension(
        site.shared_budget.until, 1, 0, True, "BloFin says 403"
    )
    site.snapshotter.links = lambda: [
        ConnectionStatus("1", True, 1, 1, end),
        ConnectionStatus("2", False, 1, 0, end, "BloFin closed the connection"),
        ConnectionStatus("trades-1", True, 2, 2, end),
    ]
    text = (await http.get("/")).text
    assert "BloFin suspended this address</strong>: BloFin says 403" in text
    assert f'<span data-until="{site.shared_budget.until}">4 min 10 s</span> left' in text
    assert "nothing is asked for before 2026-09-21 14:17:25 UTC" in text
    assert '<details class="links" open>' in text
    assert "BloFin closed the connection" in text
    assert "2 <small>of 3 up</small>" in text
    assert "1 of 2 symbols subscribed" in text


async def test_fewer_requests_than_usual_are_told_with_the_reason(site, http):
    """The limit in force, and that somebody else seems to use the address."""
    site.hold("BTC-USDT")
    site.hold("ETH-USDT")
    site.shared_budget.suspension = Suspension(share=0.5)
    text = (await http.get("/")).text
    assert "Fewer requests than usual</strong>: another program seems to use this address" in text
    assert "12 <small>of 237</small>" in text


async def test_a_symbols_page_lists_its_gaps_and_runs(site, http, end):
    """The newest first, each with why; and its own runs only."""
    site.hold("BTC-USDT")
    history = site.hold("ETH-USDT", but=(5, 20, 21))
    history.proofs = [
        UnavailableRange(TimeRange(end - 21 * MINUTE, end - 19 * MINUTE), end, 2, end + MINUTE)
    ]
    site.ran("ETH-USDT", RunStatus.FAILED, "BloFin did not answer", requests=7)
    site.ran("BTC-USDT", note="not this one")
    text = (await http.get("/symbols/ETH-USDT")).text
    gaps = re.search(r'<section id="gaps".*?</section>', text, re.DOTALL)[0]
    rows = [
        [re.sub(r"<.*?>", "", cell).strip() for cell in re.findall(r"<td.*?>(.*?)</td>", row)]
        for row in re.findall(r"<tr>(.*?)</tr>", gaps, re.DOTALL)[1:]
    ]
    assert [row[:4] for row in rows] == [
        ["2026-09-21 14:08", "2026-09-21 14:08", "1", "missing"],
        ["2026-09-21 13:52", "2026-09-21 13:53", "2", "unavailable"],
    ]
    assert rows[0][4] == "BloFin did not answer"
    assert rows[1][4].startswith("BloFin has no such candles (seen 2 times)")
    assert "BloFin did not answer" in text
    assert "not this one" not in text
    assert "95.0 %" in text


async def test_a_database_that_is_away_costs_the_runs_only(site, http):
    """All else is from memory."""
    site.hold("BTC-USDT")
    site.store_reader.away = "database x: locked"
    for path in ("/", "/symbols/BTC-USDT", "/runs"):
        answer = await http.get(path)
        assert answer.status_code == 200
        assert "The database cannot be read now." in answer.text


async def test_past_runs_are_shown_a_page_at_a_time(site, http):
    """By symbol and status; a link leads to the older ones; odd parameters do no harm."""
    for number in range(150):
        status = RunStatus.FAILED if number % 3 == 0 else RunStatus.COMPLETE
        site.ran("BTC-USDT" if number % 2 else "ETH-USDT", status)

    async def shown(path):
        text = (await http.get(path)).text
        found = re.search(r'rel="next" href="([^"]+)"', text)
        older = found[1].replace("&amp;", "&") if found else None
        return len(re.findall(r"<tr><td>", text)), older

    assert await shown("/runs") == (100, "/runs?before=51")
    assert await shown("/runs?before=51") == (50, None)
    assert await shown("/runs?symbol=btc-usdt&status=failed") == (25, None)
    assert (await shown("/runs?recent"))[0] == 10
    assert await shown("/runs?before=x&status=odd") == (100, "/runs?before=51")
    assert (await shown("/runs?before=" + "9" * 400))[0] == 100
    assert await shown("/runs?symbol=%3Cb%3E") == (0, None)


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
