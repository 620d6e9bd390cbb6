"""Ticks, from the simulator to the store, through an agent as a process."""

import contextlib

import pytest

from blofin_agent.domain.candle import Timeframe
from blofin_agent.simulator.ticker import trade
from tests.processes import DATABASE_AWAY, until

pytestmark = pytest.mark.slow("real processes, and the deadlines they wait for")

ON = {
    "BACKFILL_LOOKBACK_HOURS": "24",
    "COVERAGE_SETTLE_SECONDS": "2",
    "BLOFIN_STORE_TICKS": "true",
}
SYMBOLS = ("BTC-USDT", "ETH-USDT")


def stored(place, symbol):
    query = "SELECT trade_id, ts, price, size, side, source FROM ticks WHERE symbol = ?"
    return place.query(query + " ORDER BY ts", symbol)


def told(simulator, symbol, ts):
    """Return the trade of that moment as it should be stored."""
    one = trade(simulator.market, symbol, ts)
    price, size = float(one["price"]), float(one["size"])
    return (one["tradeId"], int(one["ts"]), price, size, one["side"], "blofin_ws")


def written(agent):
    samples = agent.samples()
    # None is there before the store was read.
    names = [f'blofin_ticks_written_total{{symbol="{symbol}"}}' for symbol in SYMBOLS]
    return [samples.get(name, 0) for name in names]


@pytest.mark.fast_clock
@pytest.mark.timeout(240)
def test_ticks_are_those_of_the_exchange_and_candles_are_complete(place, simulate, run_agent):
    """Each trade once, through two starts; the figures tell how many; a signal loses none."""
    simulator = simulate()
    before = [0, 0]
    for _ in range(2):
        agent = run_agent(**ON)
        until(lambda agent=agent: min(written(agent)) >= 8)
        until(lambda agent=agent: agent.samples().get("blofin_ticks_queue_length") == 0)
        samples = agent.samples()
        assert samples['blofin_feed_connected{connection="trades-1"}'] == 1
        assert samples["blofin_ticks_dropped_total"] == 0
        until(lambda agent=agent: agent.samples()['blofin_health{blofin_health="good"}'] == 1)
        shown = written(agent)
        assert agent.stop() == 0
        for number, symbol in enumerate(SYMBOLS):
            rows = stored(place, symbol)
            # The last trades came after the last look at the figures.
            assert before[number] + shown[number] <= len(rows) <= before[number] + shown[number] + 5
            assert len({trade_id for trade_id, *_ in rows}) == len(rows)
            assert rows == [told(simulator, symbol, ts) for _, ts, *_ in rows]
            assert samples[f'blofin_candles_missing{{symbol="{symbol}"}}'] <= 1
            for candle in place.stored(symbol):
                assert candle == simulator.market.candle(symbol, Timeframe.M1, candle.open_time)
            before[number] = len(rows)
    assert simulator.stats()["limits"]["connections_refused"] == 0
    assert "Traceback" not in (place.folder / "err").read_text()


@pytest.mark.fast_clock
@pytest.mark.timeout(120)
def test_the_figure_is_the_number_of_rows(place, simulate, run_agent):
    """Once the trades have stopped, and every one of them is stored."""
    simulator = simulate()
    agent = run_agent(**ON)
    until(lambda: min(written(agent)) >= 5)
    simulator.process.kill()
    simulator.process.wait()

    def settled():
        with contextlib.suppress(*DATABASE_AWAY):
            first = written(agent)
            return first == [len(stored(place, symbol)) for symbol in SYMBOLS] == written(agent)
        return False

    until(settled)
    assert agent.stop() == 0


@pytest.mark.fast_clock
@pytest.mark.timeout(120)
def test_without_the_setting_nothing_is_kept(place, simulate, run_agent):
    """No connection, no row, no series by symbol."""
    simulator = simulate()
    agent = run_agent(**ON | {"BLOFIN_STORE_TICKS": "false"})
    label = 'blofin_feed_subscribed{symbol="BTC-USDT"}'
    until(lambda: agent.samples().get(label) == 1)
    assert simulator.stats()["connections"] == 1
    samples = agent.samples()
    assert not [name for name in samples if name.startswith("blofin_ticks_written")]
    assert agent.stop() == 0
    assert place.query("SELECT count(*) FROM ticks") == [(0,)]
