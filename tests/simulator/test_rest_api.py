"""REST answers: BloFin's envelope, its parameters and its errors."""

import json

import pytest

from blofin_agent.domain.candle import MINUTE, Timeframe
from blofin_agent.simulator.faults.registry import Faults
from blofin_agent.simulator.market import Market
from blofin_agent.simulator.rest_api import RestApi

NOW = 1_790_000_012_345
OPEN = NOW - NOW % MINUTE
MARKET = Market(1, 4, hole_rate=0, listed={"XRP-USDT": NOW + MINUTE})
NONE = Faults(lambda: NOW)


def ask(endpoint: str, rest: RestApi | None = None, now: int = NOW, **query: object):
    texts = {name: str(value) for name, value in query.items()}
    return json.loads((rest or RestApi(MARKET, NONE)).answer(endpoint, texts, now))


def times(**query: object) -> list[int]:
    answer = ask("candles", instId="BTC-USDT", **query)
    assert (answer["code"], answer["msg"]) == ("0", "success")
    return [int(row[0]) for row in answer["data"]]


def test_a_page_is_the_markets_own_rows_newest_first():
    data = ask("candles", instId="BTC-USDT", limit=3)["data"]
    assert data[0] == list(MARKET.open_row("BTC-USDT", Timeframe.M1, NOW))
    assert data[1] == list(MARKET.row("BTC-USDT", Timeframe.M1, OPEN - MINUTE))
    assert data[2] == list(MARKET.row("BTC-USDT", Timeframe.M1, OPEN - 2 * MINUTE))
    assert [row[8] for row in data] == ["0", "1", "1"]


def test_after_and_before_are_strict():
    assert times(after=OPEN, limit=2) == [OPEN - MINUTE, OPEN - 2 * MINUTE]
    assert times(after=OPEN + 1, limit=1) == [OPEN]
    between = times(after=OPEN, before=OPEN - 3 * MINUTE)
    assert between == [OPEN - MINUTE, OPEN - 2 * MINUTE]


def test_before_alone_gives_the_latest_rows():
    assert times(before=OPEN - 100 * MINUTE, limit=2) == [OPEN, OPEN - MINUTE]


def test_a_limit_is_500_or_what_is_asked_for_or_the_servers_own():
    assert len(times()) == 500
    assert len(times(limit=1_440)) == 1_440
    assert len(times(limit=5_000)) == 1_440
    clamped = ask("candles", RestApi(MARKET, NONE, page_limit=300), instId="BTC-USDT", limit=1_440)
    assert len(clamped["data"]) == 300


def test_a_limit_can_be_refused_instead():
    rest = RestApi(MARKET, NONE, refuse_limit_above=300)
    assert ask("candles", rest, instId="BTC-USDT", limit=301)["code"] == "152002"
    assert len(ask("candles", rest, instId="BTC-USDT", limit=300)["data"]) == 300


@pytest.mark.parametrize("bar", Timeframe)
def test_every_bar_of_fixed_length_is_served(bar):
    got = times(bar=bar.value, limit=3)
    assert got == [bar.floor(NOW) - number * bar.ms for number in range(3)]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({}, "152001"),
        ({"instId": ""}, "152001"),
        ({"instId": "NO-USDT"}, "152014"),
        ({"instId": "btc-usdt"}, "152014"),
        ({"instId": "BTC-USDT", "bar": "7m"}, "152002"),
        ({"instId": "BTC-USDT", "bar": "1h"}, "152002"),
        ({"instId": "BTC-USDT", "limit": "0"}, "152002"),
        ({"instId": "BTC-USDT", "limit": "-1"}, "152002"),
        ({"instId": "BTC-USDT", "limit": "many"}, "152002"),
        ({"instId": "BTC-USDT", "after": "1.5"}, "152002"),
        ({"instId": "BTC-USDT", "after": "9" * 5_000}, "152002"),
        ({"instId": "BTC-USDT", "before": "²"}, "152002"),
    ],
)
def test_what_is_wrong_has_a_code_and_no_data(query, code):
    answer = ask("candles", **query)
    assert answer["code"] == code
    assert answer["msg"]
    assert "data" not in answer


def test_instruments():
    listed = ask("instruments")["data"]
    assert [one["instId"] for one in listed] == list(MARKET.symbols)
    assert [one["state"] for one in listed] == ["live", "live", "live", "suspend"]
    assert listed[3]["listTime"] == str(NOW + MINUTE)
    assert ask("instruments", instId="XRP-USDT", now=NOW + MINUTE)["data"][0]["state"] == "live"
    (one,) = ask("instruments", instId="BTC-USDT")["data"]
    assert (one["contractValue"], one["tickSize"], one["instType"]) == ("0.001", "0.1", "SWAP")
    assert ask("instruments", instId="NO-USDT")["code"] == "152014"


def test_tickers_agree_with_the_open_candle():
    data = ask("tickers")["data"]
    assert [one["instId"] for one in data] == ["BTC-USDT", "ETH-USDT", "SOL-USDT"]
    for one in data:
        row = MARKET.open_row(one["instId"], Timeframe.M1, NOW)
        assert one["last"] == row[4]
        assert float(one["low24h"]) <= float(row[3]) <= float(row[2]) <= float(one["high24h"])
        assert float(one["bidPrice"]) < float(one["last"]) < float(one["askPrice"])
        assert one["ts"] == str(NOW)
