"""Laws of hindsight: no step of the machine's clock lets a limit be passed, nor stops the agent."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blofin_agent.domain import rate_limit
from blofin_agent.domain.clock_correction import (
    TOLERANCE_MS,
    ClockCorrection,
    LedgerEntry,
    WallAndMonotonic,
)
from blofin_agent.domain.rate_limit import (
    HORIZON_MS,
    TEST_REQUEST_TIMEOUT_MS,
    Limit,
    RateLimitResponse,
    Suspension,
)

NOW = 1_767_225_600_000
DAY = 86_400_000
LIMITS = (Limit("60s", 3, 60, 300), Limit("300s", 7, 300, 3_600))
steps = st.sampled_from([0, 0, 0, 700, -700, 60_000, -60_000, 3_600_000, -DAY, 40 * DAY]) | (
    st.integers(-400_000, 400_000)
)


class World:
    """A ledger, its processes, and a clock that is set now and then; `true` is the true time."""

    def __init__(self, processes: int = 1) -> None:
        self.true = 1_000
        self.ahead = NOW
        self.rows: dict[int, int] = {}
        self.state = Suspension()
        self.known = [ClockCorrection() for _ in range(processes)]
        self.went: list[int] = []
        self.ids = 0
        for process in range(processes):
            self.look(process)

    @property
    def now(self) -> WallAndMonotonic:
        return WallAndMonotonic(self.true + self.ahead, self.true)

    def look(self, process: int):
        """Do what a transaction does before it decides anything."""
        entries = [LedgerEntry(*row) for row in sorted(self.rows.items())]
        view = self.known[process].look(entries, self.state, self.now)
        self.rows |= dict(view.moved)
        told = [self.enter(started) for _, started in view.lost]
        self.known[process] = view.clock_correction.entered(told, view.lost, self.now)
        self.state = view.suspension
        return view

    def enter(self, started: int) -> LedgerEntry:
        self.ids += 1
        self.rows[self.ids] = started
        return LedgerEntry(self.ids, started)

    def ask(self, process: int = 0) -> int:
        """Let a request go if it may; return how long (ms) it must wait."""
        view = self.look(process)
        wall = self.now.wall
        at = max(self.state.next_at(wall), rate_limit.next_request_at(view.starts, wall, 0, LIMITS))
        if at <= wall:
            self.rows = {id_: at for id_, at in self.rows.items() if at > wall - HORIZON_MS}
            entry = self.enter(wall)
            self.state = self.state.let_go(wall)
            self.known[process] = self.known[process].entered([entry], [], self.now)
            self.went.append(self.true)
        return at - wall

    def set_clock(self, step: int) -> None:
        self.ahead += step

    def suspend(self, under: int = 0) -> None:
        self.look(0)
        refusal = RateLimitResponse(under, "429", banned=False, retry_after=None)
        self.state = rate_limit.suspend(self.state, [], refusal, self.now.wall)
        self.look(0)

    def worst(self, limit: Limit) -> int:
        return max(
            sum(at - limit.seconds * 1_000 < other <= at for other in self.went) for at in self.went
        )


@given(st.lists(st.tuples(st.integers(0, 30_000), steps, st.integers(0, 1)), max_size=60))
def test_no_step_of_the_clock_lets_a_limit_be_passed(happenings):
    """By the true time, over two processes that live while the clock is set."""
    world = World(2)
    for pause, step, process in happenings:
        world.true += pause
        world.set_clock(step)
        world.ask(process)
        world.ask(1 - process)
    for limit in LIMITS:
        assert not world.went or world.worst(limit) <= limit.requests


@given(st.lists(st.tuples(st.integers(0, 90_000), steps), min_size=1, max_size=40))
def test_no_step_of_the_clock_makes_a_request_wait_longer_than_its_windows(happenings):
    """One that was in the future may count anew; nothing waits for the clock to catch up."""
    world = World()
    for pause, step in happenings:
        world.true += pause
        world.set_clock(step)
        assert world.ask() <= HORIZON_MS + TOLERANCE_MS


@given(st.integers(-40 * DAY, 40 * DAY), st.integers(0, 100_000))
def test_to_a_process_that_saw_all_no_step_of_the_clock_matters(step, later):
    """It waits as long as it would have, but for what is too little to be called a step."""
    world = World()
    for _ in range(3):
        assert world.ask() == 0
    world.true += later
    world.set_clock(step)
    assert abs(world.ask() - max(0, 61_000 - later)) <= TOLERANCE_MS


def test_a_new_process_counts_the_future_as_now():
    """Who knows nothing else counts such entries in full from now on, and they expire."""
    world = World()
    for _ in range(3):
        world.ask()
    world.set_clock(-DAY)
    world.known = [ClockCorrection()]
    assert world.ask() == 61_000
    assert set(world.rows.values()) == {world.now.wall}
    world.true += 61_000
    assert world.ask() == 0


def test_who_saw_it_tells_the_others():
    """After a step forward the ledger is put right, so that a process that starts then is too."""
    world = World()
    for _ in range(3):
        world.ask()
    world.true += 10_000
    world.set_clock(DAY)
    world.look(0)
    world.known = [ClockCorrection()]
    assert world.ask() == 51_000


def test_without_a_step_nothing_is_rewritten():
    """A clock that NTP slews, or that is read a little late, moves no entry."""
    world = World()
    for _ in range(7):
        world.ask()
        world.true += 61_000
        world.set_clock(30)
        view = world.look(0)
        assert (view.moved, view.lost) == ([], [])


@pytest.mark.parametrize("step", [DAY, -DAY, 250_000, -250_000])
@pytest.mark.parametrize("new", [False, True])
def test_a_suspension_lasts_as_long_as_it_did_when_the_clock_is_set(step, new):
    """Neither shorter nor, in the end, longer: a new process may count it in full from now."""
    world = World()
    world.suspend()
    world.true += 100_000
    world.set_clock(step)
    if not new:
        world.look(0)
    world.known = [ClockCorrection()] if new else world.known
    left = world.ask()
    if new and step > 0:
        # Nobody was there to see the clock being set: the one case without help.
        assert left <= 0
    else:
        assert left == (301_000 if new else 201_000)


@given(st.lists(st.tuples(st.integers(0, 200_000), steps), max_size=20))
def test_no_step_of_the_clock_sends_a_request_into_a_suspension(happenings):
    """By the true time; and none keeps the agent waiting for more than it all over again."""
    world = World()
    world.suspend()
    over = world.true + 301_000
    for pause, step in happenings:
        world.true += pause
        world.set_clock(step)
        if not world.went:
            assert world.ask() <= 301_000 + TOLERANCE_MS
    assert all(at >= over - TOLERANCE_MS for at in world.went)


@given(st.lists(st.tuples(st.integers(0, 30_000), steps), max_size=20))
def test_the_probe_goes_alone_whatever_the_clock_does(happenings):
    """The next one not within a minute, and not more than a minute after the last step."""
    world = World()
    world.suspend()
    world.true += 301_000
    assert world.ask() == 0
    for pause, step in happenings:
        world.true += pause
        world.set_clock(step)
        assert world.ask() <= TEST_REQUEST_TIMEOUT_MS + TOLERANCE_MS
    least = TEST_REQUEST_TIMEOUT_MS - TOLERANCE_MS
    assert all(later - earlier >= least for earlier, later in pairwise(world.went))


def test_a_share_from_the_future_comes_back_from_now_on():
    """A clock that was set back does not keep the agent at a half until it has caught up."""
    world = World()
    world.state = Suspension(share=0.5, share_since=NOW + DAY)
    world.look(0)
    assert world.state == Suspension(share=0.5, share_since=world.now.wall)


def test_another_ledger_is_told_what_it_lacks_and_no_more():
    """Another process may have told it of the same requests; two at one moment are two."""
    world = World()
    for _ in range(3):
        world.ask()
    started = world.now.wall
    world.rows = {71: started, 72: started - 5}
    world.known[0] = world.known[0].elsewhere(
        [LedgerEntry(71, started), LedgerEntry(72, started - 5)]
    )
    view = world.look(0)
    assert view.starts == [started - 5, started, started, started]
    assert sorted(world.rows.values()) == view.starts
    assert world.look(0).lost == []


def test_what_vanished_from_the_ledger_still_counts():
    """A process that thought them old deleted them: whoever knows better enters them again."""
    world = World()
    for _ in range(3):
        world.ask()
    world.rows.clear()
    world.true += 1_000
    assert world.ask() == 60_000
    assert len(world.rows) == 3


def test_old_things_are_forgotten():
    """Neither the ledger's nor one's own memory of them grows."""
    world = World()
    world.ask()
    world.true += HORIZON_MS
    view = world.look(0)
    assert (view.starts, view.lost, dict(view.clock_correction.seen)) == ([], [], {})
    world.ask()
    world.rows.clear()
    world.true += HORIZON_MS
    assert world.look(0).lost == []


def test_a_suspension_from_before_this_was_noted_stays_as_it_is():
    """An upgraded database does not say when: its end is believed."""
    world = World()
    world.state = Suspension(until=world.now.wall + 5_000, strikes=1)
    assert world.ask() == 5_000
    world.set_clock(DAY)
    assert world.ask() == 5_000
    assert replace(world.state, until=0, noted=0) == Suspension(strikes=1)
