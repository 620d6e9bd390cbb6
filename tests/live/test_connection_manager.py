"""Laws of the live feed: sessions are kept alive, and only complete candles go to the writer."""

import itertools

import pytest
import trio

from blofin_agent.domain.candle import MINUTE
from blofin_agent.domain.errors import Banned, RateLimited
from blofin_agent.domain.rate_limit import BAN_S
from blofin_agent.exchange.websocket_session import FeedDisconnected, SessionTiming
from blofin_agent.live.connection_manager import (
    CONNECT_INTERVAL_S,
    MAX_SYMBOLS_PER_CONNECTION,
    ConnectionManager,
)
from blofin_agent.store.tables import rate_limit

STORED = "SELECT symbol, open_time, source FROM candles ORDER BY symbol, open_time"


def live(place, *symbols):
    ingest = ConnectionManager(
        "ws://blofin.test/ws",
        place.tracker,
        place.writer,
        place.metrics,
        place.rate_limiter,
        place.trouble,
    )
    ingest.add(symbols or place.tracker.histories)
    return ingest


async def run(ingest, seconds):
    with trio.move_on_after(seconds):
        await ingest.run()


def pushing(*messages, channel="candle1m"):
    """Return a script that obeys, and pushes each (symbol, rows) half a second after another."""

    async def script(line):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(line.obey)
            for symbol, rows in messages:
                await trio.sleep(0.5)
                await line.push(symbol, *rows, channel=channel)

    return script


async def test_a_complete_candle_is_stored_and_counted(house, peer, wire, end):
    """Its push, the commit, then the coverage."""
    place = house(hours=1)
    peer.script = [pushing(("BTC-USDT", [wire(end - MINUTE)]))]
    await run(live(place), 5)
    assert place.rows(STORED) == [("BTC-USDT", end - MINUTE, "blofin_ws")]
    assert place.tracker.counts()["BTC-USDT"].present == 1
    assert place.figure("blofin_feed_messages_total", kind="candle") == 1
    assert place.figure("blofin_feed_messages_total", kind="ack") == 1
    assert place.figure("blofin_feed_last_push_timestamp_seconds", symbol="BTC-USDT") > 1e9


@pytest.mark.parametrize("confirm", ["0", "", "2"])
async def test_an_open_candle_is_never_stored(house, peer, wire, end, confirm):
    """The last push of a minute that never got its "1" is not promoted."""
    place = house(hours=1)
    peer.script = [pushing(("BTC-USDT", [wire(end - MINUTE, confirm)]))]
    await run(live(place), 5)
    assert place.rows(STORED) == []


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (lambda _wire, _end: ["junk"], "shape"),
        (lambda wire, end: wire(end - MINUTE + 1), "off_grid"),
        (lambda wire, end: [*wire(end - MINUTE)[:1], "-1", *wire(end - MINUTE)[2:]], "impossible"),
        (lambda wire, end: wire(end + 5 * MINUTE), "outside"),
        (lambda wire, end: wire(end - 61 * MINUTE), "outside"),
    ],
)
async def test_a_bad_row_is_counted_by_reason_and_costs_no_good_one(
    house, peer, wire, end, events, row, reason
):
    """The other row of the same push is stored; the bad one is shown."""
    place = house(hours=1)
    peer.script = [pushing(("BTC-USDT", [row(wire, end), wire(end - 2 * MINUTE)]))]
    await run(live(place), 5)
    assert [time for _, time, _ in place.rows(STORED)] == [end - 2 * MINUTE]
    assert place.figure("blofin_rows_rejected_total", feed="ws", reason=reason) == 1
    told = events("warning")[0]
    assert (told["event"], told["symbol"]) == ("rows rejected", "BTC-USDT")
    assert (told["feed"], told["reason"], told["count"]) == ("ws", reason, 1)
    assert told["example"]


async def test_a_flood_of_bad_rows_is_one_line(house, peer, wire, end, events):
    """All are counted, one is shown a minute."""
    place = house(hours=1)
    peer.script = [pushing(*[("BTC-USDT", [["junk"], wire(end - MINUTE + 1)])] * 9)]
    await run(live(place), 10)
    assert place.figure("blofin_rows_rejected_total", feed="ws", reason="shape") == 9
    assert [(one["event"], one["reason"]) for one in events("warning")] == [
        ("rows rejected", "shape"),
        ("rows rejected", "off_grid"),
    ]


async def test_a_candle_just_closed_by_blofins_clock_is_taken_before_ours_says_so(
    house, peer, wire, end
):
    """A clock that is 50 s behind costs no live candle."""
    place = house(hours=1)
    peer.script = [pushing(("BTC-USDT", [wire(end)]))]
    await run(live(place), 5)
    assert [time for _, time, _ in place.rows(STORED)] == [end]


async def test_pushes_of_other_symbols_and_channels_are_not_stored(house, peer, wire, end):
    """Only what is watched, only the bar of the settings."""
    place = house(hours=1)
    peer.script = [pushing(("ETH-USDT", [wire(end - MINUTE)]))]
    await run(live(place), 5)
    peer.script = [pushing(("BTC-USDT", [wire(end - 5 * MINUTE)]), channel="candle5m")]
    await run(live(place), 5)
    assert place.rows(STORED) == []


async def test_a_candle_that_is_held_is_not_written_again(house, peer, wire, end, hold):
    """A repeated push costs no transaction."""
    place = house(hours=1)
    hold(place.tracker.histories["BTC-USDT"], place.tracker.window())
    peer.script = [pushing(("BTC-USDT", [wire(end - MINUTE)]))]
    await run(live(place), 5)
    assert place.rows(STORED) == []


async def test_a_refused_symbol_is_named_and_the_others_stand(house, peer, events):
    """Its own figure is 0; it is tried again after minutes."""
    place = house(hours=1, watched=("BTC-USDT", "BAD-USDT"))
    peer.script = [lambda line: line.obey(refuse=["BAD-USDT"])]
    await run(live(place), 20)
    assert place.figure("blofin_feed_subscribed", symbol="BTC-USDT") == 1
    assert place.figure("blofin_feed_subscribed", symbol="BAD-USDT") == 0
    assert place.figure("blofin_feed_messages_total", kind="refused") == 1
    told = events("warning")[0]
    assert told["event"] == "subscription rejected by BloFin"
    assert (told["symbol"], told["feed"], told["code"]) == ("BAD-USDT", "ws", "60012")
    assert told["action"] == "retry every few minutes; its candles are fetched by REST until then"


async def test_a_refusal_that_names_none_of_ours_is_told(house, peer, events):
    """Nothing is refused by it."""
    place = house(hours=1)

    async def script(line):
        await line.say({"event": "error", "code": "60001", "msg": "something"})
        await line.obey()

    peer.script = [script]
    await run(live(place), 5)
    assert events("warning") == [
        {
            "event": "subscription rejected by BloFin",
            "feed": "ws",
            "code": "60001",
            "error": "something",
        }
    ]
    assert place.figure("blofin_feed_subscribed", symbol="BTC-USDT") == 1


async def test_messages_of_every_kind_are_counted(house, peer, events):
    """Pongs, garbage, and what was unsubscribed."""
    place = house(hours=1)

    async def script(line):
        await line.say("what?")
        await line.say("what??")
        await line.say("pong")
        await line.say(
            {"event": "unsubscribe", "arg": {"channel": "candle1m", "instId": "BTC-USDT"}}
        )
        await trio.sleep_forever()

    peer.script = [script]
    await run(live(place), 5)
    kinds = {"invalid": 2, "pong": 1, "ack": 1, "candle": 0, "refused": 0}
    for kind, count in kinds.items():
        assert place.figure("blofin_feed_messages_total", kind=kind) == count
    assert events("warning") == [
        {"event": "malformed websocket message", "feed": "ws", "text": "what?"}
    ]


async def test_a_push_stands_for_a_lost_acknowledgement(house, peer, wire, end):
    """The symbol counts as subscribed."""
    place = house(hours=1)

    async def script(line):
        await line.hear()
        await line.push("BTC-USDT", wire(end - MINUTE))
        await trio.sleep_forever()

    peer.script = [script]
    ingest = live(place)
    with trio.move_on_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ingest.run)
            await trio.sleep(3)
            assert place.figure("blofin_feed_subscribed", symbol="BTC-USDT") == 1
            assert place.figure("blofin_feed_connected", connection="1") == 1


async def test_a_lost_session_is_made_anew_ever_less_soon(house, peer, events):
    """1, 2, 4 seconds and so on, shortened by chance; told once, and its end once."""
    place = house(hours=1)
    gone = FeedDisconnected("unreachable", "no route")
    peer.script = [gone, gone, gone, gone, lambda line: line.obey()]
    ingest = live(place)
    with trio.move_on_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ingest.run)
            await trio.sleep(50)
            labels = {"connection": "1"}
            assert place.figure("blofin_feed_connected", **labels) == 1
            assert place.figure("blofin_feed_connects_total", **labels) == 1
            labels["reason"] = "unreachable"
            assert place.figure("blofin_feed_disconnects_total", **labels) == 4
    waits = [later - earlier for earlier, later in zip(peer.connects, peer.connects[1:])]  # noqa: B905
    for wait, longest in zip(waits, (CONNECT_INTERVAL_S, 2, 4, 8), strict=True):
        assert max(CONNECT_INTERVAL_S, 0.75 * longest) <= wait + 1e-6
        assert wait <= longest + 1e-6
    assert events("warning") == [
        {
            "event": "it is away",
            "error": "no route",
            "source": "websocket connection 1",
            "connection": "1",
            "reason": "unreachable",
            "action": "it goes on",
        }
    ]
    assert events("info") == [{"event": "it is back"}]
    up = {"event": "websocket connection established", "connection": "1", "symbols": 1}
    assert up in events("debug")


async def test_a_steady_session_resets_the_backoff(house, peer):
    """After a day of good work the first retry is quick again."""
    place = house(hours=1)
    gone = FeedDisconnected("unreachable", "no route")

    async def an_hour(line):
        with trio.move_on_after(61):
            await line.obey()

    peer.script = [gone, gone, gone, gone, gone, an_hour, gone]
    await run(live(place), 31 + 61 + 5)
    steady = peer.connects[5]
    assert peer.connects[6] - steady <= 61 + 2.1


def failing(error):
    """Return a question that meets an error."""

    async def question():
        raise error

    return question


async def test_a_firewall_keeps_the_feed_away_for_its_ban(house, peer):
    """HTTP 403 at the handshake: no new connection for five minutes."""
    place = house(hours=1)
    peer.script = [403]
    await run(live(place), BAN_S + 30)
    assert len(peer.connects) == 2
    assert peer.connects[1] - peer.connects[0] >= BAN_S
    labels = {"connection": "1", "reason": "rejected"}
    assert place.figure("blofin_feed_disconnects_total", **labels) == 2


async def test_a_ban_of_rest_holds_for_the_websocket_too(house, peer, exchange):
    """One address, one firewall; a 429 of REST does not hold the feed up."""
    place = house(hours=1)
    exchange.script = [Banned("firewall", 100.0)]
    with pytest.raises(Banned):
        await place.rate_limiter.request("instruments", exchange.instruments)
    until = trio.current_time() + 100
    await run(live(place), 120)
    assert until <= peer.connects[0] <= until + 2


@pytest.mark.slow("minutes of virtual time on many connections")
async def test_after_a_ban_one_connection_goes_alone(house, peer):
    """Of three the first; when it is refused as well, none of the others tries."""
    place = house(
        hours=1, watched=[f"S{number}-USDT" for number in range(2 * MAX_SYMBOLS_PER_CONNECTION + 1)]
    )
    peer.script = [403]
    await run(live(place), BAN_S + 2 * BAN_S)
    assert len(peer.connects) == 2
    assert BAN_S <= peer.connects[1] - peer.connects[0] <= BAN_S + 5
    assert place.shared_budget.suspension.strikes == 2


async def test_a_connection_that_stands_ends_the_ban(house, peer):
    """The others follow a second apart, and REST may ask again."""
    place = house(
        hours=1, watched=[f"S{number}-USDT" for number in range(2 * MAX_SYMBOLS_PER_CONNECTION + 1)]
    )
    peer.script = [403, *peer.script]
    await run(live(place), BAN_S + 15)
    assert len(peer.connects) == 4
    apart = [later - earlier for earlier, later in itertools.pairwise(peer.connects[1:])]
    assert all(CONNECT_INTERVAL_S <= one <= 2 * CONNECT_INTERVAL_S for one in apart)
    assert not place.shared_budget.suspension.strikes


async def test_rest_and_the_websocket_share_one_probe_after_a_ban(house, peer, exchange):
    """While a question is under way to see whether it is over, no connection is tried."""
    place = house(hours=1)
    with pytest.raises(Banned):
        await place.rate_limiter.request("instruments", failing(Banned("firewall", 50.0)))
    begun = trio.current_time()

    async def slow():
        begun_probe.append(trio.current_time() - begun)
        await trio.sleep(15)

    begun_probe = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(place.rate_limiter.request, "instruments", slow)
        nursery.start_soon(live(place).run)
        await trio.sleep(80)
        nursery.cancel_scope.cancel()
    (probe,) = begun_probe
    (connect,) = (at - begun for at in peer.connects)
    assert 50 <= probe <= 55
    assert probe + 15 <= connect <= probe + 20


async def test_a_ban_that_another_process_met_is_known_before_a_connection_is_tried(house, peer):
    """It is in the store, and looked for there each time."""
    place = house(hours=1)
    until = place.wall() + 100_000
    place.other(f"UPDATE suspension SET until = {until}, strikes = 1, banned = 1")
    began = trio.current_time()
    await run(live(place), 120)
    assert 100 <= peer.connects[0] - began <= 105


async def test_a_connection_does_not_end_the_suspension_after_a_429(house, peer):
    """That is REST's alone: the connection proves nothing."""
    place = house(hours=1)
    with pytest.raises(RateLimited):
        await place.rate_limiter.request("instruments", failing(RateLimited("too many", 50.0)))
    await run(live(place), 70)
    assert len(peer.connects) == 1
    assert place.shared_budget.suspension.strikes == 1


async def test_connections_are_opened_a_second_apart(house, peer):
    """BloFin allows one a second from an address; also after a restart."""
    names = [f"S{number}-USDT" for number in range(2 * MAX_SYMBOLS_PER_CONNECTION + 1)]
    place = house(hours=1, watched=names)
    begun = trio.current_time()
    await run(live(place), 10)
    apart = [at - begun for at in peer.connects]
    assert apart == pytest.approx([n * CONNECT_INTERVAL_S for n in (1, 2, 3)])
    assert sorted(symbol for _, some in peer.subscribed() for symbol in some) == sorted(names)
    assert max(len(some) for _, some in peer.subscribed()) == 8


async def test_a_connection_waits_for_those_of_other_agents_behind_the_address(house, peer):
    """Each takes its turn in the store, and comes so long after the one before."""
    place = house(hours=1)
    begun = trio.current_time()
    for _ in range(4):
        await place.store.write(
            "budget", lambda db: rate_limit.connect_at(db, "", place.wall(), 1_250)
        )
    await run(live(place), 10)
    (at,) = peer.connects
    assert at - begun == pytest.approx(4 * CONNECT_INTERVAL_S)


async def test_a_database_that_is_away_holds_no_connection_up(house, peer, locker):
    """Candles that come meanwhile wait for it in memory."""
    place = house(hours=1)
    locker.execute("BEGIN IMMEDIATE")
    await run(live(place), 10)
    assert len(peer.connects) == 1
    locker.execute("ROLLBACK")


async def test_symbols_that_come_later_join_a_connection_that_has_room(house, peer):
    """BloFin is told when one goes, and the series of those taken out do not come back."""
    place = house(hours=1)
    ingest = live(place)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ingest.run)
        await trio.sleep(5)
        place.add("NEW-USDT")
        ingest.add(["NEW-USDT"])
        await trio.sleep(5)
        assert [symbols for _, symbols in peer.subscribed()] == [["BTC-USDT"], ["NEW-USDT"]]
        assert len(peer.connects) == 1
        ingest.drop("NEW-USDT")
        del place.tracker.histories["NEW-USDT"]
        place.metrics.remove_symbol("NEW-USDT")
        await trio.sleep(80)
        nursery.cancel_scope.cancel()
    assert peer.unsubscribed()[0][1] == ["NEW-USDT"]
    assert place.figure("blofin_feed_subscribed", symbol="NEW-USDT") is None


async def test_symbols_that_find_no_room_get_connections_of_their_own(house, peer):
    """One that is full stays as it is; the one that is left is closed when its last symbol goes."""
    names = [f"S{number}-USDT" for number in range(MAX_SYMBOLS_PER_CONNECTION - 1)]
    place = house(hours=1, watched=names)
    ingest = live(place)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ingest.run)
        await trio.sleep(5)
        for name in ("NEW-USDT", "NEWER-USDT"):
            place.add(name)
        ingest.add(["NEW-USDT", "NEWER-USDT"])
        await trio.sleep(5)
        latest = [some for _, some in peer.subscribed()[-2:]]
        assert sorted(latest) == [["NEW-USDT"], ["NEWER-USDT"]]
        assert len(peer.connects) == 2
        ingest.drop("NEWER-USDT")
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    assert place.figure("blofin_feed_connected", connection="2") is None
    assert place.figure("blofin_feed_connected", connection="1") == 1


async def test_a_connection_is_told_of_before_it_is_made_and_not_after_its_last_symbol(house, peer):
    """Its series are there at 0 as soon as its symbols are known; then they are gone, and so is
    its trouble."""
    place = house(hours=1)
    peer.script = [FeedDisconnected("unreachable", "no route")]
    ingest = live(place)
    labels = {"connection": "1"}
    assert place.figure("blofin_feed_connected", **labels) == 0
    assert place.figure("blofin_feed_disconnects_total", **labels, reason="unreachable") == 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ingest.run)
        await trio.sleep(5)
        assert place.trouble
        ingest.drop("BTC-USDT")
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert place.figure("blofin_feed_connected", **labels) is None
    assert place.figure("blofin_feed_disconnects_total", **labels, reason="unreachable") is None
    assert not place.trouble


async def test_a_full_queue_drops_live_candles_and_healing_may_have_them(house, peer, wire, end):
    """The reader never waits for the database."""
    place = house(hours=1, capacity=3, writing=False)
    rows = [wire(end - number * MINUTE) for number in range(1, 11)]
    peer.script = [pushing(("BTC-USDT", rows))]
    await run(live(place), 5)
    assert place.figure("blofin_writer_dropped_total") == 7
    assert place.tracker.counts()["BTC-USDT"].present == 0


async def test_a_lost_line_shows_at_once(house, peer):
    """Connected and subscribed are 0 while it is gone."""
    place = house(hours=1)

    async def once(line):
        with trio.move_on_after(5):
            await line.obey()

    peer.script = [once, FeedDisconnected("unreachable", "no route")]
    ingest = ConnectionManager(
        "ws://blofin.test/ws",
        place.tracker,
        place.writer,
        place.metrics,
        place.rate_limiter,
        place.trouble,
        SessionTiming(connect_s=1),
    )
    ingest.add(["BTC-USDT"])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ingest.run)
        await trio.sleep(4)
        assert place.figure("blofin_feed_connected", connection="1") == 1
        assert place.figure("blofin_feed_subscribed", symbol="BTC-USDT") == 1
        await trio.sleep(20)
        assert place.figure("blofin_feed_connected", connection="1") == 0
        assert place.figure("blofin_feed_subscribed", symbol="BTC-USDT") == 0
        nursery.cancel_scope.cancel()


async def test_a_live_candle_of_another_price_is_left_to_rest(house, peer, wire, end):
    """It may be another symbol's; REST is asked for it, twice where it says the same."""
    place = house(hours=1)
    leap = [str(end - MINUTE), "250", "300", "100", "200", "10", "0.5", "20", "1"]
    peer.script = [
        pushing(("BTC-USDT", [wire(end - 2 * MINUTE)]), ("BTC-USDT", [leap])),
    ]
    await run(live(place), 5)
    assert place.rows(STORED) == [("BTC-USDT", end - 2 * MINUTE, "blofin_ws")]
    assert place.figure("blofin_rows_rejected_total", feed="ws", reason="doubtful") == 1


@pytest.mark.parametrize("ahead_s", [0, 45, -45, -200])
async def test_a_clock_that_is_wrong_shows_in_a_metric(house, peer, wire, end, ahead_s):
    """Also one so far behind that the candle looks impossible."""
    place = house(hours=1)
    place.wall.ahead_ms = ahead_s * 1_000
    # It closes by BloFin's clock as it comes, 15.5 s after the test's begin.
    place.wall.ahead_ms -= 15_000
    peer.script = [pushing(("BTC-USDT", [wire(end - MINUTE)]))]
    await run(live(place), 5)
    offset = place.figure("blofin_clock_offset_seconds")
    assert ahead_s <= offset <= ahead_s + 3


@pytest.mark.parametrize(
    ("order", "counted"),
    [((3, 2, 1), (0, 0)), ((3, 3, 2), (1, 0)), ((2, 3, 1), (0, 1)), ((2, 3, 2), (0, 1))],
)
async def test_an_odd_push_is_counted_by_what_is_odd(house, peer, wire, end, order, counted):
    """How many minutes ago each opened; all are stored all the same."""
    place = house(hours=1)
    peer.script = [pushing(*[("BTC-USDT", [wire(end - ago * MINUTE)]) for ago in order])]
    await run(live(place), 5)
    assert [time for _, time, _ in place.rows(STORED)] == sorted(
        {end - ago * MINUTE for ago in order}
    )
    kinds = ("repeated", "unordered")
    assert counted == tuple(
        place.figure("blofin_oddities_total", feed="ws", kind=one) for one in kinds
    )


async def test_an_absurd_time_makes_no_later_push_odd(house, peer, wire, end):
    place = house(hours=1)
    peer.script = [pushing(*[("BTC-USDT", [wire(at)]) for at in (end + 10**12, end - MINUTE)])]
    await run(live(place), 5)
    assert place.figure("blofin_oddities_total", feed="ws", kind="unordered") == 0
