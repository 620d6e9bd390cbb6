"""Laws of the audit: what is counted is what is stored, whatever became of the blocks."""

import pytest
import trio

from blofin_agent.coverage.block_auditor import PAUSE_S, RETRY_DELAY_S
from blofin_agent.coverage.reconciler import INTERVAL_S
from blofin_agent.domain.candle import DAY, MINUTE, Source
from blofin_agent.domain.coverage_blocks import BARS_PER_BLOCK, pack
from blofin_agent.store.tables import coverage_blocks

ALL = pack((1 << BARS_PER_BLOCK) - 1)
SYMBOL = "BTC-USDT"


def insert(*times):
    values = "2.5, 3, 1, 2, 10, 0.5, 20, 'blofin_ws'"
    return [f"INSERT INTO candles VALUES ('BTC-USDT', '1m', {time}, {values})" for time in times]


def told(place):
    """How many bars the blocks tell of, by their start."""
    query = "SELECT start, held FROM coverage_blocks ORDER BY start"
    return {start: int.from_bytes(held, "little").bit_count() for start, held in place.rows(query)}


async def reconcile(place, seconds):
    with trio.move_on_after(seconds):
        await place.reconciler.run()


@pytest.fixture
def noon(end):
    """The middle of the day before the last."""
    return end // DAY * DAY - DAY // 2


async def test_blocks_that_were_never_made_are_made_soon_after_a_start(house, noon):
    """Of a database of the version before, say: the next start need not read the candles."""
    place = house()
    place.other(*insert(noon, noon + MINUTE, noon - DAY))
    await reconcile(place, 60)
    assert told(place) == {noon - DAY // 2: 2, noon - DAY - DAY // 2: 1}
    assert place.tracker.counts()[SYMBOL].present == 3


async def test_a_block_that_claims_too_much_is_mended_and_memory_follows(house, noon, events):
    """What it claimed is called missing, it is told, and the next pass begins at once."""
    place = house()
    place.other(
        *insert(noon),
        f"INSERT INTO coverage_blocks VALUES ('1m', {noon - DAY // 2}, 'BTC-USDT', "
        f"x'{ALL.hex()}', x'')",
    )
    await place.universe.load()
    await place.reconciler.once()
    assert place.tracker.counts()[SYMBOL].present == BARS_PER_BLOCK
    await reconcile(place, 60)
    assert told(place) == {noon - DAY // 2: 1}
    assert place.tracker.counts()[SYMBOL].present == 1
    assert events("warning") == [
        {
            "event": "candles deleted by another process",
            "symbol": "BTC-USDT",
            "deleted": 1439,
            "action": "refetch them",
        }
    ]
    assert place.passes._wake.is_set()


async def test_candles_replaced_in_one_stroke_are_seen(house, candle, noon):
    """SQLite tells no trigger what `INSERT OR REPLACE` takes away."""
    place = house()
    place.writer.try_enqueue(SYMBOL, candle(noon))
    await place.writer.until_idle()
    place.other(
        insert(noon)[0]
        .replace("INSERT", "INSERT OR REPLACE")
        .replace(Source.LIVE.value, Source.FILL.value)
    )
    history = place.tracker.histories[SYMBOL]
    assert history.live.has(noon)
    await reconcile(place, 60)
    assert history.held.has(noon)
    assert not history.live.has(noon)


@pytest.mark.slow("an hour of virtual time, second by second")
async def test_another_round_comes_after_somebody_wrote_and_a_rest(house, noon, monkeypatch):
    """While nobody else writes there is none; and who writes all the time costs little."""
    place = house()
    rounds = []
    wrong = coverage_blocks.find_wrong_blocks

    def noted(connection, bar, symbol, these):
        rounds.append(trio.from_thread.run_sync(trio.current_time))
        return wrong(connection, bar, symbol, these)

    monkeypatch.setattr(coverage_blocks, "find_wrong_blocks", noted)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(place.reconciler.run)
        await trio.sleep(2 * PAUSE_S)
        first = len(rounds)
        assert rounds[-1] < 30
        for number in range(10):
            place.other(*insert(noon + number * MINUTE))
            await trio.sleep(INTERVAL_S)
        assert len(rounds) == 2 * first
        await trio.sleep(2 * PAUSE_S)
        assert len(rounds) == 3 * first
        nursery.cancel_scope.cancel()


async def test_a_store_that_is_away_is_audited_later(locker, house, noon):
    """What could not be mended is, after the rest."""
    place = house()
    place.other(*insert(noon))
    await place.reconciler.once()
    locker.execute("BEGIN IMMEDIATE")
    with trio.move_on_after(PAUSE_S + 300):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(place.reconciler.run)
            await trio.sleep(RETRY_DELAY_S * 3)
            assert told(place) == {}
            locker.execute("ROLLBACK")
    assert told(place) == {noon - DAY // 2: 1}
