"""Laws of the roster: which symbols are watched, and since when they were listed."""

import trio

from blofin_agent.coverage.symbol_universe import MAX_LISTING_AGE_MS, UNKNOWN_SYMBOL_GRACE_MS
from blofin_agent.domain.candle import DAY, HOUR, MINUTE
from blofin_agent.domain.errors import Unreachable
from blofin_agent.domain.instrument import Instrument
from blofin_agent.store.tables import instruments

NAMES = "SELECT symbol, list_time, state, seen FROM instruments ORDER BY symbol"


def empty(house, **how):
    return house(watched=(), **how)


async def test_names_are_watched_before_blofin_was_asked(house):
    """With an empty store the setting alone decides; nothing is unknown yet."""
    place = empty(house, symbols=("BTC-USDT", "ETH-USDT"))
    await place.universe.load()
    assert list(place.tracker.histories) == ["BTC-USDT", "ETH-USDT"]
    assert place.universe.unknown == []
    assert not place.universe.fresh
    assert place.figure("blofin_feed_subscribed", symbol="ETH-USDT") == 0


async def test_a_refresh_learns_listing_times_and_stores_them(house, exchange, end):
    """What BloFin lists is written down, and the expected bars follow."""
    exchange.listed = {"BTC-USDT": end - 90 * MINUTE, "ETH-USDT": None}
    place = empty(house)
    await place.universe.load()
    now = place.wall()
    assert await place.universe.refresh() == []
    assert place.tracker.histories["BTC-USDT"].list_time == end - 90 * MINUTE
    assert place.tracker.counts()["BTC-USDT"].expected == 90
    assert place.rows(NAMES) == [
        ("BTC-USDT", end - 90 * MINUTE, "live", now),
        ("ETH-USDT", None, "live", now),
    ]
    assert place.universe.fresh


async def test_patterns_and_all_follow_the_list(house, exchange, end, events):
    """A new listing is watched, a delisted symbol and its series vanish."""
    place = empty(house, symbols=("*-USDT",))
    await place.universe.load()
    assert place.tracker.histories == {}
    exchange.listed = {"BTC-USDT": 1, "ETH-USDT": 1, "BTC-USDC": 1}
    assert await place.universe.refresh() == ["BTC-USDT", "ETH-USDT"]
    exchange.listed = {"ETH-USDT": 1, "NEW-USDT": end}
    assert await place.universe.refresh() == ["NEW-USDT"]
    assert list(place.tracker.histories) == ["ETH-USDT", "NEW-USDT"]
    assert place.figure("blofin_feed_subscribed", symbol="BTC-USDT") is None
    assert {
        "event": "symbol no longer listed by BloFin",
        "symbol": "BTC-USDT",
        "action": "stop recording it",
    } in events("info")


async def test_an_unknown_name_is_told_once_with_the_likeliest_one(house, exchange, events):
    """It is still watched: BloFin may list it tomorrow. Then it is fresh again."""
    place = empty(house, symbols=("BTCUSDT",))
    await place.universe.load()
    await place.universe.refresh()
    await place.universe.refresh()
    assert events("error") == [
        {
            "event": "symbol not listed by BloFin",
            "symbol": "BTCUSDT",
            "suggestion": "BTC-USDT",
            "action": "correct BLOFIN_SYMBOLS",
        }
    ]
    assert place.universe.unknown == ["BTCUSDT"]
    assert not place.universe.fresh
    exchange.listed["BTCUSDT"] = 1
    await place.universe.refresh()
    assert place.universe.fresh


async def test_an_empty_list_changes_nothing(house, exchange, events):
    """It is a fault of BloFin's, no delisting of everything."""
    place = empty(house, symbols=("all",))
    await place.universe.refresh()
    exchange.script = [lambda _rows: []]
    assert await place.universe.refresh() == []
    assert list(place.tracker.histories) == ["BTC-USDT"]
    assert place.rows("SELECT count(*) FROM instruments") == [(1,)]
    assert events("warning")[0] == {
        "event": "BloFin's instrument list is empty",
        "action": "keep the last known list",
    }


async def test_what_is_stored_is_loaded(house, candle, end):
    """Coverage, proofs and the list come from the store, without a request."""
    place = empty(house)
    values = "2.5, 3, 1, 2, 10, 0.5, 20, 'blofin_ws'"
    place.other(
        f"INSERT INTO candles VALUES ('BTC-USDT', '1m', {end - MINUTE}, {values})",
        f"INSERT INTO candles VALUES ('BTC-USDT', '1m', {end - 2 * MINUTE}, 2, 3, 1, 2, 1, 1, 1,"
        " 'historical_fill')",
        f"INSERT INTO candles VALUES ('BTC-USDT', '1m', {end}, {values})",
        f"INSERT INTO candles VALUES ('BTC-USDT', '5m', {end - 5 * MINUTE}, {values})",
        f"INSERT INTO candles VALUES ('ETH-USDT', '1m', {end - 2 * MINUTE}, {values})",
        f"INSERT INTO unavailable VALUES ('BTC-USDT', '1m', {end - 9 * MINUTE},"
        f" {end - 8 * MINUTE}, {end}, 1, {end + HOUR})",
        f"INSERT INTO instruments VALUES ('BTC-USDT', {end - HOUR}, 'live', {place.wall() - 1})",
    )
    await place.universe.load()
    history = place.tracker.histories["BTC-USDT"]
    assert history.held.count(place.tracker.window()) == 2
    assert history.live_share(place.tracker.window()) == 0.5
    assert history.held.newest == end
    assert history.count(place.tracker.window()) == (60, 2, 58, 1)
    assert place.universe.fresh
    assert place.exchange.log == []


async def keep(place, seconds):
    """Run the roster for so long; return what it told of."""
    told = []
    asked = trio.Event()
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                place.universe.run, lambda added, removed: told.append((added, removed)), asked
            )
            await asked.wait()
            await trio.sleep(seconds)
    assert asked.is_set()
    return told


async def test_the_list_is_read_anew_every_hour(house, exchange):
    """And `changed` is told of what came and went."""
    place = empty(house, symbols=("all",))
    task = []

    async def list_more():
        await trio.sleep(MAX_LISTING_AGE_MS / 1000 - 10)
        exchange.listed = {"NEW-USDT": 1}

    async with trio.open_nursery() as nursery:
        nursery.start_soon(list_more)
        task = await keep(place, MAX_LISTING_AGE_MS / 1000 + 10)
    assert task == [(["BTC-USDT"], []), (["NEW-USDT"], ["BTC-USDT"])]
    times = [at for at, _, _ in exchange.log]
    assert times[1] - times[0] == MAX_LISTING_AGE_MS


async def test_while_a_name_is_unknown_it_is_read_more_often(house, exchange):
    """Every ten minutes: it may be listed any time."""
    place = empty(house, symbols=("FOO-USDT",))
    await keep(place, 3 * UNKNOWN_SYMBOL_GRACE_MS / 1000 + 1)
    assert len(exchange.log) == 4


async def test_a_list_that_is_young_is_not_asked_for(house, exchange):
    """After a restart within the hour no request is spent."""
    place = empty(house)
    place.other(f"INSERT INTO instruments VALUES ('BTC-USDT', 1, 'live', {place.wall() - MINUTE})")
    await place.universe.load()
    assert await keep(place, 60) == []
    assert exchange.log == []


async def test_a_list_from_the_future_is_not_believed(house, exchange):
    """It was written by a clock gone wrong."""
    place = empty(house)
    place.other(f"INSERT INTO instruments VALUES ('BTC-USDT', 1, 'live', {place.wall() + HOUR})")
    await place.universe.load()
    await keep(place, 60)
    assert len(exchange.log) == 1


async def test_an_outage_holds_nothing_up(house, exchange):
    """`asked` is set all the same, and BloFin is asked again ever less soon."""
    exchange.script = [Unreachable("no route")] * 3
    place = empty(house)
    await place.universe.load()
    assert await keep(place, 120) == [([], [])]
    times = [at for at, _, _ in exchange.log]
    assert len(times) == 4
    assert 3_750 <= times[1] - times[0] <= 5_000
    assert 15_000 <= times[3] - times[2] <= 20_000


async def test_a_store_that_is_away_is_met_again(locker, house, exchange):
    """The refresh fails, is counted, and is tried again."""
    place = empty(house)
    await place.universe.load()

    def lock(rows):
        locker.execute("BEGIN EXCLUSIVE")
        return rows

    async def unlock():
        await trio.sleep(2)
        locker.execute("ROLLBACK")

    exchange.script = [lock]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(unlock)
        assert await keep(place, 60) == [([], [])]
    assert place.figure("blofin_store_errors_total", operation="instruments") == 1
    assert place.rows("SELECT count(*) FROM instruments") == [(1,)]


async def test_what_can_be_no_instrument_is_left_out_counted_and_told_once(house, exchange, events):
    """As long as the same entries come; only symbols are watched under `all`."""
    place = empty(house, symbols=("all",))
    spoil = [{"instId": "../../evil\n"}, {"instId": "BTC-USDT"}, None]
    exchange.script = [lambda rows: rows + spoil, lambda rows: rows + spoil]
    await place.universe.refresh()
    await place.universe.refresh()
    assert list(place.tracker.histories) == ["BTC-USDT"]
    figure = "blofin_rows_rejected_total"
    assert place.figure(figure, feed="instruments", reason="shape") == 4
    assert place.figure(figure, feed="instruments", reason="repeated") == 2
    (told,) = events("warning")
    assert "evil" in told["example"]
    assert told.pop("example").isprintable()
    assert told == {
        "event": "rows rejected",
        "feed": "instruments",
        "reason": "shape",
        "count": 3,
    }


async def test_what_another_agent_was_told_is_read_and_not_asked_for_again(house, exchange, end):
    """The stored list counts when it is younger; what is ours of it is watched, and told of."""
    place = house(symbols=("*-USDT",), watched=())
    universe = place.universe
    universe.owned = frozenset()
    await universe.refresh()
    assert await universe.catch_up(place.wall()) is False
    found = [Instrument(name, end - DAY, "live") for name in ("BTC-USDT", "NEW-USDT")]
    await trio.sleep(1)
    seen = place.wall()
    await place.store.write("instruments", lambda db: instruments.save_instruments(db, found, seen))
    assert await universe.catch_up(seen)
    assert set(universe.listed) == {"BTC-USDT", "NEW-USDT"}
    assert universe.fresh
    told = []
    await universe.keep(frozenset({"NEW-USDT"}), lambda *changes: told.append(changes))
    await universe.keep(frozenset({"BTC-USDT"}), lambda *changes: told.append(changes))
    assert told == [(["NEW-USDT"], []), (["BTC-USDT"], ["NEW-USDT"])]
    assert list(place.tracker.histories) == ["BTC-USDT"]
    assert len([name for _, name, _ in exchange.log if name == "instruments"]) == 1
