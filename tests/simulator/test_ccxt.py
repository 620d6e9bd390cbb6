"""Proof by a client that nobody here wrote: ccxt reads the candles that the market has."""

import json
import sys

import pytest
import trio

from blofin_agent.domain.candle import MINUTE, Timeframe
from blofin_agent.simulator.market import Market
from blofin_agent.simulator.server import SimulatorOptions, serve

NOW = 1_790_000_012_345
OPEN = NOW - NOW % MINUTE

REST = """
import json, sys, ccxt
exchange = ccxt.blofin()
exchange.urls["api"]["rest"] = sys.argv[1]
now = int(sys.argv[2])
markets = exchange.load_markets()
name = "BTC/USDT:USDT"
print(json.dumps({
    "markets": {m["id"]: [m["symbol"], m["contractSize"], m["precision"]["price"], m["created"]]
                for m in markets.values()},
    "latest": exchange.fetch_ohlcv(name, "1m", limit=1440),
    "window": exchange.fetch_ohlcv(name, "1m", since=now - 3600_000, limit=20),
    "hours": exchange.fetch_ohlcv(name, "1h", limit=30),
    "tickers": {t["info"]["instId"]: t["last"] for t in exchange.fetch_tickers().values()},
}))
"""

WATCH = """
import asyncio, json, sys, ccxt.pro
async def main():
    exchange = ccxt.pro.blofin()
    exchange.urls["api"]["rest"] = sys.argv[1]
    exchange.urls["api"]["ws"]["swap"]["public"] = sys.argv[2]
    seen = {}
    try:
        while len(seen) < 4:
            for candle in await exchange.watch_ohlcv("BTC/USDT:USDT", "1m"):
                seen[candle[0]] = candle
    finally:
        await exchange.close()
    print(json.dumps(list(seen.values())))
asyncio.run(main())
"""


async def run_ccxt(script: str, *arguments: str):
    with trio.fail_after(120):
        done = await trio.run_process(
            [sys.executable, "-c", script, *arguments], capture_stdout=True
        )
    return json.loads(done.stdout)


def ohlcv(market: Market, bar: Timeframe, open_time: int, now: int) -> list[float]:
    """What ccxt makes of a row: base volume, and an open candle as any other."""
    row = market.row_at("BTC-USDT", bar, open_time, now)
    return [open_time, *map(float, (*row[1:5], row[6]))]


@pytest.mark.slow("ccxt takes seconds to load")
async def test_ccxt_reads_the_same_candles_by_rest(nursery):
    running = await nursery.start(
        lambda task_status: serve(
            SimulatorOptions(symbols=3, hole_rate=0), clock=lambda: NOW, task_status=task_status
        )
    )
    market = running.market
    got = await run_ccxt(REST, running.rest_url, str(OPEN))
    assert set(got["markets"]) == set(market.symbols)
    assert got["markets"]["BTC-USDT"] == ["BTC/USDT:USDT", 0.001, 0.1, 1_577_836_800_000]
    times = range(OPEN - 1_439 * MINUTE, OPEN + 1, MINUTE)
    assert got["latest"] == [ohlcv(market, Timeframe.M1, at, NOW) for at in times]
    since = OPEN - 60 * MINUTE
    times = range(since, since + 20 * MINUTE, MINUTE)
    assert got["window"] == [ohlcv(market, Timeframe.M1, at, NOW) for at in times]
    candle = market.candle("BTC-USDT", Timeframe.M1, since)
    assert got["window"][0] == [*candle[:5], candle.volume_base]
    hour = Timeframe.H1.floor(NOW)
    times = range(hour - 29 * Timeframe.H1.ms, hour + 1, Timeframe.H1.ms)
    assert got["hours"] == [ohlcv(market, Timeframe.H1, at, NOW) for at in times]
    assert got["tickers"] == {
        name: float(market.open_row(name, Timeframe.M1, NOW)[4]) for name in market.symbols
    }


@pytest.mark.slow("pushes come once a second to a client that nobody here wrote")
async def test_ccxt_watches_the_same_candles_by_websocket(nursery):
    start = trio.current_time()

    def fast() -> int:  # a minute of the market in a second
        return NOW + round((trio.current_time() - start) * 60_000)

    running = await nursery.start(
        lambda task_status: serve(
            SimulatorOptions(symbols=3, hole_rate=0), clock=fast, task_status=task_status
        )
    )
    *complete, last = await run_ccxt(WATCH, running.rest_url, running.ws_url)
    assert len(complete) == 3
    assert [b[0] - a[0] for a, b in zip(complete, [*complete[1:], last], strict=True)] == [
        MINUTE
    ] * 3
    for candle in complete[1:]:  # ccxt keeps the last push of each minute: the completing one
        assert candle == ohlcv(running.market, Timeframe.M1, candle[0], fast())
