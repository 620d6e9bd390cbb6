"""The market: laws that every candle keeps, at any seed, symbol, bar and moment."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blofin_agent.domain.candle import DAY, MINUTE, Candle, Timeframe
from blofin_agent.simulator.instruments import choose, make_instrument, names, parse_symbols
from blofin_agent.simulator.market import Market
from blofin_agent.simulator.missing_bars import MAX_BARS, MissingBars

SYMBOLS = (*names(34)[::3], "MINE-USDT")
MARKETS = [Market(seed, SYMBOLS, hole_rate=0) for seed in (1, 2)]
NOW = 1_790_000_000_000

markets = st.sampled_from(MARKETS)
symbols = st.sampled_from(SYMBOLS)
bars = st.sampled_from(Timeframe)
short_bars = st.sampled_from(
    [
        Timeframe.M3,
        Timeframe.M5,
        Timeframe.M15,
        Timeframe.H1,
        Timeframe.H2,
        Timeframe.H4,
        Timeframe.H6,
        Timeframe.D1,
    ]
)
moments = st.integers(1_577_836_800_000 + 7 * DAY, 1_900_000_000_000)


def known(market: Market, symbol: str, bar: Timeframe, open_time: int) -> Candle:
    candle = market.candle(symbol, bar, open_time)
    assert candle is not None
    return candle


def significant(text: str) -> int:
    return len(text.replace(".", "").lstrip("0"))


@given(markets, symbols, bars, moments)
def test_a_candle_is_possible_and_survives_as_doubles(market, symbol, bar, moment):
    open_time = bar.floor(moment)
    row = market.row(symbol, bar, open_time)
    candle = known(market, symbol, bar, open_time)
    assert 0 < candle.low <= min(candle.open, candle.close)
    assert max(candle.open, candle.close) <= candle.high < math.inf
    assert row[0] == str(open_time)
    assert row[8] == "1"
    for text, number in zip(row[1:8], candle[1:], strict=True):
        assert significant(text) <= 15
        assert "e" not in text
        assert float(text) == number


@given(markets, symbols, bars, moments)
def test_volumes_agree_by_the_contract_value(market, symbol, bar, moment):
    candle = known(market, symbol, bar, bar.floor(moment))
    value = float(market.instruments[symbol].contract_value)
    assert candle.volume > 0
    assert candle.volume_base == pytest.approx(candle.volume * value, rel=1e-12)
    assert candle.volume_base * candle.low <= candle.volume_quote * (1 + 1e-12)
    assert candle.volume_quote <= candle.volume_base * candle.high * (1 + 1e-12)


@given(markets, symbols, bars, moments)
def test_a_candle_opens_where_the_last_one_closed(market, symbol, bar, moment):
    open_time = bar.floor(moment)
    before = known(market, symbol, bar, open_time - bar.ms)
    assert before.close == known(market, symbol, bar, open_time).open


@given(markets, symbols, short_bars, moments)
def test_a_bar_is_the_aggregate_of_its_minutes(market, symbol, bar, moment):
    open_time = bar.floor(moment)
    whole = known(market, symbol, bar, open_time)
    minutes = [
        known(market, symbol, Timeframe.M1, open_time + at)
        for at in range(0, bar.ms, Timeframe.M1.ms)
    ]
    assert whole.open == minutes[0].open
    assert whole.close == minutes[-1].close
    assert whole.high == max(minute.high for minute in minutes)
    assert whole.low == min(minute.low for minute in minutes)
    assert whole.volume == pytest.approx(sum(minute.volume for minute in minutes), rel=1e-12)


@given(markets, symbols, st.sampled_from([Timeframe.D3, Timeframe.W1]), moments)
def test_a_long_bar_is_the_aggregate_of_its_days(market, symbol, bar, moment):
    open_time = bar.floor(moment)
    whole = known(market, symbol, bar, open_time)
    days = [known(market, symbol, Timeframe.D1, open_time + at) for at in range(0, bar.ms, DAY)]
    assert (whole.open, whole.close) == (days[0].open, days[-1].close)
    assert whole.high == max(day.high for day in days)
    assert whole.low == min(day.low for day in days)


@given(markets, symbols, bars, moments, st.lists(st.floats(0, 1, exclude_max=True), min_size=1))
def test_the_open_candle_only_grows_and_ends_as_the_complete_one(
    market, symbol, bar, moment, parts
):
    open_time = bar.floor(moment)
    rows = [market.open_row(symbol, bar, open_time + int(bar.ms * part)) for part in sorted(parts)]
    assert {row[8] for row in rows} == {"0"}
    assert {row[0] for row in rows} == {str(open_time)}
    end = market.row(symbol, bar, open_time)
    numbers = [tuple(map(float, row[1:6])) for row in [*rows, end]]
    for (o1, h1, l1, c1, v1), (o2, h2, l2, _, v2) in itertools.pairwise(numbers):
        assert o1 == o2
        assert l2 <= l1 <= min(o1, c1) <= max(o1, c1) <= h1 <= h2
        assert v1 <= v2


@given(markets, symbols, moments)
def test_every_open_bar_closes_at_the_same_price(market, symbol, moment):
    closes = {market.open_row(symbol, bar, moment)[4] for bar in Timeframe}
    assert closes == {market.instruments[symbol].price(market.last(symbol, moment))}


@given(symbols, bars, moments)
def test_the_same_arguments_make_the_same_market(symbol, bar, moment):
    open_time = bar.floor(moment)
    again = Market(1, [symbol], hole_rate=0)
    assert again.row(symbol, bar, open_time) == MARKETS[0].row(symbol, bar, open_time)
    assert MARKETS[0].row(symbol, bar, open_time) != MARKETS[1].row(symbol, bar, open_time)


def test_candles_are_the_same_on_every_machine_and_in_every_version():
    market = Market(1, ["BTC-USDT"], hole_rate=0)
    assert market.row("BTC-USDT", Timeframe.M1, 1_780_000_020_000) == (
        "1780000020000",
        "67026.4",
        "67040.5",
        "67006.6",
        "67012.0",
        "52.3",
        "0.0523",
        "3505.2179125",
        "1",
    )


@given(st.sampled_from([0.001, 0.01, 0.1, 0.25]), st.integers(0, 100), bars)
def test_holes_are_runs_of_one_to_twenty_bars_and_as_many_as_asked_for(rate, key, bar):
    holes = MissingBars(rate)
    count = 40_000
    missing = [holes.has(key, bar, number * bar.ms) for number in range(count)]
    assert sum(missing) == pytest.approx(rate * count, rel=0.35, abs=80)
    text = "".join("x" if lost else " " for lost in missing)
    assert max(map(len, text.split()), default=0) <= 2 * MAX_BARS  # two of them may meet


def test_a_hole_is_there_on_every_look_and_never_in_a_market_without_holes():
    market = Market(3, 1, hole_rate=0.1)
    (symbol,) = market.symbols
    window = range(Timeframe.M1.floor(NOW), Timeframe.M1.floor(NOW) + DAY, MINUTE)
    rows = [market.row(symbol, Timeframe.M1, at) for at in window]
    assert 50 < rows.count(None) < 300
    assert rows == [market.row(symbol, Timeframe.M1, at) for at in window]
    full = Market(3, 1, hole_rate=0)
    there = [full.row(symbol, Timeframe.M1, at) for at in window]
    assert None not in there
    assert all(row in (None, whole) for row, whole in zip(rows, there, strict=True))
    missing = window[rows.index(None)]
    assert market.open_row(symbol, Timeframe.M1, missing + 30_000) is None


def test_the_bar_of_the_listing_is_the_first():
    market = Market(1, ["BTC-USDT"], hole_rate=0, listed={"BTC-USDT": NOW + 1})
    first = Timeframe.M1.floor(NOW)
    assert market.row("BTC-USDT", Timeframe.M1, first - MINUTE) is None
    assert market.row("BTC-USDT", Timeframe.M1, first) is not None
    page = market.page("BTC-USDT", Timeframe.M1, NOW + 10 * MINUTE, limit=1_440)
    assert [int(row[0]) for row in page] == list(range(first + 10 * MINUTE, first - 1, -MINUTE))
    assert market.page("BTC-USDT", Timeframe.M1, NOW + 10 * MINUTE, after=first, limit=10) == []


@given(
    symbols,
    bars,
    st.none() | st.integers(-50, 30),
    st.none() | st.integers(-60, 20),
    st.integers(1, 40),
)
def test_a_page_is_what_the_documentation_says(symbol, bar, after, before, limit):
    market = Market(1, SYMBOLS, hole_rate=0.2)
    after = None if after is None else NOW + after * bar.ms // 2
    before = None if before is None else NOW + before * bar.ms // 2
    page = market.page(symbol, bar, NOW, after=after, before=before, limit=limit)
    newest = bar.floor(NOW)
    wanted = [
        market.row_at(symbol, bar, at, NOW)
        for at in range(newest, newest - 300 * bar.ms, -bar.ms)
        if (after is None or at < after) and (before is None or at > before)
    ]
    assert page == [row for row in wanted if row is not None][:limit]
    assert [row[8] for row in page] == ["1" if int(row[0]) < newest else "0" for row in page]


def test_an_open_time_off_the_grid_is_an_error():
    with pytest.raises(ValueError, match="no 5m bar opens at 60000"):
        MARKETS[0].row(SYMBOLS[0], Timeframe.M5, MINUTE)


@pytest.mark.parametrize(
    "arguments",
    [
        {"hole_rate": -0.1},
        {"hole_rate": 0.5},
        {"symbols": 0},
        {"symbols": ["btc"]},
        {"symbols": ["BTC-USDT"], "listed": {"ETH-USDT": 1}},
    ],
)
def test_a_market_that_cannot_be_is_an_error(arguments):
    with pytest.raises(ValueError, match=r"."):
        Market(1, **arguments)


def test_names():
    assert names(3) == ("BTC-USDT", "ETH-USDT", "SOL-USDT")
    assert len(set(names(1_000))) == 1_000
    assert names(600)[:500] == names(500)
    assert choose(["BTC-USDT", "BTC-USDT"]) == ("BTC-USDT",)
    assert parse_symbols("32") == names(32)
    assert parse_symbols(" btc-usdt, SOL-USDT,") == ("BTC-USDT", "SOL-USDT")
    with pytest.raises(ValueError, match="at least one symbol"):
        parse_symbols(" ")


def test_an_instrument_writes_its_numbers_as_blofin_does():
    bitcoin = make_instrument(1, "BTC-USDT")
    assert (bitcoin.base, bitcoin.quote) == ("BTC", "USDT")
    assert (bitcoin.tick_size, bitcoin.contract_value) == ("0.1", "0.001")
    assert bitcoin.price(641_230) == "64123.0"
    assert (bitcoin.contracts(6_281), bitcoin.base_amount(6_281)) == ("628.1", "0.6281")
    shib = make_instrument(1, "SHIB-USDT")
    assert (shib.tick_size, shib.contract_value) == ("0.000000001", "1000000")
    assert (shib.price(20_123), shib.base_amount(15)) == ("0.000020123", "1500000")
