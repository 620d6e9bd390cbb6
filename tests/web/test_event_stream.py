"""Laws of the stream: all of it first, then what changed; one rendering for all who look."""

import json

import pytest
import trio

from blofin_agent.domain.candle import MINUTE
from blofin_agent.web import event_stream as module
from blofin_agent.web import pages
from blofin_agent.web.event_stream import KEEPALIVE_INTERVAL_S, EventStream


class Reader:
    """Reads events as a browser does."""

    def __init__(self, live, nursery):
        say, self._events = trio.open_memory_channel(100)
        nursery.start_soon(live.tell, say.send)

    async def hear(self):
        """Return the next batch of events: their names and data."""
        text = (await self._events.receive()).decode()
        assert text.endswith("\n\n")
        found = []
        for block in text.strip().split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
            assert set(fields) <= {"event", "data", "retry"}
            if "event" in fields:
                found.append((fields["event"], json.loads(fields.get("data") or "null")))
        return found


@pytest.fixture
async def live(site, wall, here):
    site.hold("BTC-USDT")
    site.hold("ETH-USDT", but=(5,))
    return EventStream(site.snapshotter)


@pytest.fixture
async def read(live, nursery):
    """Return a function that begins to read, past the first line."""

    async def begin():
        reader = Reader(live, nursery)
        assert await reader.hear() == []
        return reader

    return begin


@pytest.fixture
def here(monkeypatch):
    """Render in the event loop: threads and a clock that jumps do not go together."""

    async def run(work, limiter=None):
        await trio.lowlevel.checkpoint()
        return work()

    monkeypatch.setattr(module.trio.to_thread, "run_sync", run)


async def test_all_of_it_comes_first_then_only_what_changed(site, read):
    """Rows by symbol, the overview, and what the script goes by."""
    reader = await read()
    first = dict(await reader.hear())
    assert set(first) == {"rows", "overview", "state"}
    assert list(first["rows"]["rows"]) == ["BTC-USDT", "ETH-USDT"]
    assert first["rows"]["all"] is True
    assert first["rows"]["rows"]["ETH-USDT"] == pages.row_html(site.snapshotter.row("ETH-USDT"))
    assert first["state"]["health"] == "warn"
    assert first["state"]["window"] == list(site.tracker.window())
    assert "1 minute missing" in first["overview"]
    site.hold("ETH-USDT")
    changed = dict(await reader.hear())
    assert list(changed["rows"]["rows"]) == ["ETH-USDT"]
    assert changed["rows"]["all"] is False
    assert "100.0 %" in changed["rows"]["rows"]["ETH-USDT"]
    assert changed["state"]["health"] == "good"


async def test_while_nothing_changes_it_says_that_it_lives(read):
    """So that a page can tell a quiet agent from a lost one."""
    reader = await read()
    await reader.hear()
    begun = trio.current_time()
    assert await reader.hear() == [("alive", None)]
    assert trio.current_time() - begun == pytest.approx(KEEPALIVE_INTERVAL_S)


async def test_symbols_come_and_go(site, read):
    """A new one is a row, one taken out is named."""
    reader = await read()
    await reader.hear()
    site.add("NEW-USDT")
    del site.tracker.histories["BTC-USDT"]
    rows = dict(await reader.hear())["rows"]
    assert list(rows["rows"]) == ["NEW-USDT"]
    assert rows["gone"] == ["BTC-USDT"]


async def test_a_new_run_is_told(site, read):
    """The page fetches the list anew then."""
    reader = await read()
    assert dict(await reader.hear())["state"]["latest_run"] == 0
    site.ran("BTC-USDT")
    told = dict(await reader.hear())
    assert told["state"]["latest_run"] == site.now
    assert list(told["rows"]["rows"]) == ["BTC-USDT"]


async def test_it_is_rendered_once_for_all_who_look(site, read, monkeypatch):
    """And a row only when its figures changed."""
    made = []
    real = pages.row_html
    monkeypatch.setattr(pages, "row_html", lambda row: made.append(row.symbol) or real(row))
    readers = [await read() for _ in range(5)]
    for reader in readers:
        await reader.hear()
    assert made == ["ETH-USDT", "BTC-USDT"]
    site.hold("ETH-USDT")
    for reader in readers:
        await reader.hear()
    assert made == ["ETH-USDT", "BTC-USDT", "ETH-USDT"]


async def test_a_view_is_at_most_a_second_old(site, live):
    """Time alone changes it: the window moves on."""
    before = await live.view()
    site.now += MINUTE
    assert await live.view() is before
    await trio.sleep(1)
    assert (await live.view()).state.window[1] == before.state.window[1] + MINUTE


async def test_every_stream_ends_when_the_agent_stops(live):
    """At once, so that nobody who looks holds the end up."""
    ended = []

    async def look():
        async def say(_text):
            await trio.lowlevel.checkpoint()

        await live.tell(say)
        ended.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(look)
        await trio.sleep(2.5)
        live.close()
    assert ended == [2.5] * 3


async def test_a_page_that_goes_away_is_forgotten(site, http):
    """Its stream ends; the others go on; HEAD gets no stream at all."""
    site.hold("BTC-USDT")
    async with await trio.open_tcp_stream("127.0.0.1", http.base_url.port) as browser:
        await browser.send_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        heard = b""
        while b"event: state" not in heard:
            heard += await browser.receive_some()
    head = heard.partition(b"\r\n\r\n")[0].decode().lower()
    assert head.startswith("http/1.1 200")
    assert "content-type: text/event-stream" in head
    assert "cache-control: no-store" in head
    assert (await http.get("/healthz")).status_code == 200
    with trio.fail_after(5):
        assert (await http.head("/events")).status_code == 200
