"""Laws of an agent's place among others, in virtual time: shares, leases, and letting go first.

Several members are on one store, each with a line to it that can be cut. All the time somebody
looks whether two show the same symbol, and how long nobody shows it.
"""

import pytest
import sqlalchemy as sa
import trio

from blofin_agent.domain.candle import Timeframe
from blofin_agent.domain.instrument import Instrument
from blofin_agent.domain.rate_limit import LIMITS
from blofin_agent.domain.symbol_assignment import assign_symbols
from blofin_agent.fleet.membership import FleetMembership
from blofin_agent.fleet.status import FleetStatus as Told
from blofin_agent.store.database import open_store
from blofin_agent.store.errors import StoreUnavailable
from blofin_agent.store.tables import fleet as stored
from blofin_agent.store.tables.fleet import AgentIdentity
from blofin_agent.store.timing import DEFAULT
from tests.conftest import NOW

SYMBOLS = frozenset(f"SIM{number}-USDT" for number in range(24))
LOOK_S = 0.25
BEAT_S, AGAIN_S, LEASE_S = DEFAULT.heartbeat_s, DEFAULT.heartbeat_retry_s, DEFAULT.lease_s
SETTLED_S = 3 * BEAT_S
"""So long until a few who came at once have their shares."""


class Line:
    """A member's line to the store; `cut`: what happens then."""

    def __init__(self, store):
        self._store = store
        self.clock = store.clock
        self.timing = store.timing
        self.cut = False
        self.writes = []

    async def write(self, operation, work):
        assert operation == "beat"
        if self.cut:
            await trio.sleep(2)
            raise StoreUnavailable("the line is cut")
        name = work.func.__name__ if hasattr(work, "func") else work.__name__.strip("_")
        self.writes.append((trio.current_time(), name))
        return await self._store.write(operation, work)


class Listed:
    """What a member knows of BloFin's instruments: all know the same."""

    def __init__(self, listed):
        self.listed = listed

    async def catch_up(self, _seen):
        return False


class One:
    """A member, and what it does with its symbols."""

    def __init__(self, service, store, listed, *, egress="", wanted=("all",)):
        self.line = Line(store)
        me = AgentIdentity(
            service, NOW, "a test", egress or service, Timeframe.M1, wanted, f"http://{service}"
        )
        self.fleet = FleetMembership(self.line, me, Listed(listed))
        self.kept = []
        """When it was told to keep what."""
        self.has = frozenset()
        """What it keeps now."""
        self.slow_s = 0.0
        """How long it takes to let go and to begin."""
        self.fails = 0
        self.life = trio.CancelScope()

    async def run(self):
        with self.life:
            await self.fleet.run(self.keep)

    async def keep(self, owned):
        await trio.sleep(self.slow_s)
        self.has &= owned
        if self.fails:
            self.fails -= 1
            raise StoreUnavailable("it cannot be read")
        self.has = owned
        self.kept.append((trio.current_time(), owned))

    @property
    def shows(self):
        """What /metrics has."""
        there = self.fleet.holds and not self.life.cancel_called
        return self.has if there else frozenset()


class Crew:
    """All members, and somebody who looks at them."""

    def __init__(self, nursery, open_one):
        self.all = []
        self.listed = {symbol: Instrument(symbol, None, "live") for symbol in SYMBOLS}
        self.since = dict.fromkeys(SYMBOLS, 0.0)
        """When each symbol was last shown by somebody."""
        self.longest_s = 0.0
        """For how long one was shown by nobody."""
        self.looks = trio.CancelScope()
        self.open = open_one
        self._nursery = nursery

    def join(self, *services, **how):
        """Let some come, and return them."""
        came = [One(service, self.open(), self.listed, **how) for service in services]
        self.all += came
        for one in came:
            self._nursery.start_soon(one.run)
        return came

    async def three(self):
        """Let three come, and wait until they have their shares; nobody beats just then."""
        came = self.join("a", "b", "c")
        await trio.sleep(SETTLED_S + LOOK_S / 2)
        self.longest_s = 0.0
        return came

    async def look(self):
        with self.looks:
            while True:
                shown = [symbol for one in self.all for symbol in one.shows]
                assert len(shown) == len(set(shown)), "two show the same"
                now = trio.current_time()
                for symbol in shown:
                    self.longest_s = max(self.longest_s, now - self.since.get(symbol, now))
                    self.since[symbol] = now
                await trio.sleep(LOOK_S)

    def whole(self):
        """Return whether each symbol is shown by one."""
        return sorted(symbol for one in self.all for symbol in one.shows) == sorted(SYMBOLS)


@pytest.fixture
async def crew(wall, nursery, database_file, monkeypatch):
    opened = []

    def open_one():
        opened.append(open_store(database_file))
        wall.limiters.append(opened[-1].limiter)
        return opened[-1]

    monkeypatch.setattr(stored, "now_ms", lambda _connection: wall())
    crew = Crew(nursery, open_one)
    nursery.start_soon(crew.look)
    yield crew
    nursery.cancel_scope.cancel()
    with trio.CancelScope(shield=True):
        for store in opened:
            async with store.limiter:
                store.close()


# -- shares ---------------------------------------------------------------------------------------


async def test_one_alone_keeps_all_at_once_and_says_every_5_s_that_it_lives(crew):
    """Until it has its share it has not joined."""
    (one,) = crew.join("a")
    assert not one.fleet.joined
    await trio.sleep(12)
    assert one.kept == [(0, SYMBOLS)]
    assert one.fleet.joined
    assert one.line.writes == [(0, "beat"), (0, "claim"), (5, "beat"), (10, "beat")]


async def test_three_share_out_all_symbols_and_settle(crew):
    """Then nothing moves any more."""
    members = await crew.three()
    assert crew.whole()
    assert all(len(one.shows) >= 3 for one in members)
    before = [len(one.kept) for one in members]
    await trio.sleep(LOOK_S)
    since = trio.current_time()
    await trio.sleep(60)
    assert [len(one.kept) for one in members] == before
    for one in members:
        assert [what for at, what in one.line.writes if at > since] == 12 * ["beat"]


async def test_one_that_comes_gets_its_share_within_seconds(crew):
    """A symbol that goes to it is nobody's for as long as it takes to see that it is free."""
    members = await crew.three()
    before = [one.shows for one in members]
    (comer,) = crew.join("d")
    await trio.sleep(BEAT_S + 2 * AGAIN_S)
    assert crew.whole()
    assert len(comer.shows) >= 3
    assert all(one.shows <= had for one, had in zip(members, before, strict=True))
    assert crew.longest_s <= AGAIN_S + 2 * LOOK_S


async def test_a_symbol_is_let_go_of_before_another_takes_it(crew):
    """However long that takes."""
    (slow,) = crew.join("a")
    await trio.sleep(1)
    slow.slow_s = 12
    (comer,) = crew.join("b")
    await trio.sleep(60)
    assert crew.whole()
    let_go = slow.kept[1][0]
    assert let_go == 5 + slow.slow_s
    assert comer.kept[0] == (1, frozenset())
    assert let_go <= comer.kept[1][0] <= let_go + AGAIN_S


@pytest.mark.slow("leases in virtual time, on a real database")
async def test_one_that_takes_longer_than_a_lease_to_begin_or_to_let_go_is_not_taken_for_gone(
    crew, events
):
    """As with a window of years: it says all the time that it lives."""
    one, two = crew.join("a", "b")
    one.slow_s = two.slow_s = 2 * LEASE_S
    await trio.sleep(3 * LEASE_S)
    crew.join("c")
    await trio.sleep(12 * LEASE_S)
    assert crew.whole()
    assert events("warning") == []
    for each in (one, two):
        assert each.fleet.joined


async def test_only_those_who_want_a_symbol_get_it(crew):
    """Patterns, names, all; one to whom nothing falls has joined all the same, and is quiet."""
    some = crew.join("a", wanted=("SIM1*", "SIM2-USDT"))[0]
    rest = crew.join("b")[0]
    none = crew.join("c", wanted=("*-USDC",))[0]
    await trio.sleep(SETTLED_S)
    assert crew.whole()
    assert 0 < len(some.shows) < 12
    assert all(symbol.startswith(("SIM1", "SIM2-")) for symbol in some.shows)
    assert rest.shows == SYMBOLS - some.shows
    assert (none.fleet.joined, none.shows, none.kept) == (True, frozenset(), [(0, frozenset())])


async def test_those_behind_one_address_share_its_share(crew):
    """And each knows how many they are."""
    alone = crew.join("a")[0]
    together = crew.join("b", "c", "d", egress="an office")
    await trio.sleep(SETTLED_S)
    assert crew.whole()
    # Half of 24, and not a fourth.
    assert len(alone.shows) >= 8
    # The load is that of the address: 475 requests in a minute are 237.5 in half of one.
    owned = [len(one.shows) for one in (alone, *together)]
    told = [one.fleet.fleet_status(30, LIMITS[0]) for one in (alone, *together)]
    pages = [(name, f"http://{name}") for name in "abcd"]
    assert told[0] == Told(4, owned[0], 0, owned[0] / 237.5, True, True, tuple(pages[1:]))
    assert told[1].load == 3 * owned[1] / 237.5


# -- going ----------------------------------------------------------------------------------------


async def test_what_one_kept_that_was_killed_is_taken_over_when_its_lease_is_over(crew, events):
    """Not sooner: it might be cut off alone. And only that moves."""
    members = await crew.three()
    gone, *left = members
    before = [one.shows for one in left]
    gone.life.cancel()
    at = trio.current_time()
    beat = max(when for when, _ in gone.line.writes)
    while not crew.whole():
        assert [one.shows for one in left] == before or trio.current_time() >= beat + LEASE_S
        await trio.sleep(LOOK_S)
    assert beat + LEASE_S <= trio.current_time() <= beat + LEASE_S + BEAT_S + LOOK_S
    assert crew.longest_s <= trio.current_time() - at + LOOK_S
    assert all(had <= one.shows for one, had in zip(left, before, strict=True))
    left_event = {"event": "agent left", "agent": "a", "agents": 2}
    assert events("warning") == [left_event | {"action": "take over its symbols"}] * 2


async def test_what_nobody_keeps_is_counted_until_somebody_does(crew):
    """From the end of the lease on, and no longer than to the next beats."""
    gone, *left = await crew.three()
    theirs = len(gone.shows)
    gone.life.cancel()
    await trio.sleep(LEASE_S - BEAT_S - 1)
    assert [one.fleet.orphaned for one in left] == [0, 0]
    seen = set()
    with trio.move_on_after(3 * BEAT_S):
        while True:
            seen |= {one.fleet.orphaned for one in left}
            await trio.sleep(LOOK_S)
    assert max(seen) == theirs
    assert [one.fleet.orphaned for one in left] == [0, 0]


async def test_one_that_leaves_gives_all_back_at_once(crew):
    """The others have it with their next beat."""
    one = (await crew.three())[0]
    one.life.cancel()
    await one.fleet.leave()
    await trio.sleep(BEAT_S + LOOK_S)
    assert crew.whole()
    assert crew.longest_s <= BEAT_S + 2 * LOOK_S


async def test_one_that_never_came_has_nothing_to_leave(crew):
    """Nor does it matter that the store is away then."""
    one = One("a", crew.open(), crew.listed)
    await one.fleet.leave()
    assert one.line.writes == []
    (one,) = crew.join("b")
    await trio.sleep(1)
    one.life.cancel()
    one.line.cut = True
    await one.fleet.leave()


# -- cut off --------------------------------------------------------------------------------------


async def test_one_that_is_cut_off_shows_nothing_once_others_may_have_taken_over(crew):
    """It is never shown by two; when it is back it takes its share, and nobody else's moves."""
    cut, *left = await crew.three()
    share = cut.shows
    cut.line.cut = True
    beat = max(when for when, _ in cut.line.writes)
    await trio.sleep_until(beat + LEASE_S - 2 * LOOK_S)
    assert cut.shows == share
    await trio.sleep(3 * LOOK_S)
    assert not cut.fleet.holds
    assert cut.shows == frozenset()
    await trio.sleep(BEAT_S)
    assert crew.whole()
    assert crew.longest_s <= BEAT_S + 2 * LOOK_S
    before = [one.shows for one in left]
    cut.line.cut = False
    await trio.sleep(2 * BEAT_S)
    assert crew.whole()
    assert cut.shows == share
    assert all(one.shows == had - share for one, had in zip(left, before, strict=True))


async def test_one_that_comes_back_shows_nothing_that_others_have_meanwhile(crew):
    """Not even for a moment, however long it takes to let go."""
    cut = (await crew.three())[0]
    cut.line.cut = True
    await trio.sleep(LEASE_S + 2 * BEAT_S)
    cut.slow_s = 3
    cut.line.cut = False
    # Whoever looks sees whether two show the same.
    await trio.sleep(4 * BEAT_S)
    assert crew.whole()


async def test_what_was_not_taken_over_is_still_there_for_one_that_comes_back(crew):
    """It was cut off for less than the lease: nothing moves, and no claim is made."""
    cut = (await crew.three())[0]
    before = [one.shows for one in crew.all]
    cut.line.cut = True
    await trio.sleep(LEASE_S - BEAT_S - 3)
    cut.line.cut = False
    since = trio.current_time()
    await trio.sleep(2 * BEAT_S)
    assert [one.shows for one in crew.all] == before
    assert {what for one in crew.all for at, what in one.line.writes if at > since} == {"beat"}


async def test_after_an_outage_for_all_nobody_takes_over_what_another_keeps(crew):
    """The first one that is back would else find that all others are gone."""
    members = await crew.three()
    before = [one.shows for one in members]
    kept = [len(one.kept) for one in members]
    for one in members:
        one.line.cut = True
    await trio.sleep(40)
    assert not any(one.shows for one in members)
    for one in members:
        one.line.cut = False
    await trio.sleep(BEAT_S)
    assert [one.shows for one in members] == before
    assert [len(one.kept) for one in members] == kept


async def test_one_that_did_not_survive_an_outage_is_missed_soon_after_it(crew):
    """The others are patient with it, and not for long."""
    gone, *left = await crew.three()
    for one in crew.all:
        one.line.cut = True
    gone.life.cancel()
    await trio.sleep(40)
    for one in left:
        one.line.cut = False
    await trio.sleep(DEFAULT.return_s + BEAT_S + 2 * AGAIN_S)
    assert crew.whole()


async def test_one_alone_goes_on_through_an_outage(crew):
    """There was nobody who could take over."""
    (one,) = crew.join("a")
    await trio.sleep(1)
    one.line.cut = True
    await trio.sleep(100)
    assert one.shows == SYMBOLS


# -- what else can be -----------------------------------------------------------------------------


async def test_a_process_whose_name_another_takes_goes_on_under_another_name(crew, events):
    """As two containers of one host name may. It lets go of all, and then has its share."""
    (one,) = crew.join("a")
    await trio.sleep(1)
    # The name passes on at once, as if the first had been killed: for one beat both keep all.
    crew.looks.cancel()
    (other,) = crew.join("a")
    await trio.sleep(1)
    assert (one.shows, other.shows) == (SYMBOLS, SYMBOLS)
    await trio.sleep(SETTLED_S)
    assert crew.whole()
    assert one.kept[1][1] == frozenset()
    assert one.fleet.service.startswith("a#")
    assert other.fleet.service == "a"
    assert len(one.shows) >= 3
    assert events("warning") == [
        {"event": "agent name already in use", "agent": "a", "new_name": one.fleet.service}
    ]


async def test_what_could_not_be_kept_is_tried_again(crew):
    """The store may go away in the middle; the share is only had once all of it is."""
    (one,) = crew.join("a")
    one.fails = 3
    await trio.sleep(AGAIN_S / 2)
    assert not one.fleet.joined
    await trio.sleep(3 * AGAIN_S)
    assert one.kept == [(3 * AGAIN_S, SYMBOLS)]
    assert one.fleet.joined


async def test_a_symbol_that_is_listed_anew_is_taken_by_one_and_a_delisted_one_let_go(crew):
    """Nothing else moves."""
    members = await crew.three()
    before = [one.shows for one in members]
    crew.listed["NEW-USDT"] = Instrument("NEW-USDT", NOW, "live")
    del crew.listed["SIM1-USDT"]
    await trio.sleep(2 * BEAT_S + LOOK_S)
    after = [one.shows for one in members]
    moved = [has ^ had for has, had in zip(after, before, strict=True)]
    assert sorted(symbol for these in moved for symbol in these) == ["NEW-USDT", "SIM1-USDT"]
    assert "NEW-USDT" in frozenset().union(*after)
    assert [one.fleet.orphaned for one in members] == [0, 0, 0]


async def test_a_symbol_that_only_its_owner_to_be_does_not_know_is_counted(crew):
    """Its list is older; until it has read BloFin's again, nobody else takes the symbol."""
    members = await crew.three()
    knowing = crew.listed | {"NEW-USDT": Instrument("NEW-USDT", NOW, "live")}
    falls_to = {
        one: assign_symbols(one.fleet.service, one.fleet.members, knowing) for one in members
    }
    (late,) = [one for one, shares in falls_to.items() if "NEW-USDT" in shares.mine]
    early = [one for one in members if one is not late]
    for one in early:
        one.fleet._listing = Listed(knowing)
    await trio.sleep(2 * BEAT_S)
    assert [one.fleet.orphaned for one in early] == [1, 1]
    assert late.fleet.orphaned == 0
    assert crew.whole()
    late.fleet._listing = Listed(knowing)
    await trio.sleep(2 * BEAT_S + LOOK_S)
    assert "NEW-USDT" in late.shows
    assert [one.fleet.orphaned for one in early] == [0, 0]


async def test_rows_of_owners_that_somebody_took_away_are_there_again_soon(crew):
    """As in a database that was restored, or a standby that had not got all of it."""
    await crew.three()
    store = crew.open()
    await store.write("beat", lambda db: db.execute(sa.text("DELETE FROM symbol_owners")))
    await trio.sleep(BEAT_S + LOOK_S)
    assert crew.whole()
    rows = await store.read("load", stored.read_fleet)
    assert {one.service: set(one.symbols) for one in rows.members} == {
        one.fleet.service: set(one.shows) for one in crew.all
    }


async def test_a_row_of_what_nobody_wants_hides_no_symbol_that_nobody_keeps(crew):
    """As many owners as symbols wanted do not mean that each has one."""
    first, *_ = await crew.three()
    store, lost = crew.open(), min(SYMBOLS - first.fleet.owned)
    forget = sa.text("UPDATE symbol_owners SET symbol = 'OLD-USDT' WHERE symbol = :lost")
    await store.write("beat", lambda db: db.execute(forget, {"lost": lost}))
    await first.fleet.turn()
    assert first.fleet.orphaned == 1
    await trio.sleep(BEAT_S + LOOK_S)
    assert crew.whole()
    await first.fleet.turn()
    assert first.fleet.orphaned == 0


async def test_who_comes_is_told_once(crew, events):
    """To those who were there; it is told of them, too."""
    crew.join("a")
    await trio.sleep(1)
    crew.join("b")
    await trio.sleep(2 * BEAT_S)
    joined = {"event": "agent joined", "agents": 2}
    action = {"action": "share the symbols among these agents"}
    assert events("info") == [joined | {"agent": name} | action for name in ("a", "b")]
