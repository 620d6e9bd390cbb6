"""Laws of the ticks: bounded, counted after the commit, and never at the cost of candles."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from blofin_agent.domain.candle import DAY, MINUTE
from blofin_agent.domain.trade import Trade
from blofin_agent.writers.trade_writer import DELETE_AFTER_S, DELETE_INTERVAL_S, TradeWriter

COUNT = "SELECT count(*) FROM ticks"


def tick(number, ts=1_789_999_000_000):
    return Trade(str(number), ts, 2.5, 0.1, "buy")


def keep(place, **how):
    return TradeWriter(
        place.store, place.tracker, place.writer, place.metrics, how.pop("retention_days", 7), **how
    )


async def run(ticks, seconds):
    with trio.move_on_after(seconds):
        await ticks.run()


@pytest.fixture
def commits(monkeypatch):
    """What each transaction was, in the order of their ends."""
    seen = []

    def tracker(place):
        counted = place.store.observer

        def observe(done):
            seen.append(done.operation)
            counted(done)

        place.store.observer = observe
        return seen

    return tracker


async def test_what_is_offered_is_stored_once_and_counted_after_the_commit(house):
    """Within a second or so; the same trade again counts for nothing."""
    place = house()
    ticks = keep(place)
    labels = {"symbol": "BTC-USDT"}
    assert place.figure("blofin_ticks_written_total", **labels) == 0
    assert all(ticks.try_enqueue("BTC-USDT", tick(number)) for number in (1, 2, 2, 3))
    assert place.figure("blofin_ticks_queue_length") == 4
    assert place.figure("blofin_ticks_written_total", **labels) == 0
    await run(ticks, 1.5)
    ticks.try_enqueue("BTC-USDT", tick(3))
    await run(ticks, 1.5)
    assert place.rows(COUNT) == [(3,)]
    assert place.figure("blofin_ticks_written_total", **labels) == 3
    assert place.figure("blofin_ticks_queue_length") == 0


async def test_a_full_buffer_drops_and_counts_and_forgets_nothing_it_took(house):
    """`offer` never waits."""
    place = house()
    ticks = keep(place, capacity=3)
    assert [ticks.try_enqueue("BTC-USDT", tick(n)) for n in range(5)] == [True] * 3 + [False] * 2
    assert place.figure("blofin_ticks_dropped_total") == 2
    assert place.figure("blofin_ticks_queue_length") == 3
    await ticks.drain()
    assert place.rows("SELECT trade_id FROM ticks ORDER BY 1") == [("0",), ("1",), ("2",)]
    assert ticks.try_enqueue("BTC-USDT", tick(5))


async def test_a_flood_goes_in_small_transactions(house, commits, monkeypatch):
    """Each stores MOST_ROWS at most."""
    monkeypatch.setattr("blofin_agent.writers.trade_writer.MAX_BATCH_ROWS", 10)
    place = house()
    seen = commits(place)
    ticks = keep(place)
    for number in range(25):
        ticks.try_enqueue("BTC-USDT", tick(number))
    await ticks.drain()
    assert seen == ["ticks"] * 3
    assert place.rows(COUNT) == [(25,)]


async def test_no_tick_is_stored_while_a_candle_waits(house, commits, candle, end, nursery):
    """Queued candles go first, however long that takes."""
    place = house(writing=False)
    seen = commits(place)
    ticks = keep(place)
    place.writer.try_enqueue("BTC-USDT", candle(end - MINUTE))
    ticks.try_enqueue("BTC-USDT", tick(1))
    await run(ticks, 60)
    assert seen == []
    assert not place.writer.idle
    nursery.start_soon(place.writer.run)
    await run(ticks, 2)
    assert seen[0] == "insert"
    assert "ticks" in seen
    assert place.rows(COUNT) == [(1,)]


async def test_a_candle_waits_for_one_small_transaction_at_most(
    house, commits, candle, end, monkeypatch
):
    """One that comes in the middle of a flood of ticks is stored before the next of them."""
    monkeypatch.setattr("blofin_agent.writers.trade_writer.MAX_BATCH_ROWS", 10)
    monkeypatch.setattr("blofin_agent.writers.trade_writer.MAX_DELETED_ROWS", 10)
    place = house()
    seen = commits(place)
    ticks = keep(place)
    for number in range(200):
        ticks.try_enqueue("BTC-USDT", tick(number))
    place.other(*(f"INSERT INTO ticks VALUES ('A', '{n}', 1, 1, 1, 'buy', '')" for n in range(99)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ticks.run)
        before = 0
        for number in range(1, 6):
            while seen.count("ticks") == before:  # noqa: ASYNC110 - ends with a transaction
                await trio.sleep(0.01)
            before = seen.count("ticks")
            batch = await place.writer.enqueue("BTC-USDT", [candle(end - number * MINUTE)])
            await batch.committed.wait()
            assert seen.count("ticks") <= before + 1
            before = seen.count("ticks")
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    assert place.rows("SELECT count(*) FROM ticks WHERE symbol = 'BTC-USDT'") == [(200,)]
    assert place.rows("SELECT count(*) FROM ticks WHERE symbol = 'A'") == [(0,)]


async def test_storing_and_deleting_do_not_queue_up_before_a_candle(house, commits, candle, end):
    """While something else is under way only one of the two waits for the store."""
    place = house()
    seen = commits(place)
    ticks = keep(place)
    ticks.try_enqueue("BTC-USDT", tick(1))
    async with trio.open_nursery() as nursery:
        await place.store.limiter.acquire_on_behalf_of("another")
        nursery.start_soon(ticks.drain)
        nursery.start_soon(ticks._forget)
        await wait_all_tasks_blocked()
        place.writer.try_enqueue("BTC-USDT", candle(end - MINUTE))
        await wait_all_tasks_blocked()
        place.store.limiter.release_on_behalf_of("another")
    assert seen == ["ticks", "insert", "ticks"]


@pytest.mark.slow("fills a queue of 50,000")
async def test_while_the_database_is_away_ticks_wait_and_then_are_dropped(locker, house, events):
    """Told once, without a traceback; all that had room is stored when it is back."""
    place = house()
    ticks = keep(place, capacity=5)
    locker.execute("BEGIN EXCLUSIVE")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ticks.run)
        for number in range(8):
            ticks.try_enqueue("BTC-USDT", tick(number))
            await trio.sleep(10)
        assert place.figure("blofin_ticks_queue_length") == 5
        assert place.figure("blofin_ticks_dropped_total") == 3
        assert place.figure("blofin_ticks_written_total", symbol="BTC-USDT") == 0
        assert place.figure("blofin_store_errors_total", operation="ticks") > 1
        assert place.figure("blofin_store_up") == 0
        locker.execute("ROLLBACK")
        await trio.sleep(70)
        nursery.cancel_scope.cancel()
    assert place.rows(COUNT) == [(5,)]
    assert place.figure("blofin_ticks_written_total", symbol="BTC-USDT") == 5
    assert place.figure("blofin_store_up") == 1
    assert [one["event"] for one in events("warning")] == ["database unavailable"]
    assert events("warning")[0]["error"].endswith("another program keeps it locked")
    assert events("info") == [{"event": "database available again"}]


async def test_old_ticks_are_deleted_at_the_start_and_every_few_minutes(
    house, commits, monkeypatch
):
    """In small transactions; the young ones stay."""
    monkeypatch.setattr("blofin_agent.writers.trade_writer.MAX_DELETED_ROWS", 10)
    place = house()
    now = place.wall()
    seen = commits(place)
    ticks = keep(place, retention_days=0.5)
    soon = now - DAY // 2 + (DELETE_AFTER_S + DELETE_INTERVAL_S / 2) * 1_000
    for number in range(25):
        ticks.try_enqueue("BTC-USDT", tick(f"old{number}", now - DAY // 2 - 1_000))
    ticks.try_enqueue("BTC-USDT", tick("soon", int(soon)))
    ticks.try_enqueue("BTC-USDT", tick("young", now))
    await ticks.drain()
    seen.clear()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ticks.run)
        await trio.sleep(DELETE_AFTER_S + 5)
        assert seen == ["ticks"] * 3
        assert place.rows("SELECT trade_id FROM ticks ORDER BY 1") == [("soon",), ("young",)]
        await trio.sleep(DELETE_INTERVAL_S / 2)
        ticks.try_enqueue("BTC-USDT", tick("younger", place.wall()))
        await trio.sleep(DELETE_INTERVAL_S / 2)
        assert place.rows("SELECT trade_id FROM ticks ORDER BY 1") == [("young",), ("younger",)]
        nursery.cancel_scope.cancel()


async def test_what_is_old_is_deleted_later_when_the_database_was_away(locker, house):
    """Nothing is raised."""
    place = house()
    place.other(
        "INSERT INTO ticks VALUES ('A', '1', 1, 1, 1, 'buy', '')",
        f"INSERT INTO ticks VALUES ('A', '2', {place.wall()}, 1, 1, 'buy', '')",
    )
    ticks = keep(place)
    locker.execute("BEGIN EXCLUSIVE")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ticks.run)
        await trio.sleep(5)
        locker.execute("ROLLBACK")
        assert place.rows(COUNT) == [(2,)]
        await trio.sleep(DELETE_INTERVAL_S)
        assert place.rows(COUNT) == [(1,)]
        nursery.cancel_scope.cancel()


async def test_a_drain_comes_after_the_candles(house, commits, candle, end):
    """All of both are stored."""
    place = house(writing=False)
    seen = commits(place)
    ticks = keep(place)
    for number in range(1, 6):
        place.writer.try_enqueue("BTC-USDT", candle(end - number * MINUTE))
        ticks.try_enqueue("BTC-USDT", tick(number))
    await place.writer.close()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ticks.drain)
        nursery.start_soon(place.writer.run)
    assert seen == ["insert", "ticks"]
    assert place.rows(COUNT) == [(5,)]


async def test_a_cancelled_run_keeps_no_tick_that_is_stored(house):
    """Cancelled at any moment: what it still holds and what is stored are all there were."""
    for deadline in (1.0, 1.5):
        place = house()
        ticks = keep(place)
        for number in range(50):
            ticks.try_enqueue("BTC-USDT", tick(f"{deadline} {number}"))
        await run(ticks, deadline)
        left = place.figure("blofin_ticks_queue_length")
        written = place.figure("blofin_ticks_written_total", symbol="BTC-USDT")
        assert left + written == 50


async def test_ticks_of_a_symbol_taken_out_meanwhile_are_stored_but_not_counted(house):
    """Its series have vanished and must not come back."""
    place = house()
    ticks = keep(place)
    ticks.try_enqueue("BTC-USDT", tick(1))
    del place.tracker.histories["BTC-USDT"]
    place.metrics.remove_symbol("BTC-USDT")
    await ticks.drain()
    assert place.rows(COUNT) == [(1,)]
    assert place.figure("blofin_ticks_written_total", symbol="BTC-USDT") is None


async def test_a_page_that_never_found_room_holds_no_tick_up(house, candle, end):
    """Whoever gave up waiting for the writer is not waited for."""
    place = house(writing=False, capacity=1)
    place.writer.try_enqueue("BTC-USDT", candle(end - MINUTE))
    with trio.move_on_after(1):
        await place.writer.enqueue("BTC-USDT", [candle(end - 2 * MINUTE)])
    await place.writer.close()
    await place.writer.run()
    assert place.writer.idle
