"""Laws of reconciling: memory follows the store, whoever writes to it."""

import trio

from blofin_agent.coverage.reconciler import INTERVAL_S
from blofin_agent.domain.candle import HOUR, MINUTE
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.domain.unavailability import PageHoles
from blofin_agent.store.tables import unavailable

VALUES = "2.5, 3, 1, 2, 10, 0.5, 20, 'blofin_ws'"


def insert(*times):
    return [f"INSERT INTO candles VALUES ('BTC-USDT', '1m', {time}, {VALUES})" for time in times]


def present(place):
    return place.tracker.counts()["BTC-USDT"].present


async def test_rows_added_by_another_process_are_seen(house, end):
    """A one-shot backfill beside the agent counts at the next look."""
    place = house(hours=1)
    await place.reconciler.once()
    place.other(*insert(end - MINUTE, end - 2 * MINUTE))
    assert present(place) == 0
    await place.reconciler.once()
    assert present(place) == 2
    sources = {source for (source,) in place.rows("SELECT DISTINCT source FROM candles")}
    live = place.tracker.histories["BTC-USDT"].live_share(place.tracker.window())
    assert live == (sources == {"blofin_ws"})


async def test_rows_deleted_by_another_process_are_seen(house, end, events):
    """They are missing again, it is told, and the next pass begins at once."""
    place = house(hours=1)
    place.other(*insert(end - MINUTE, end - 2 * MINUTE, end - 3 * MINUTE))
    await place.reconciler.once()
    place.other(f"DELETE FROM candles WHERE open_time = {end - 2 * MINUTE}")
    await place.reconciler.once()
    assert present(place) == 2
    assert place.tracker.histories["BTC-USDT"].missing(place.tracker.window())[-1].start == (
        end - 2 * MINUTE
    )
    assert events("warning") == [
        {
            "event": "candles deleted by another process",
            "symbol": "BTC-USDT",
            "deleted": 1,
            "action": "refetch them",
        }
    ]
    assert place.passes._wake.is_set()


async def test_changes_by_another_process_count_within_a_minute(house, end, nursery):
    """While the agent runs, as a user sees it in the metrics."""
    place = house(hours=1)
    nursery.start_soon(place.reconciler.run)
    await trio.sleep(60)
    place.other(*insert(end - MINUTE, end - 2 * MINUTE))
    await trio.sleep(60)
    assert present(place) == 2
    place.other("DELETE FROM candles")
    await trio.sleep(60)
    assert present(place) == 0
    nursery.cancel_scope.cancel()


async def test_as_many_added_as_deleted_are_seen(house, end, events):
    """The counts are the same, the candles are not."""
    place = house(hours=1)
    place.other(*insert(end - MINUTE, end - 2 * MINUTE))
    await place.reconciler.once()
    place.other(f"DELETE FROM candles WHERE open_time = {end - MINUTE}", *insert(end - HOUR))
    await place.reconciler.once()
    held = place.tracker.histories["BTC-USDT"].held
    assert held.has(end - HOUR)
    assert not held.has(end - MINUTE)
    told = events("warning")[0]
    assert (told["event"], told["deleted"]) == ("candles deleted by another process", 1)


async def test_what_another_process_repaired_is_no_longer_live(house, end):
    """The source of a candle is part of what is known of it."""
    place = house(hours=1)
    place.other(*insert(end - MINUTE, end - 2 * MINUTE))
    await place.reconciler.once()
    place.other(f"UPDATE candles SET source = 'historical_fill' WHERE open_time < {end - MINUTE}")
    await place.reconciler.once()
    assert place.tracker.histories["BTC-USDT"].live_share(place.tracker.window()) == 0.5


async def test_no_portion_is_forgotten(house, end, monkeypatch):
    """The store is read some symbols at a time."""
    monkeypatch.setattr("blofin_agent.store.tables.coverage_blocks.MAX_BARS", 3_000)
    place = house(hours=1, watched=[f"S{number}-USDT" for number in range(7)])
    for symbol in place.tracker.histories:
        (statement,) = insert(end - MINUTE)
        place.other(statement.replace("BTC-USDT", symbol))
    await place.reconciler.once()
    assert [count.present for count in place.tracker.counts().values()] == [1] * 7


async def test_proofs_of_another_process_are_seen(house, end):
    """So that no one asks for what another has proven."""
    place = house(hours=1)
    await place.reconciler.once()
    place.other(
        f"INSERT INTO unavailable VALUES ('BTC-USDT', '1m', {end - 9 * MINUTE},"
        f" {end - 8 * MINUTE}, {end}, 1, {end + HOUR})"
    )
    await place.reconciler.once()
    assert place.tracker.counts()["BTC-USDT"].unavailable == 1


def learn(place, end):
    """Let a page show that a minute does not exist, as a pass does; save it in the background."""
    history = place.tracker.histories["BTC-USDT"]
    assert history.learn(PageHoles([TimeRange(end - 9 * MINUTE, end - 8 * MINUTE)], []), end)
    return place.writer.save_proofs("BTC-USDT")


async def test_what_a_page_proves_while_proofs_are_read_is_kept(house, end, nursery, monkeypatch):
    """What was read is older than that."""
    place = house(hours=1)
    load = unavailable.load_proofs

    def load_and_learn(*args, **how):
        found = load(*args, **how)
        trio.from_thread.run_sync(lambda: nursery.start_soon(lambda: learn(place, end)))
        return found

    monkeypatch.setattr(unavailable, "load_proofs", load_and_learn)
    await place.reconciler.once()
    assert place.tracker.counts()["BTC-USDT"].unavailable == 1
    await place.writer.save_unsaved_proofs()
    assert place.rows("SELECT start FROM unavailable") == [(end - 9 * MINUTE,)]


async def test_what_a_page_proves_while_the_database_is_away_is_stored_later(locker, house, end):
    """Although another process wrote meanwhile."""
    place = house(hours=1)
    locker.execute("BEGIN EXCLUSIVE")
    await learn(place, end)
    locker.execute("ROLLBACK")
    place.other(*insert(end - MINUTE))
    await place.reconciler.once()
    assert place.tracker.counts()["BTC-USDT"].unavailable == 1
    assert place.rows("SELECT start FROM unavailable") == [(end - 9 * MINUTE,)]


async def test_our_own_commits_are_not_read_again(house, candle, end):
    """While nobody else writes, the counts are not even compared."""
    place = house(hours=1)
    await place.reconciler.once()
    labels = {"operation": "reconcile"}
    name = "blofin_store_operation_duration_seconds_count"
    before = place.figure(name, **labels)
    batch = await place.writer.enqueue("BTC-USDT", [candle(end - MINUTE)])
    await batch.committed.wait()
    await place.reconciler.once()
    assert place.figure(name, **labels) == before + 1
    assert present(place) == 1


async def test_what_left_the_window_is_forgotten(house, end):
    """Memory does not grow for ever."""
    place = house(hours=1)
    place.other(*insert(end - HOUR, end - MINUTE))
    await place.reconciler.once()
    place.wall.ahead_ms = 10 * MINUTE
    await place.reconciler.once()
    assert place.tracker.histories["BTC-USDT"].held.oldest == end - MINUTE


async def test_it_shows_that_the_process_lives(house):
    """The heartbeat says since when, and who."""
    place = house()
    started = place.wall()
    with trio.move_on_after(2 * INTERVAL_S + 1):
        await place.reconciler.run()
    assert place.rows("SELECT service, started, beat, note FROM service_heartbeats") == [
        ("agent", started, started + int(2 * INTERVAL_S * 1000), "a test")
    ]


async def test_a_store_that_is_away_is_met_again(locker, house, end):
    """It is counted and told; the next look is right again."""
    place = house(hours=1)
    place.other(*insert(end - MINUTE))
    locker.execute("BEGIN EXCLUSIVE")
    with trio.move_on_after(2 * INTERVAL_S + 1):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(place.reconciler.run)
            await trio.sleep(INTERVAL_S + 1)
            assert place.metrics.database_outage
            locker.execute("ROLLBACK")
    assert not place.metrics.database_outage
    assert place.figure("blofin_store_errors_total", operation="beat") == 2
    assert present(place) == 1


async def test_another_database_that_cannot_be_read_yet_is_asked_once_a_second(
    locker, house, monkeypatch
):
    """It was made anew, and somebody holds it: waiting for it costs next to nothing."""
    place = house(hours=1)
    await place.reconciler.once()
    tries, once = [], place.reconciler.once

    async def counted():
        tries.append(trio.current_time())
        assert len(tries) < 100
        await once()

    monkeypatch.setattr(place.reconciler, "once", counted)
    monkeypatch.setattr(type(place.store), "generation", 1)
    assert place.reconciler.behind()
    locker.execute("BEGIN EXCLUSIVE")
    with trio.move_on_after(9.5):
        await place.reconciler.run()
    assert len(tries) == 10
    locker.execute("ROLLBACK")
    with trio.move_on_after(INTERVAL_S - 1):
        await place.reconciler.run()
    assert len(tries) == 11
    assert not place.reconciler.behind()


async def test_the_budget_of_all_processes_is_shown(house):
    """What others used counts on /metrics."""
    place = house()
    place.other(f"INSERT INTO request_ledger (started, endpoint) VALUES ({place.wall()}, 'x')")
    await place.reconciler.once()
    assert place.figure("blofin_rate_budget_used", window="60s") == 1
