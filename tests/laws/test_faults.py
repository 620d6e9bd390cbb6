"""Each fault of the exchange, in virtual time: the agent notices it and recovers.

The agent and the simulator are in one process, over streams in memory. A few of these faults are
tested with real processes too, in tests/integration/faults/test_exchange.py.
"""

import pytest
import trio
from trio.testing import MockClock

from blofin_agent.config import Settings
from blofin_agent.domain.candle import Timeframe
from blofin_agent.domain.time_range import window_at
from blofin_agent.simulator.server import SimulatorOptions
from tests.laws.faults import CLOCKS, FEED, GOES_ON, LEAST, RECONNECTED, REST, matches
from tests.laws.world import world

SYMBOLS = ("BTC-USDT", "ETH-USDT")
SETTLE_MS = 15_000
SETTINGS = Settings(
    _env_file=None,
    blofin_symbols=SYMBOLS,
    backfill_lookback_hours=3,
    blofin_rest_url="http://exchange",
    blofin_ws_url="ws://exchange/ws/public",
)
WITHIN_S = 20 * 60
LOOK_S = 2.0


async def until(law, within_s=WITHIN_S):
    """Wait until `law()` is true."""
    with trio.move_on_after(within_s):
        while not law():  # noqa: ASYNC110 - no event tells of a series
            await trio.sleep(LOOK_S)
        return
    pytest.fail(f"not within {within_s} s: {law}")


class Scene:
    """A world, and the steps that the tests share."""

    def __init__(self, place):
        self.place = place
        self.faults = place.simulator.faults

    def sum(self, series):
        """Return the sum of a series' samples."""
        return sum(
            sample.value
            for family in self.place.parts.metrics.registry.collect()
            for sample in family.samples
            if matches(series, sample.name, sample.labels)
        )

    async def shows(self, fault, series, *also):
        """Start faults, and wait until one took effect and its series rises."""
        kind, before = fault.partition(",")[0], self.sum(series)
        for one in (*also, fault):
            self.faults.parse(one)
        await until(lambda: self.faults.struck[kind])
        if fault in GOES_ON:
            before, disconnects = self.sum(series), self.sum("feed_disconnects_total")
            await trio.sleep(WITHIN_S / 2)
            assert self.sum("feed_disconnects_total") == disconnects
        await until(lambda: self.sum(series) - before >= LEAST.get(fault, 1e-6))

    def is_whole(self):
        """Return whether every row that the exchange has is stored, and no other."""
        span = window_at(self.place.wall.true() - SETTLE_MS, Timeframe.M1, 3, 0)
        for symbol in SYMBOLS:
            stored = self.place.stored(symbol)
            truth = self.place.truth(symbol, span.start + Timeframe.M1.ms, span.end)
            if any(stored.get(at) != candle for at, candle in truth.items()):
                return False
            market = self.place.simulator.market
            assert all(market.candle(symbol, Timeframe.M1, at) for at in stored)
        return True


@pytest.fixture
def play(store, monkeypatch):
    """Return a function that plays a story; in the end the store is whole and all limits held."""

    def run(story):
        async def main():
            options = SimulatorOptions(symbols=SYMBOLS, hole_rate=0.01)
            async with world(store, SETTINGS, options, monkeypatch) as place:
                scene = Scene(place)
                await until(scene.is_whole)
                await story(scene)
                scene.faults.clear()
                await until(scene.is_whole, 3_000)
                assert place.figure("blofin_store_up") == 1
                limits = place.simulator.limits.counters()
                assert limits.most[60] <= 475
                assert limits.most[300] <= 1_425
                assert limits.during_suspension <= limits.suspensions

        trio.run(main, clock=MockClock())

    return run


@pytest.mark.parametrize("fault", REST)
def test_rest(play, fault):
    """Every minute is asked for: no push says that it is complete."""
    play(lambda scene: scene.shows(fault, REST[fault], "ws-no-complete"))


@pytest.mark.parametrize("fault", FEED)
def test_feed(play, fault):
    play(lambda scene: scene.shows(fault, FEED[fault]))


@pytest.mark.parametrize("fault", RECONNECTED)
def test_feed_that_connects(play, fault):
    play(lambda scene: scene.shows(fault, RECONNECTED[fault], "ws-drop,times=1"))


@pytest.mark.parametrize("fault", CLOCKS)
def test_clock(play, fault):
    """The middle of many candles tells, so it takes some."""
    expected = CLOCKS[fault] * 45

    async def story(scene):
        scene.faults.parse(fault)
        await until(lambda: abs(scene.sum("clock_offset_seconds") - expected) < 15, 3_000)
        scene.faults.clear()
        await until(lambda: abs(scene.sum("clock_offset_seconds")) < 15, 3_000)

    play(story)
