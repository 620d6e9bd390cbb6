"""Faults: each does what its name says, over real sockets, and can be put and ended meanwhile."""

import json
from operator import eq

import httpx
import pytest
import trio
from trio_websocket import ConnectionClosed, wrap_client_stream

from blofin_agent.domain.candle import MINUTE, Timeframe
from blofin_agent.simulator.faults.registry import KINDS, Faults
from blofin_agent.simulator.server import SimulatorOptions, serve

NOW = 1_790_000_000_000 // MINUTE * MINUTE + 20_000
PATH = "/api/v1/market/candles"
NAME = "BTC-USDT"


class Site:
    """A running simulator of two symbols, at a time that a test sets, and a client of it."""

    def __init__(self, running, client):
        self.running, self.client = running, client
        self.faults = running.faults
        self.streams = []

    async def page(self, symbol=NAME, limit=50):
        answer = await self.client.get(PATH, params={"instId": symbol, "limit": limit})
        assert answer.status_code == 200
        return answer.json()["data"]

    async def handshake(self):
        """Return what a websocket's handshake is answered with."""
        head = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
        async with self.client.stream("GET", "/ws/public", headers=head) as answer:
            return answer.status_code

    async def feed(self):
        """Subscribe, and return the connection."""
        address = self.running.ws_url.removeprefix("ws://").partition("/")[0]
        host, _, port = address.partition(":")
        stream = await trio.open_tcp_stream(host, int(port))
        self.streams.append(stream)
        socket = await wrap_client_stream(self.nursery, stream, address, "/ws/public")
        args = [{"channel": "candle1m", "instId": NAME}]
        await socket.send_message(json.dumps({"op": "subscribe", "args": args}))
        return socket


@pytest.fixture
async def site(nursery):
    start = trio.current_time()

    def fast() -> int:  # a minute of the market in a second
        return NOW + round((trio.current_time() - start) * 60_000)

    options = SimulatorOptions(symbols=[NAME, "ETH-USDT"], hole_rate=0, limits=False)
    running = await nursery.start(
        lambda task_status: serve(options, clock=fast, task_status=task_status)
    )
    async with httpx.AsyncClient(base_url=running.rest_url, timeout=1) as client:
        made = Site(running, client)
        made.nursery = nursery
        yield made
        for stream in made.streams:
            await trio.aclose_forcefully(stream)
        nursery.cancel_scope.cancel()


def times(rows):
    return [int(row[0]) for row in rows]


@pytest.mark.parametrize(("kind", "status"), [("429", 429), ("403", 403), ("5xx", 503)])
async def test_a_status_is_answered_and_then_no_more(site, kind, status):
    site.faults.parse(f"{kind},times=2")
    assert [(await site.client.get(PATH)).status_code for _ in range(3)] == [status, status, 200]
    assert site.faults.struck[kind] == 2


@pytest.mark.parametrize("kind", ["429", "403"])
async def test_a_suspension_lasts_and_a_ban_holds_for_the_websocket_too(site, kind):
    site.faults.parse(f"{kind},times=1,seconds=600")
    for _ in range(3):
        assert (await site.client.get(PATH)).status_code == int(kind)
    assert site.running.limits.counters().during_suspension == 2
    assert await site.handshake() == (403 if kind == "403" else 101)


async def test_a_connection_hangs_resets_or_ends_half_way(site):
    for kind, error in {
        "hang": httpx.ReadTimeout,
        "reset": httpx.ReadError,
        "truncated": httpx.RemoteProtocolError,
    }.items():
        site.faults.parse(f"{kind},times=1")
        with pytest.raises(error):
            await site.page()
    assert len(await site.page()) == 50


async def test_what_is_answered_is_no_json_or_an_error_of_blofins(site):
    for kind, start in {"html": b"<!doctype", "not-json": b'{"code":"0","data":[[\xff'}.items():
        site.faults.parse(f"{kind},times=1")
        assert (await site.client.get(PATH)).content.startswith(start)
    site.faults.parse("code,times=1")
    assert (await site.client.get(PATH)).json()["code"] == "50001"
    site.faults.parse("empty,times=1")
    assert await site.page() == []


async def test_rows_are_spoilt_as_the_name_says(site):
    page = await site.page()
    site.faults.parse("garbage-rows,times=1")
    assert len(await site.page()) == 53
    site.faults.parse("shuffled-rows,times=1")
    shuffled = await site.page()
    assert times(shuffled) != sorted(times(shuffled), reverse=True)
    assert len(shuffled) == len(page)
    site.faults.parse("repeated-rows,times=1")
    assert len(await site.page()) == 53 > len(set(times(await site.page())))
    site.faults.parse("edge-hole")
    lengths = [len(await site.page()) for _ in range(10)]
    assert min(lengths) < 50
    site.faults.clear("edge-hole")
    site.faults.parse("foreign-rows,times=1")
    mixed = await site.page()
    own = site.running.market
    strange = [
        row
        for row in mixed
        if row[8] == "1" and row != list(own.row(NAME, Timeframe.M1, int(row[0])))
    ]
    assert len(mixed) > 50
    assert all(row == list(own.row("ETH-USDT", Timeframe.M1, int(row[0]))) for row in strange)
    assert strange


@pytest.mark.slow("pushes come once a second")
async def test_a_late_candle_comes_late_and_a_corrected_one_comes_right(site):
    site.faults.parse("late,seconds=180")
    at = (NOW // MINUTE) * MINUTE - MINUTE
    assert at not in times(await site.page())
    await trio.sleep(3.2)
    assert at in times(await site.page())
    site.faults.clear()
    site.faults.parse("corrected,seconds=180")
    wrong = next(row for row in await site.page() if row[8] == "1")
    right = list(site.running.market.row(NAME, Timeframe.M1, int(wrong[0])))
    assert wrong != right
    await trio.sleep(3.2)
    assert right in await site.page()


async def test_a_clock_is_ahead(site):
    before = times(await site.page())[0]
    site.faults.parse("clock,seconds=600")
    assert times(await site.page())[0] - before >= 600_000
    site.faults.parse("clock,seconds=-600")
    assert times(await site.page())[0] - before <= -480_000


async def hear(socket, seconds=2.5):
    """Return all that comes within so long, and whether the connection ended."""
    heard = []
    with trio.move_on_after(seconds):
        while True:
            try:
                heard.append(await socket.get_message())
            except ConnectionClosed:
                return heard, True
    return heard, False


def pushed(heard):
    found = [json.loads(one) for one in heard if one != "pong"]
    return [one["data"][0] for one in found if "data" in one]


@pytest.mark.parametrize("kind", ["ws-drop", "ws-cut"])
async def test_a_feed_ends(site, kind):
    site.faults.parse(f"{kind},times=1")
    assert (await hear(await site.feed()))[1]


async def test_a_handshake_is_refused(site):
    site.faults.parse("ws-refuse,times=1")
    assert [await site.handshake() for _ in range(2)] == [503, 101]


@pytest.mark.slow("pushes come once a second")
async def test_nothing_no_push_or_no_pong_comes(site):
    for kind, pong in {"ws-silent": False, "ws-pongs-only": True, "ws-no-pong": False}.items():
        socket = await site.feed()
        site.faults.parse(kind)
        await hear(socket, 0.2)
        await socket.send_message("ping")
        heard, _ = await hear(socket)
        assert ("pong" in heard) is pong
        assert bool(pushed(heard)) is (kind == "ws-no-pong")
        site.faults.clear()


@pytest.mark.slow("pushes come once a second")
async def test_one_symbol_is_silent(site):
    site.faults.parse(f"ws-silent,symbol={NAME}")
    heard, _ = await hear(await site.feed())
    assert [json.loads(one)["event"] for one in heard] == ["subscribe"]
    site.faults.parse("ws-silent,symbol=ETH-USDT")
    site.faults.clear("ws-silent", NAME)
    assert pushed((await hear(await site.feed()))[0])


@pytest.mark.slow("pushes come once a second")
async def test_subscriptions_are_not_acknowledged_or_refused(site):
    site.faults.parse("ws-no-ack,times=1")
    heard, _ = await hear(await site.feed())
    assert pushed(heard)
    assert len(pushed(heard)) == len(heard)
    site.faults.parse("ws-refuse-subscription,times=1")
    heard, _ = await hear(await site.feed())
    assert [json.loads(one)["event"] for one in heard] == ["error"]
    assert NAME in json.loads(heard[0])["msg"]


@pytest.mark.slow("pushes come once a second")
async def test_pushes_are_spoilt_as_the_name_says(site):
    socket = await site.feed()

    async def shows(fault, law):
        """Put a fault in force. What was pushed before it may come first."""
        site.faults.clear()
        site.faults.parse(fault)
        for _ in range(3):
            if law(pushed((await hear(socket))[0])):
                return
        pytest.fail(f"{fault} does not show")

    def complete(rows):
        return [row for row in rows if row[8] == "1"]

    def foreign(rows):
        market = site.running.market
        return [
            row == list(market.row("ETH-USDT", Timeframe.M1, int(row[0]))) for row in complete(rows)
        ]

    await shows("ws-no-complete", lambda rows: rows and not complete(rows))
    await shows("ws-repeated", lambda rows: any(map(eq, complete(rows), complete(rows)[1:])))
    await shows("ws-shuffled", lambda rows: times(rows) != sorted(times(rows)))
    await shows("ws-foreign", lambda rows: any(foreign(rows)))


@pytest.mark.slow("pushes come once a second")
async def test_garbage_and_oversize_frames_come(site):
    socket = await site.feed()
    site.faults.parse("ws-garbage,times=1")
    heard, _ = await hear(socket)
    assert b"\xff\xfe\x00\x01" in heard
    assert "{" in heard
    site.faults.parse("ws-oversize,times=1")
    assert (await hear(socket))[1]  # the client has had enough


def test_chance_is_the_share_that_a_fault_strikes_and_the_same_for_a_seed():
    def strikes(seed):
        faults = Faults(lambda: 0, seed)
        faults.parse("hang,chance=0.25")
        return [bool(faults.strikes("hang")) for _ in range(1_000)]

    assert strikes(1) == strikes(1) != strikes(2)
    assert 200 < sum(strikes(1)) < 300


def test_a_fault_ends_by_itself():
    now = [0]
    faults = Faults(lambda: now[0])
    faults.parse("hang,for=10")
    assert faults.strikes("hang")
    now[0] = 10_000
    assert not faults.strikes("hang")
    assert not faults.all()


@pytest.mark.parametrize(
    "text", ["", "nonsense", "hang,chance=2", "hang,chance=x", "hang,times=0", "hang,what=1"]
)
def test_a_fault_that_cannot_be_is_told(text):
    with pytest.raises(ValueError, match=r"fault|not from"):
        Faults(lambda: 0).parse(text)


async def test_faults_are_controlled_over_http(site):
    put = await site.client.put("/control/faults/hang", params={"symbol": NAME, "chance": "0.5"})
    assert put.json()["faults"] == [
        {
            "kind": "hang",
            "symbol": NAME,
            "chance": 0.5,
            "seconds": 0.0,
            "since": put.json()["faults"][0]["since"],
        }
    ]
    assert put.json()["kinds"] == KINDS
    for url, status in {"hang?symbol=NO-USDT": 404, "no": 400, "hang?chance=-1": 400}.items():
        assert (await site.client.put(f"/control/faults/{url}")).status_code == status
    assert (await site.client.delete("/control/faults/hang")).json()["faults"] == []
    site.faults.parse("5xx")
    site.faults.parse("html")
    assert (await site.client.delete("/control/faults")).json()["faults"] == []
    assert (await site.client.get("/control/faults")).json()["faults"] == []
