"""Laws of the upkeep: it is done now and then, and only what is set."""

import pytest
import trio

from blofin_agent.domain.candle import DAY, HOUR, CandleBatch, Source, Timeframe
from blofin_agent.store.maintenance import FIRST_DELAY_S, INTERVAL_S, Maintenance
from blofin_agent.store.tables import candles

pytestmark = pytest.mark.sqlite


async def fill(place, candle, days):
    now = place.wall() // HOUR * HOUR
    times = range(now - days * DAY, now, HOUR)
    rows = CandleBatch("BTC-USDT", Source.FILL, [candle(time) for time in times])
    await place.store.write("insert", lambda db: candles.insert(db, Timeframe.M1, [rows]))


async def keep_up(place, days, seconds):
    with trio.move_on_after(seconds):
        await Maintenance(place.store, place.wall, days).run()


async def test_what_is_older_than_it_is_kept_is_deleted_each_hour(house, candle, events):
    """And it is said once, with the setting."""
    place = house()
    await fill(place, candle, 40)
    await keep_up(place, 30, FIRST_DELAY_S + 20)
    ((oldest, count),) = place.rows("SELECT min(open_time), count(*) FROM candles")
    assert place.wall() - 31 * DAY - HOUR <= oldest <= place.wall() - 30 * DAY
    assert count >= 30 * 24
    (told,) = [one for one in events("info") if one["event"] == "old data deleted"]
    assert told["retention_days"] == 30
    assert told["candles"] == 40 * 24 - count
    assert told["before"].endswith("Z")
    place.wall.ahead_ms = 2 * DAY
    await fill(place, candle, 1)
    await keep_up(place, 30, FIRST_DELAY_S + 20 + INTERVAL_S)
    assert place.rows("SELECT min(open_time) FROM candles")[0][0] > oldest


async def test_without_the_setting_everything_is_kept(house, candle):
    """For ever."""
    place = house()
    await fill(place, candle, 400)
    await keep_up(place, None, FIRST_DELAY_S + 2 * INTERVAL_S)
    assert place.rows("SELECT count(*) FROM candles") == [(400 * 24,)]


async def test_a_database_that_is_away_is_met_again_an_hour_later(house, candle, locker):
    """Nothing fails, and nothing is lost."""
    place = house()
    await fill(place, candle, 40)
    locker.hold()
    await keep_up(place, 30, FIRST_DELAY_S + 20)
    locker.let_go()
    assert place.rows("SELECT count(*) FROM candles") == [(40 * 24,)]
    await keep_up(place, 30, FIRST_DELAY_S + 20)
    assert place.rows("SELECT count(*) FROM candles")[0][0] < 40 * 24
