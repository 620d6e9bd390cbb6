"""Laws of the writer: counts follow commits, and nothing that was taken is lost."""

from functools import partial

import trio

from blofin_agent.domain.candle import MINUTE
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.domain.unavailability import UnavailableRange
from blofin_agent.writers.candle_writer import BATCH_DELAY_S

HELD = "SELECT symbol, source, count(*) FROM candles GROUP BY 1, 2 ORDER BY 1, 2"


async def test_counts_follow_commits(locker, house, candle, end):
    """While the database does not take the rows nothing is counted; once it does, all is."""
    place = house(hours=1)
    history = place.tracker.histories["BTC-USDT"]
    locker.execute("BEGIN EXCLUSIVE")
    batch = await place.writer.enqueue("BTC-USDT", [candle(end - MINUTE)])
    place.writer.try_enqueue("BTC-USDT", candle(end - 2 * MINUTE))
    await trio.sleep(30)
    assert history.count(place.tracker.window()).present == 0
    assert place.figure("blofin_coverage_ratio", symbol="BTC-USDT") == 0
    assert not batch.committed.is_set()
    locker.execute("ROLLBACK")
    await batch.committed.wait()
    await trio.sleep(0.01)
    assert batch.inserted == 1
    assert history.held.gaps(TimeRange(end - 2 * MINUTE, end)) == []
    assert place.rows("SELECT count(*) FROM candles") == [(2,)]


async def test_a_page_of_old_candles_does_not_replace_the_newest_candle(house, candle, end):
    """Prices of live candles are compared with the newest one."""
    place = house(hours=1)
    for minutes in (1, 30, 2):
        batch = await place.writer.enqueue("BTC-USDT", [candle(end - minutes * MINUTE)])
        await batch.committed.wait()
    await trio.sleep(0.01)
    assert place.tracker.histories["BTC-USDT"].newest == candle(end - MINUTE)


async def test_a_live_candle_that_finds_no_room_is_dropped_and_counted(house, candle, end):
    """`offer` never waits: full is full."""
    place = house(capacity=2, writing=False)
    taken = [place.writer.try_enqueue("BTC-USDT", candle(end - n * MINUTE)) for n in (1, 2, 3, 4)]
    assert taken == [True, True, False, False]
    assert place.figure("blofin_writer_dropped_total") == 2
    assert place.figure("blofin_writer_queue_length") == 2
    assert place.figure("blofin_writer_queue_capacity") == 2


async def test_a_page_waits_for_room(house, candle, end, nursery):
    """`put` is never refused: it waits until the writer has made room."""
    place = house(capacity=1, writing=False)
    place.writer.try_enqueue("BTC-USDT", candle(end - MINUTE))
    with trio.move_on_after(10) as scope:
        await place.writer.enqueue("BTC-USDT", [candle(end - 2 * MINUTE)])
    assert scope.cancelled_caught
    nursery.start_soon(place.writer.run)
    batch = await place.writer.enqueue("BTC-USDT", [candle(end - 2 * MINUTE)])
    await batch.committed.wait()
    assert place.rows(HELD) == [("BTC-USDT", "blofin_ws", 1), ("BTC-USDT", "historical_fill", 1)]


async def test_closing_drains_what_was_taken(house, candle, end):
    """`run` ends only once everything is committed."""
    place = house(writing=False)
    for number in range(1, 501):
        place.writer.try_enqueue("BTC-USDT", candle(end - number * MINUTE))
    await place.writer.close()
    await place.writer.run()
    assert place.rows("SELECT count(*) FROM candles") == [(500,)]
    assert place.tracker.histories["BTC-USDT"].held.count(place.tracker.window()) == 500


async def test_many_batches_are_one_transaction(house, candle, end):
    """What waits together is stored together, up to about MOST_ROWS rows."""
    place = house(writing=False, watched=("BTC-USDT", "ETH-USDT"))
    for number in range(1, 101):
        place.writer.try_enqueue("ETH-USDT", candle(end - number * MINUTE))
        place.writer.try_enqueue("BTC-USDT", candle(end - number * MINUTE))
    await place.writer.close()
    await place.writer.run()
    labels = {"operation": "insert"}
    assert place.figure("blofin_store_operation_duration_seconds_count", **labels) == 1
    assert place.rows(HELD) == [("BTC-USDT", "blofin_ws", 100), ("ETH-USDT", "blofin_ws", 100)]


async def test_a_transaction_has_an_end(house, candle, end, monkeypatch):
    """Past MOST_ROWS the next batches wait for the next transaction."""
    monkeypatch.setattr("blofin_agent.writers.candle_writer.MAX_BATCH_ROWS", 10)
    place = house(writing=False)
    for number in range(1, 31):
        place.writer.try_enqueue("BTC-USDT", candle(end - number * MINUTE))
    await place.writer.close()
    await place.writer.run()
    labels = {"operation": "insert"}
    assert place.figure("blofin_store_operation_duration_seconds_count", **labels) == 3


async def test_only_new_rows_are_counted_as_written(house, candle, end):
    """A row that is there already is left as it is and counts for nothing."""
    place = house()
    rows = [candle(end - number * MINUTE) for number in (1, 2, 3)]
    first = await place.writer.enqueue("BTC-USDT", rows[:2])
    await first.committed.wait()
    changed = [one._replace(close=1.5) for one in rows]
    second = await place.writer.enqueue("BTC-USDT", changed)
    await second.committed.wait()
    assert (first.inserted, second.inserted) == (2, 1)
    assert place.rows("SELECT close FROM candles ORDER BY open_time") == [(1.5,), (2.0,), (2.0,)]
    labels = {"symbol": "BTC-USDT", "source": "historical_fill"}
    assert place.figure("blofin_candles_written_total", **labels) == 3


async def test_what_came_live_is_told_from_what_was_filled(house, candle, end):
    """In memory as in the store: the source is that of whichever came first."""
    place = house()
    filled = await place.writer.enqueue("BTC-USDT", [candle(end - 2 * MINUTE)])
    await filled.committed.wait()
    for ago in (3, 2, 1):
        place.writer.try_enqueue("BTC-USDT", candle(end - ago * MINUTE))
    after = await place.writer.enqueue("BTC-USDT", [candle(end - MINUTE)])
    await after.committed.wait()
    share = place.tracker.histories["BTC-USDT"].live_share(place.tracker.window())
    ((stored,),) = place.rows("SELECT avg(source = 'blofin_ws') FROM candles")
    assert share == stored


async def test_a_live_candle_tells_its_delay_from_close_to_commit(house, candle, end):
    """The bar closed 15 s ago when the test begins."""
    place = house()
    place.writer.try_enqueue("BTC-USDT", candle(end - MINUTE))
    await trio.sleep(1)
    assert place.figure("blofin_candle_delay_seconds_count") == 1
    assert place.figure("blofin_candle_delay_seconds_sum") == 15 + BATCH_DELAY_S
    batch = await place.writer.enqueue("BTC-USDT", [candle(end - 2 * MINUTE)])
    await batch.committed.wait()
    assert place.figure("blofin_candle_delay_seconds_count") == 1


async def test_the_candles_of_a_minutes_end_are_one_transaction(house, candle, end):
    """Though they do not come all at once; a page that is fetched waits for nothing."""
    place = house(watched=["A-USDT", "B-USDT", "C-USDT"])
    for symbol in place.tracker.histories:
        place.writer.try_enqueue(symbol, candle(end - MINUTE))
        await trio.sleep(BATCH_DELAY_S / 4)
    await place.writer.until_idle()
    inserts = partial(place.figure, "blofin_store_operation_duration_seconds_count")
    assert inserts(operation="insert") == 1
    assert place.rows("SELECT count(*) FROM candles") == [(3,)]
    begun = trio.current_time()
    batch = await place.writer.enqueue("A-USDT", [candle(end - 2 * MINUTE)])
    await batch.committed.wait()
    assert trio.current_time() == begun
    assert inserts(operation="insert") == 2


async def test_rows_of_a_symbol_taken_out_meanwhile_are_stored_but_not_counted(house, candle, end):
    """Its series have vanished and must not come back."""
    place = house()
    del place.tracker.histories["BTC-USDT"]
    place.metrics.remove_symbol("BTC-USDT")
    batch = await place.writer.enqueue("BTC-USDT", [candle(end - MINUTE)])
    await batch.committed.wait()
    await place.writer.save_proofs("BTC-USDT")
    assert place.rows("SELECT count(*) FROM candles") == [(1,)]
    labels = {"symbol": "BTC-USDT", "source": "historical_fill"}
    assert place.figure("blofin_candles_written_total", **labels) is None


async def test_proofs_wait_in_memory_while_the_database_is_away(locker, house, end):
    """Nothing is raised, and the next save brings them."""
    place = house()
    history = place.tracker.histories["BTC-USDT"]
    history.proofs = [
        UnavailableRange(TimeRange(end - 5 * MINUTE, end - 4 * MINUTE), end, 1, end + 1)
    ]
    locker.execute("BEGIN EXCLUSIVE")
    await place.writer.save_proofs("BTC-USDT")
    assert place.metrics.database_outage
    locker.execute("ROLLBACK")
    await place.writer.save_proofs("BTC-USDT")
    assert not place.metrics.database_outage
    assert place.rows("SELECT start, checks FROM unavailable") == [(end - 5 * MINUTE, 1)]


async def test_a_cancelled_writer_has_counted_what_it_committed(house, candle, end):
    """Cancelled at any moment: memory never holds more than the database."""
    for deadline in (0.0, 0.5):
        place = house(writing=False)
        for number in range(1, 50):
            place.writer.try_enqueue("BTC-USDT", candle(end - number * MINUTE))
        with trio.move_on_after(deadline):
            await place.writer.run()
        held = place.tracker.histories["BTC-USDT"].held.count(place.tracker.window())
        assert held <= place.rows("SELECT count(*) FROM candles")[0][0]
