"""The simulator on real sockets, read by httpx and trio-websocket."""

import json
import socket

import httpx
import pytest
import trio
import trio.testing
from trio_websocket import open_websocket_url

from blofin_agent.domain.candle import MINUTE, Timeframe
from blofin_agent.simulator.market import Market
from blofin_agent.simulator.rate_limits import RateRule
from blofin_agent.simulator.server import SimulatorOptions, serve

NOW = 1_790_000_012_345
PATH = "/api/v1/market/candles"


def frozen() -> int:
    return NOW


async def test_httpx_reads_the_markets_rows(nursery):
    running = await nursery.start(
        lambda task_status: serve(
            SimulatorOptions(page_limit=300), clock=frozen, task_status=task_status
        )
    )
    async with httpx.AsyncClient(base_url=running.rest_url) as client:
        answer = await client.get(PATH, params={"instId": "BTC-USDT", "limit": 1_440})
        rows = running.market.page("BTC-USDT", Timeframe.M1, NOW, limit=300)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == {"code": "0", "msg": "success", "data": [list(r) for r in rows]}
        assert (await client.get("/api/v1/market/nothing")).status_code == 404
        assert (await client.post(PATH)).status_code == 405


async def test_passing_a_limit_is_429_and_the_counters_say_so(nursery):
    now = [NOW]
    options = SimulatorOptions(rules=[RateRule(3, 60, 300)], retry_after=True)
    running = await nursery.start(
        lambda task_status: serve(options, clock=lambda: now[0], task_status=task_status)
    )
    async with httpx.AsyncClient(base_url=running.rest_url) as client:

        async def ask() -> httpx.Response:
            now[0] += 100
            return await client.get(PATH, params={"instId": "ETH-USDT", "limit": 1})

        answers = [await ask() for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
        assert answers[3].headers["retry-after"] == "300"
        assert answers[3].json()["code"] == "429"
        now[0] += 300_000
        assert (await ask()).status_code == 200
        stats = (await client.get("/control/stats")).json()
    assert stats["limits"]["requests"] == 6
    assert stats["limits"]["during_suspension"] == 1
    assert stats["limits"]["least_spacing_ms"] == 100
    assert stats["endpoints"] == {"candles": 6}
    assert stats["symbols"] == {"ETH-USDT": 6}
    assert stats["times"][:2] == [NOW + 100, NOW + 200]
    assert running.limits.counters().most == {60: 4}


async def test_without_limits_nothing_is_refused(nursery):
    running = await nursery.start(
        lambda task_status: serve(
            SimulatorOptions(limits=False, rules=[RateRule(1, 60, 300)]),
            clock=frozen,
            task_status=task_status,
        )
    )
    async with httpx.AsyncClient(base_url=running.rest_url) as client:
        for _ in range(3):
            answer = await client.get(PATH, params={"instId": "BTC-USDT", "limit": 1})
            assert answer.status_code == 200
            assert "retry-after" not in answer.headers
    for _ in range(3):
        async with open_websocket_url(running.ws_url):
            pass


async def test_a_websocket_pushes_what_the_market_says(nursery):
    start = trio.current_time()

    def fast() -> int:  # a minute of the market in a second
        return NOW + round((trio.current_time() - start) * 60_000)

    running = await nursery.start(
        lambda task_status: serve(SimulatorOptions(), clock=fast, task_status=task_status)
    )
    topic = {"channel": "candle1m", "instId": "BTC-USDT"}
    complete = []
    async with open_websocket_url(running.ws_url) as client:
        await client.send_message("ping")
        assert await client.get_message() == "pong"
        await client.send_message(json.dumps({"op": "subscribe", "args": [topic]}))
        assert json.loads(await client.get_message()) == {"event": "subscribe", "arg": topic}
        with trio.fail_after(30):
            while len(complete) < 2:
                push = json.loads(await client.get_message())
                assert push["arg"] == topic
                (row,) = push["data"]
                if row[8] == "1":
                    complete.append(row)
                else:
                    assert row[0] == str(int(row[0]) // MINUTE * MINUTE)
    for row in complete:
        assert row == list(running.market.row("BTC-USDT", Timeframe.M1, int(row[0])))


async def test_a_second_connection_within_a_second_is_refused_at_the_handshake(nursery):
    now = [NOW]
    running = await nursery.start(
        lambda task_status: serve(SimulatorOptions(), clock=lambda: now[0], task_status=task_status)
    )
    # httpx shakes hands here: trio-websocket leaves its socket open when it is refused.
    shake = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    async with open_websocket_url(running.ws_url):
        async with httpx.AsyncClient(base_url=running.rest_url) as client:
            refused = await client.get("/ws/public", headers=shake)
        assert refused.status_code == 429
        assert refused.json()["code"] == "429"
        now[0] += 1_000
        async with open_websocket_url(running.ws_url):
            pass
    assert running.limits.counters().connections_refused == 1


async def test_a_port_in_use_is_an_oserror_for_the_caller():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        await serve(SimulatorOptions(port=taken.getsockname()[1]))


async def test_options_that_cannot_be_are_a_valueerror_for_the_caller():
    with pytest.raises(ValueError, match="hole rate"):
        await serve(SimulatorOptions(hole_rate=2))


async def test_it_stops_when_it_is_told_to_and_lets_go_of_its_port():
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        running = await nursery.start(
            lambda task_status: serve(
                SimulatorOptions(), shutdown_trigger=stop.wait, task_status=task_status
            )
        )
        async with open_websocket_url(running.ws_url):
            stop.set()
    port = int(running.rest_url.rpartition(":")[2])
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, SimulatorOptions(port=port))
        nursery.cancel_scope.cancel()


async def test_a_failure_of_ours_is_told(nursery, capfd, monkeypatch):
    running = await nursery.start(serve, SimulatorOptions())
    monkeypatch.setattr(Market, "page", lambda *_, **__: 1 / 0)
    async with httpx.AsyncClient(base_url=running.rest_url) as client:
        assert (await client.get(PATH, params={"instId": "BTC-USDT"})).status_code == 500
    await trio.testing.wait_all_tasks_blocked()
    assert "ZeroDivisionError" in capfd.readouterr().err


async def test_a_withheld_symbol_is_not_given_and_others_are(nursery):
    """As if its trading had stopped: older rows stay, and pages go on below that moment."""
    start = trio.current_time()

    def fast() -> int:  # a minute of the market in a second
        return NOW + round((trio.current_time() - start) * 60_000)

    running = await nursery.start(
        lambda task_status: serve(
            SimulatorOptions(limits=False), clock=fast, task_status=task_status
        )
    )
    since = NOW // MINUTE * MINUTE - 2 * MINUTE
    control = "/control/faults/withhold?symbol="
    async with httpx.AsyncClient(base_url=running.rest_url) as client:

        async def times(symbol: str) -> list[int]:
            answer = await client.get(PATH, params={"instId": symbol, "limit": 2})
            return [int(row[0]) for row in answer.json()["data"]]

        put = await client.put(control + f"ETH-USDT&since={since}")
        fault = put.json()["faults"][0]
        assert (fault["kind"], fault["symbol"], fault["since"]) == ("withhold", "ETH-USDT", since)
        assert await times("ETH-USDT") == [since - MINUTE, since - 2 * MINUTE]
        assert (await times("BTC-USDT"))[0] > since
        async with open_websocket_url(running.ws_url) as socket_:
            args = [{"channel": "candle1m", "instId": name} for name in ("BTC-USDT", "ETH-USDT")]
            await socket_.send_message(json.dumps({"op": "subscribe", "args": args}))
            said = [json.loads(await socket_.get_message()) for _ in range(4)]
            assert [one["arg"] for one in said[:2]] == args
            assert {one["arg"]["instId"] for one in said[2:]} == {"BTC-USDT"}
            assert (await client.delete(control + "ETH-USDT")).json()["faults"] == []
            with trio.fail_after(10):
                while json.loads(await socket_.get_message())["arg"] != args[1]:
                    pass
        assert (await times("ETH-USDT"))[0] > since
        assert (await client.put(control + "NO-USDT")).status_code == 404
        assert (await client.put(control + "ETH-USDT&since=x")).status_code == 400
