"""Agents that are cut off from the database, one by one or all together, as processes."""

import contextlib
import time

import pytest

from blofin_agent.runtime.shutdown import SHUTDOWN_TIMEOUT_S
from tests.integration.fleet import laws
from tests.pace import FLEET, REAL, fleet_s
from tests.postgres import own_server
from tests.processes import until

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow("leases and heartbeats of real processes")]

FILLING = {"BACKFILL_REQUEST_SLEEP_MS": "100", "BACKFILL_BATCH_LIMIT": "100"}
PAGES = ("--no-limits", "--page-limit", "100")
MOST_TWICE = 20
"""Pages that are asked for again when one is cut off: six symbols are filled at once, two pages of
each may be on their way into the store; and some when it gives up what it was at."""


@pytest.fixture(scope="session")
def postgres():
    """A server of this file's own, which its tests freeze and end."""
    yield from own_server()


@pytest.fixture(scope="session")
def postgres_template(postgres):
    """Return the name of a database on it with our schema and nothing in it."""
    return postgres.with_schema()


def shows_nothing(member):
    """It shows no coverage, and says why it is not ready."""
    assert member.look().shows == frozenset()
    assert "other agents may have taken these symbols over" in member.not_ready()


def shown_by(*members):
    return frozenset().union(*(one.look().shows for one in members))


def test_one_that_is_cut_off_in_the_middle_of_a_fill_is_stood_in_for_and_comes_back(crew, postgres):
    """Without a word: nothing is passed on, and nobody is told. Little is asked for twice."""
    fleet = crew(options=PAGES, hours=24 if REAL else 10, **FILLING)
    began_ms, since = round(time.time() * 1000) - 300_000, time.monotonic()
    _, cable, _ = fleet.start_with_cables(postgres, "a", "b", "c")
    fleet.until_shared_out(30)
    cut_off, *others = (fleet.members[name] for name in "bac")
    share = cut_off.look().shows
    assert fleet.asked("b", 0)
    cable.mute()
    cut = time.monotonic()
    until(lambda: share <= shown_by(*others))
    shows_nothing(cut_off)
    # What it was allowed before it was cut off is on its way by then.
    assert fleet.asked("b", cut + 3) == []
    cable.mend()
    fleet.until_shared_out(30)
    assert cut_off.look().shows == share
    laws.all_is_well(fleet, since)
    assert laws.asked_twice(fleet, began_ms) <= MOST_TWICE


def test_a_fleet_that_falls_apart_is_one_again(crew, postgres):
    """First one is cut off, then another as well; the one that is left keeps all."""
    fleet = crew()
    since = time.monotonic()
    one, _, other = fleet.start_with_cables(postgres, "a", "b", "c")
    fleet.until_shared_out(30)
    before = fleet.owners()
    one.pull()
    time.sleep(8 * FLEET)
    other.mute()
    left = fleet.members["b"]
    until(lambda: left.look().shows == set(fleet.symbols))
    shows_nothing(fleet.members["a"])
    shows_nothing(fleet.members["c"])
    one.mend()
    time.sleep(4 * FLEET)
    # That one's cable is pulled when it is mended: what it held back never arrives.
    other.pull()
    other.mend()
    fleet.until_shared_out(40)
    assert fleet.owners() == before
    laws.all_is_well(fleet, since)


@contextlib.contextmanager
def frozen(server):
    server.freeze()
    try:
        yield
    finally:
        server.thaw()


def test_a_database_that_is_frozen_for_long_and_an_agent_that_is_to_end_meanwhile(crew, postgres):
    """It ends in time; the others go on with what they had, and then with what it had."""
    fleet = crew()
    since = time.monotonic()
    fleet.start("a", "b", "c")
    fleet.until_shared_out(30)
    stay, gone = [fleet.members["a"], fleet.members["b"]], fleet.members["c"]
    shares = [one.look().shows for one in stay]
    with frozen(postgres):
        froze = time.monotonic()
        # Without the database it cannot say that it leaves; nor, maybe, store its last candles.
        assert gone.agent.stop() == 0
        assert time.monotonic() - froze < SHUTDOWN_TIMEOUT_S
        until(lambda: not shown_by(*stay), fleet_s(30))
        for one in stay:
            assert "cannot be used now" in one.not_ready()
        time.sleep(max(0, froze + 40 * FLEET - time.monotonic()))
    until(lambda: all(one.look().shows >= had for one, had in zip(stay, shares, strict=True)), 20)
    fleet.until_shared_out(40)
    # Neither took over what the other kept.
    assert not any(
        f"agent left agent={one.service} " in other.log() for one in stay for other in stay
    )
    laws.all_is_well(fleet, since)
