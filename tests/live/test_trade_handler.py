"""Laws of the trades channel: its own connections, and nothing of it touches candles."""

import pytest
import trio

from blofin_agent.domain.candle import MINUTE
from blofin_agent.exchange.websocket_session import FeedDisconnected
from blofin_agent.live.connection_manager import (
    CONNECT_INTERVAL_S,
    MAX_SYMBOLS_PER_CONNECTION,
    ConnectionManager,
)
from blofin_agent.writers.trade_writer import TradeWriter

STORED = "SELECT symbol, trade_id, ts, price, size, side, source FROM ticks ORDER BY 1, 2"
BTC = {"symbol": "BTC-USDT"}
CANDLES = ("feed_subscribed", "feed_last_push_timestamp_seconds")


def trade(ts, trade_id="1"):
    row = {"instId": "BTC-USDT", "tradeId": trade_id, "price": "2.5", "size": "0.1"}
    return row | {"side": "sell", "ts": str(ts)}


def live(place, symbols=()):
    ticks = TradeWriter(place.store, place.tracker, place.writer, place.metrics, 7)
    ingest = ConnectionManager(
        "ws://blofin.test/ws",
        place.tracker,
        place.writer,
        place.metrics,
        place.rate_limiter,
        place.trouble,
        ticks=ticks,
    )
    ingest.add(symbols or place.tracker.histories)
    return ingest, ticks


async def run(place, seconds):
    ingest, ticks = live(place)
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ingest.run)
            nursery.start_soon(ticks.run)
    return ingest


def by_channel(candles, trades):
    """Return a script: one for connections on which candles are subscribed first, one for others.

    Each is a function of a line and of the arguments of the first message.
    """

    async def script(line):
        args = (await line.hear())["args"]
        await (trades if args[0]["channel"] == "trades" else candles)(line, args)

    return script


async def stand(line, args):
    for arg in args:
        await line.say({"event": "subscribe", "arg": arg})
    await line.obey()


def then(*rows, channel="trades", symbol="BTC-USDT", ack=True):
    """Acknowledge, push these rows, obey."""

    async def script(line, args):
        if ack:
            for arg in args:
                await line.say({"event": "subscribe", "arg": arg})
        await line.push(symbol, *rows, channel=channel)
        await line.obey()

    return script


async def test_a_trade_is_stored_and_counted(house, peer, end):
    """Over a connection of its own, after that for candles."""
    place = house(hours=1)
    peer.script = [by_channel(stand, then(trade(end, "7")))]
    await run(place, 8)
    assert place.rows(STORED) == [("BTC-USDT", "7", end, 2.5, 0.1, "sell", "blofin_ws")]
    assert place.figure("blofin_feed_messages_total", kind="trade") == 1
    assert place.figure("blofin_feed_messages_total", kind="candle") == 0
    assert place.figure("blofin_ticks_written_total", **BTC) == 1
    assert place.figure("blofin_feed_connects_total", connection="1") == 1
    assert place.figure("blofin_feed_connects_total", connection="trades-1") == 1
    channels = [message["args"][0]["channel"] for _, message in peer.heard if message != "ping"]
    assert channels == ["candle1m", "trades"]


@pytest.mark.parametrize("ack", [True, False])
async def test_what_happens_to_trades_changes_nothing_that_is_said_of_candles(
    house, peer, end, ack
):
    """Neither an acknowledgement nor a push; the candle's own subscription is not answered here."""

    async def mute(line, _args):
        await trio.sleep_forever()

    place = house(hours=1)
    peer.script = [by_channel(mute, then(trade(end), ack=ack))]
    await run(place, 8)
    assert place.rows("SELECT count(*) FROM ticks") == [(1,)]
    assert [place.figure(f"blofin_{name}", **BTC) for name in CANDLES] == [0, 0]


async def test_refused_trades_leave_candles_as_they_are(house, peer, wire, end, events):
    """The candle is stored, its symbol counts as subscribed, and its connection stands."""

    async def refuse(line, args):
        await line.say({"event": "error", "code": "60012", "msg": f"Invalid request: {args[0]}"})
        await line.obey(refuse=["BTC-USDT"])

    place = house(hours=1)
    peer.script = [by_channel(then(wire(end - MINUTE), channel="candle1m"), refuse)]
    await run(place, 50)
    assert place.rows("SELECT open_time FROM candles") == [(end - MINUTE,)]
    assert place.figure("blofin_feed_subscribed", **BTC) == 1
    assert place.figure("blofin_feed_connected", connection="1") == 1
    assert place.figure("blofin_feed_messages_total", kind="refused") == 1
    assert events("warning")[0] == {
        "event": "subscription rejected by BloFin",
        "symbol": "BTC-USDT",
        "feed": "trades",
        "code": "60012",
        "error": events("warning")[0]["error"],
        "action": "retry every few minutes; its trades are not stored until then, candles are not "
        "affected",
    }
    assert events("warning")[0]["error"].startswith("Invalid request: ")
    assert not place.trouble


async def test_lost_connections_of_trades_are_no_trouble_of_candles(house, peer, events):
    """Healing goes by that trouble; theirs is told once, apart."""

    async def hang_up(_line, _args):
        return

    place = house(hours=1)
    peer.script = [by_channel(stand, hang_up)]
    await run(place, 60)
    labels = {"connection": "trades-1", "reason": "closed"}
    assert place.figure("blofin_feed_disconnects_total", **labels) > 3
    assert place.figure("blofin_feed_connects_total", connection="1") == 1
    assert place.figure("blofin_feed_connected", connection="1") == 1
    assert place.figure("blofin_feed_subscribed", **BTC) == 1
    assert not place.trouble
    (told,) = events("warning")
    assert (told["event"], told["connection"]) == ("trade connection lost", "trades-1")
    assert (told["source"], told["reason"]) == ("websocket connection trades-1", "closed")
    assert told["action"].endswith("candles are not affected")


@pytest.mark.slow("hours of virtual time")
async def test_a_quiet_channel_of_trades_is_kept(house, peer, wire, end):
    """Hours without a trade: nothing is renewed or made anew as long as pongs come."""

    async def chatter(line, args):
        for arg in args:
            await line.say({"event": "subscribe", "arg": arg})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(line.obey)
            while True:
                await line.push("BTC-USDT", wire(end - MINUTE))
                await trio.sleep(30)

    place = house(hours=1)
    peer.script = [by_channel(chatter, stand)]
    await run(place, 2_000)
    assert len(peer.connects) == 2
    assert peer.unsubscribed() == []


async def test_a_channel_of_trades_without_pongs_is_made_anew(house, peer):
    """Silence of pushes is no loss, that of the other end is."""

    async def dead(line, args):
        for arg in args:
            await line.say({"event": "subscribe", "arg": arg})
        await line.obey(pong=False)

    place = house(hours=1)
    peer.script = [by_channel(stand, dead)]
    await run(place, 60)
    labels = {"connection": "trades-1", "reason": "silent"}
    assert place.figure("blofin_feed_disconnects_total", **labels) >= 1
    assert place.figure("blofin_feed_connects_total", connection="1") == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"side": "up"}, "shape"),
        ({"price": "-1"}, "impossible"),
        ({"ts": "1"}, "outside"),
    ],
)
async def test_a_bad_trade_is_counted_by_reason_and_costs_no_good_one(
    house, peer, end, events, changes, reason
):
    """The other trade of the same push is stored; the bad one is shown."""
    place = house(hours=1)
    assert place.figure("blofin_rows_rejected_total", feed="trades", reason=reason) == 0
    peer.script = [by_channel(stand, then(trade(end) | changes, trade(end, "2")))]
    await run(place, 8)
    assert [trade_id for _, trade_id, *_ in place.rows(STORED)] == ["2"]
    assert place.figure("blofin_rows_rejected_total", feed="trades", reason=reason) == 1
    assert place.figure("blofin_rows_rejected_total", feed="ws", reason=reason) == 0
    told = events("warning")[0]
    assert (told["event"], told["symbol"]) == ("rows rejected", "BTC-USDT")
    assert (told["feed"], told["reason"], told["count"]) == ("trades", reason, 1)


@pytest.mark.parametrize("how", [{"symbol": "ETH-USDT"}, {"channel": "tickers"}])
async def test_pushes_of_other_symbols_and_channels_are_not_stored(house, peer, end, how):
    """Only trades, only of what is watched."""
    place = house(hours=1)
    row = trade(end) | {"instId": how.get("symbol", "BTC-USDT")}
    peer.script = [by_channel(stand, then(row, **how))]
    await run(place, 8)
    assert place.rows(STORED) == []


async def test_connections_for_candles_are_made_first(house, peer):
    """However many there are, and at the same distance."""
    names = [f"S{number}-USDT" for number in range(2 * MAX_SYMBOLS_PER_CONNECTION + 1)]
    place = house(hours=1, watched=names)
    begun = trio.current_time()
    ingest, _ = live(place)
    with trio.move_on_after(20):
        await ingest.run()
    apart = [later - earlier for earlier, later in zip([begun, *peer.connects], peer.connects)]  # noqa: B905
    assert len(apart) == 6
    assert min(apart) >= CONNECT_INTERVAL_S - 1e-6
    channels = [message["args"][0]["channel"] for _, message in peer.heard if message != "ping"]
    assert channels == sorted(channels)
    names = [link.name for link in ingest.links.all()]
    assert names == ["1", "2", "3", "trades-1", "trades-2", "trades-3"]


async def test_a_lost_connection_for_candles_goes_before_those_for_trades(house, peer):
    """While one for candles waits for its turn, none for trades is made."""
    names = [f"S{number}-USDT" for number in range(4 * MAX_SYMBOLS_PER_CONNECTION)]
    place = house(hours=1, watched=names)
    made = []

    async def note(line, args):
        made.append(args[0]["channel"])
        await stand(line, args)

    async def once(_line, _args):
        made.append("lost")

    first = by_channel(once, note)
    peer.script = [first, by_channel(note, note)]
    ingest, _ = live(place)
    with trio.move_on_after(30):
        await ingest.run()
    assert made[:5] == ["lost", *["candle1m"] * 4]
    assert made[5:] == ["trades"] * 4


async def test_without_ticks_nothing_of_trades_is_subscribed_or_shown(house, peer):
    """As it is by default."""
    place = house(hours=1)
    ingest = ConnectionManager(
        "ws://blofin.test/ws",
        place.tracker,
        place.writer,
        place.metrics,
        place.rate_limiter,
        place.trouble,
    )
    ingest.add(["BTC-USDT"])
    with trio.move_on_after(10):
        await ingest.run()
    assert [link.name for link in ingest.links.all()] == ["1"]
    assert len(peer.connects) == 1
    assert place.figure("blofin_ticks_written_total", **BTC) is None


async def test_a_symbol_taken_out_ends_its_connection_of_trades(house, peer):
    """Its series are gone, and so is its trouble."""
    place = house(hours=1)
    peer.script = [FeedDisconnected("unreachable", "no route")]
    ingest, _ = live(place)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ingest.run)
        await trio.sleep(10)
        assert place.trouble
        ingest.drop("BTC-USDT")
        await trio.sleep(90)
        nursery.cancel_scope.cancel()
    assert not place.trouble
    assert place.figure("blofin_feed_connected", connection="trades-1") is None
    assert ingest.links.all() == []
