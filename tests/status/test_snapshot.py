"""Laws of the board: what a person sees is what the parts of the agent know."""

from dataclasses import replace
from functools import partial

import pytest
import trio

from blofin_agent.domain.backfill_run import RunStatus, RunTrigger
from blofin_agent.domain.candle import HOUR, MINUTE, CandleBatch, Source, Timeframe
from blofin_agent.domain.rate_limit import Suspension
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.domain.unavailability import UnavailableRange
from blofin_agent.live.connection_status import Connections
from blofin_agent.protocol.subscriptions import Subscriptions
from blofin_agent.status.health_summary import RecoveryState
from blofin_agent.status.snapshot import StatusSnapshotter
from blofin_agent.status.store_reader import StoreReader, StoreReadError
from blofin_agent.store.tables import candles


@pytest.fixture
def snapshotter(house):
    """A board over the agent's real parts; `board.place` is the house."""
    place = house(hours=1, watched=("BTC-USDT", "ETH-USDT"))
    made = StatusSnapshotter(
        place.tracker,
        place.metrics,
        place.shared_budget,
        place.passes,
        place.trouble,
        list,
        version="1.2.3",
        where=place.store.where,
    )
    made.place = place
    return made


def hold_all(snapshotter, hold, *, but=()):
    for history in snapshotter.tracker.all():
        hold(history, snapshotter.tracker.window(), but=but if history.symbol == "ETH-USDT" else ())


async def test_what_is_being_done_follows_the_agent(snapshotter, hold, end):
    """From nothing to do, over waiting and filling, to each thing that is in the way."""
    place = snapshotter.place

    def recovery():
        return snapshotter.overview().outlook.recovery

    hold_all(snapshotter, hold)
    assert recovery() is RecoveryState.NOTHING_TO_DO
    hold_all(snapshotter, hold, but=(end - 5 * MINUTE,))
    assert recovery() is RecoveryState.WAITING
    place.gap_filler.queued.add("ETH-USDT")
    assert recovery() is RecoveryState.FILLING
    hole = TimeRange(end - 5 * MINUTE, end - 4 * MINUTE)
    place.tracker.histories["ETH-USDT"].proofs = [UnavailableRange(hole, end, 1, end + HOUR)]
    assert recovery() is RecoveryState.UNAVAILABLE
    place.trouble.report("timeout", "REST")
    assert recovery() is RecoveryState.EXCHANGE_AWAY
    place.shared_budget.suspension = Suspension(place.wall() + 60_000, 1, 0, False, "429")
    overview = snapshotter.overview()
    assert overview.outlook.recovery is RecoveryState.SUSPENDED
    assert overview.suspended.reason == "429"
    place.metrics.database_outage.report("locked", "insert")
    assert recovery() is RecoveryState.STORE_AWAY
    assert snapshotter.overview().store_up is False
    hold_all(snapshotter, hold)
    assert recovery() is RecoveryState.NOTHING_TO_DO


async def test_a_lost_websocket_does_not_stop_the_filling(snapshotter, hold, end):
    """Only REST fills."""
    hold_all(snapshotter, hold, but=(end - 5 * MINUTE,))
    snapshotter.place.trouble.report("closed", "websocket connection 1")
    assert snapshotter.overview().outlook.recovery is RecoveryState.WAITING


async def test_it_tells_when_the_next_pass_comes(snapshotter, nursery, hold, exchange):
    """None while one goes on; the last one's end, as /metrics has it."""
    place = snapshotter.place
    exchange.listed["ETH-USDT"] = exchange.listed["BTC-USDT"]
    told = []
    place.exchange.script.append(lambda rows: told.append(snapshotter.overview()) or rows)
    began = place.wall()
    nursery.start_soon(place.passes.run, 1800)
    while not place.passes.next_at:  # noqa: ASYNC110 - what a person would see, seen as it is
        await trio.sleep(1)
    after = snapshotter.overview()
    assert after.next_pass == pytest.approx(began + 1_800_000, abs=1_000)
    assert after.last_pass == place.figure("blofin_backfill_last_pass_timestamp_seconds")
    assert after.total.missing == 0
    runs = [row.last_run for row in snapshotter.rows()]
    assert [run.trigger for run in runs] == [RunTrigger.START, RunTrigger.START]
    assert [run.status for run in runs] == [RunStatus.COMPLETE, RunStatus.COMPLETE]


async def test_links_tell_the_state_of_each_connection(wall):
    """Since when, with how many symbols, and why it was lost last."""
    links = Connections(wall)
    ones = Subscriptions(["A", "B"])
    links.add("1", ones)
    assert [(one.connected, one.symbols, one.subscribed, one.lost) for one in links.all()] == [
        (False, 2, 0, "")
    ]
    wall.ahead_ms += 1_000
    links.lost("1", "unreachable")
    assert links.all()[0].since == wall() - 1_000
    links.opened("1")
    ones.opened(0)
    ones.acked("A", 0)
    (up,) = links.all()
    assert (up.connected, up.subscribed, up.since, up.lost) == (True, 1, wall(), "unreachable")
    wall.ahead_ms += 5_000
    links.lost("1", "closed")
    (down,) = links.all()
    assert (down.connected, down.since, down.lost) == (False, wall(), "closed")
    links.remove("1")
    assert links.all() == []


async def test_the_archive_reads_what_the_store_has(house, candle, end):
    """Runs and candles of its bar, while the writer is at work; away is told in words."""
    place = house(hours=1)
    store_reader = StoreReader(place.store.reader(), Timeframe.M1)
    rows = [candle(end - ago * MINUTE) for ago in (3, 2, 1)]
    batch = await place.writer.enqueue("BTC-USDT", rows)
    await batch.committed.wait()
    other = partial(
        candles.insert,
        bar=Timeframe.M5,
        batches=[CandleBatch("BTC-USDT", Source.FILL, [candle(end)])],
    )
    await place.store.write("insert", other)
    found = await store_reader.candles("BTC-USDT", TimeRange(end - 3 * MINUTE, end), 2)
    assert [tuple(one[:-1]) for one in found] == [tuple(one) for one in rows[:2]]
    assert {one.source for one in found} == {"historical_fill"}
    await place.gap_filler.fill(
        place.tracker.histories["BTC-USDT"], place.tracker.window(), RunTrigger.HEAL
    )
    (run,) = await store_reader.runs(5)
    assert replace(run, id=0) == place.tracker.last_runs["BTC-USDT"]
    assert await store_reader.runs(5, before=run.id) == []
    place.other("DROP TABLE gap_fill_runs")
    with pytest.raises(StoreReadError, match=r"^database .*gap_fill_runs"):
        await store_reader.runs(5)
