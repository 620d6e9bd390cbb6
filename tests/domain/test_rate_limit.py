"""Laws of the rate budget, held against a count of its own and the limits of the documentation."""

from bisect import bisect_left
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blofin_agent.domain import rate_limit
from blofin_agent.domain.rate_limit import (
    HORIZON_MS,
    LIMITS,
    TEST_REQUEST_TIMEOUT_MS,
    Limit,
    RateLimitResponse,
    Suspension,
    least_seconds,
    limits_at,
    merge_suspensions,
    next_request_at,
    suspend,
    window_use,
)

NOW = 1_767_225_600_000
HOUR = 3_600
# A pause in ms and the number of requests that are attempted after it, one behind the other.
attempts = st.lists(st.tuples(st.integers(0, 400_000), st.integers(0, 1_500)), max_size=6)
spacings = st.sampled_from([0, 1, 40, 250])


def run(tries: list[tuple[int, int]], spacing: int) -> list[int]:
    """Return when each request goes if every one waits for `next_at`."""
    starts: list[int] = []
    now = NOW
    for pause, number in tries:
        now += pause
        for _ in range(number):
            now = next_request_at(starts, now, spacing)
            starts.append(now)
    return starts


def most_in(times: list[int], window_ms: int) -> int:
    """The most requests that any half-open window of this length holds."""
    return max(
        (bisect_left(times, t + window_ms) - i for i, t in enumerate(times)),
        default=0,
    )


def stop(state=Suspension(), starts=(), *, under=None, now=NOW, banned=False, retry_after=None):  # noqa: B008 - it is frozen
    """Let a 429 or 403 come; `under`: the probe's, when not told otherwise."""
    under = state.strikes if under is None else under
    return suspend(state, starts, RateLimitResponse(under, "stop", banned, retry_after), now)


@given(attempts, spacings, st.data())
@pytest.mark.slow("hypothesis over thousands of requests")
def test_no_sequence_of_requests_passes_a_limit(tries, spacing, data):
    """Never more than 475 in 60 s nor 1,425 in 300 s, even if each is up to 1 s under way."""
    starts = run(tries, spacing)
    assert starts == sorted(starts)
    late = data.draw(st.randoms(use_true_random=False)) if starts else None
    arrivals = sorted(start + late.choice((0, 1_000)) for start in starts)
    for times in (starts, arrivals):
        assert most_in(times, 60_000) <= 475
        assert most_in(times, 300_000) <= 1_425
    assert all(b - a >= spacing for a, b in pairwise(starts))


@given(
    st.lists(st.integers(0, 12_000), max_size=12).map(sorted),
    st.integers(0, 15_000),
    st.integers(0, 1_500),
)
def test_no_request_waits_needlessly(starts, now, spacing):
    """It goes at the first millisecond at which a count by hand finds room in each window."""
    allowed = (Limit("2s", 2, 2, 1), Limit("5s", 4, 5, 1))

    def room(at: int) -> bool:
        fits = all(
            sum(at - limit.seconds * 1_000 - 1_000 < start for start in starts) < limit.requests
            for limit in allowed
        )
        return fits and (not starts or at - starts[-1] >= spacing)

    found = next_request_at(starts, now, spacing, allowed)
    moments = {now, *(start + wait for start in starts for wait in (spacing, 3_000, 6_000))}
    assert found == min(at for at in moments if at >= now and room(at))


def test_the_limits_are_blofins_less_a_reserve():
    """500 in 60 s and 1,500 in 300 s, of which a twentieth is left alone."""
    assert list(LIMITS) == [Limit("60s", 475, 60, 300), Limit("300s", 1_425, 300, 3_600)]
    assert HORIZON_MS == 301_000


@given(st.integers(1, 6_000))
def test_the_limits_are_used_up(requests):
    """Without spacing 475 go at once, three times in 122 s, and 1,425 each 301 s, for ever."""
    pages = requests - 1
    by_hand = pages // 1_425 * 301 + pages % 1_425 // 475 * 61
    assert least_seconds(requests, [], NOW, 0) == by_hand


@given(st.integers(0, 1_200), attempts, spacings)
def test_least_seconds_is_the_time_of_the_last(requests, tries, spacing):
    """It equals stepping through the requests one by one, whatever went before."""
    before = run(tries, spacing)
    now = (before or [NOW])[-1]
    starts, at = list(before), now
    for _ in range(requests):
        at = next_request_at(starts, at, spacing)
        starts.append(at)
    assert least_seconds(requests, before, now, spacing) == (at - now) / 1_000
    assert least_seconds(100, [], NOW, 250) == 99 * 0.25


@given(
    st.lists(
        st.integers(-400_000, 0) | st.sampled_from([-61_000, -60_999, -301_000, -300_999]),
        max_size=50,
    ).map(sorted)
)
def test_used_counts_what_may_still_count_at_the_exchange(ages):
    """A request counts for the window and the second that it may have been under way."""
    counts = window_use([NOW + age for age in ages], NOW)
    assert counts == {
        "60s": sum(age > -61_000 for age in ages),
        "300s": sum(age > -301_000 for age in ages),
    }


@pytest.mark.parametrize(
    ("stops", "seconds"),
    [
        ([{}], [300]),
        ([{}, {}, {}], [300, HOUR, HOUR]),
        ([{"banned": True}] * 10, [300 * 2**i for i in range(9)] + [24 * HOUR]),
        ([{}, {"banned": True}], [300, 600]),
        ([{"banned": True}, {}], [300, HOUR]),
        ([{"retry_after": 7.5}] * 2, [7.5, 7.5]),
        ([{"retry_after": 0}] * 4, [1, 2, 4, 8]),
        ([{"retry_after": -3, "banned": True}], [1]),
        ([{"retry_after": 10.0**9}, {"retry_after": float("inf")}], [24 * HOUR] * 2),
        ([{"retry_after": float("nan")}], [1]),
    ],
)
def test_a_suspension_lasts_as_long_as_was_said(stops, seconds):
    """As Retry-After says; else 300 s, then an hour; each ban twice the last; a day at most.

    And a second of care each time.
    """
    state, now = Suspension(), NOW
    for number, (how, length) in enumerate(zip(stops, seconds, strict=True), 1):
        state = stop(state, now=now, **how)
        assert (state.until - now) / 1_000 == length + 1
        assert (state.strikes, state.probe, state.reason) == (number, 0, "stop")
        assert state.next_at(now) == state.until
        now = state.until


def test_a_full_long_window_means_an_hour():
    """1,425 requests in the last 300 s: it was the longer limit that was passed."""
    full = [NOW - 300_000] * 1_425
    assert stop(starts=full[1:]).until == NOW + 301_000
    assert stop(starts=full).until == NOW + 3_601_000
    assert stop(starts=[NOW - 400_000] * 2_000).until == NOW + 301_000


def test_a_suspension_without_end_can_be_told():
    """However many come in a row, none lasts longer than a day."""
    for how in ({"banned": True}, {"retry_after": 0.0}, {"retry_after": 1e300}):
        assert stop(Suspension(NOW, 5_000), **how).until == NOW + 86_401_000


@given(st.booleans(), st.booleans(), st.integers(0, 299_999))
def test_answers_already_under_way_do_not_count_again(first, second, later):
    """A 429 or 403 to a request from before the suspension neither counts nor shortens it."""
    state = stop(banned=first)
    again = stop(state, under=0, now=NOW + later, banned=second)
    assert again.strikes == 1
    assert again.share == state.share
    assert again.banned == (first or second)
    assert state.until <= again.until == NOW + later + 301_000
    assert stop(state, under=0, now=NOW + later, retry_after=1).until == max(
        state.until, NOW + later + 2_000
    )


def test_after_a_suspension_one_request_goes_alone():
    """The second goes once the first was answered, or was not heard of for a minute."""
    state = stop()
    end = state.until
    assert state.next_at(end - 1) == end
    assert state.next_at(end) == end
    assert state.next_at(end + 5) == end + 5
    probing = state.let_go(end + 5)
    assert probing.next_at(end + 6) == end + 5 + TEST_REQUEST_TIMEOUT_MS == end + 60_005
    assert probing.next_at(end + 70_000) == end + 70_000
    assert probing.answered(0, end + 6) is probing
    assert probing.answered(1, end + 6) == Suspension(share=0.5, share_since=end + 6)
    assert stop(probing, now=end + 9).probe == 0


def test_without_a_suspension_nothing_waits():
    """An agent that was never stopped goes at once, and answers change nothing."""
    free = Suspension()
    assert free.next_at(NOW) == NOW
    assert free.let_go(NOW) is free
    assert free.answered(0, NOW) is free
    assert free.answered(1, NOW) is free


moves = st.lists(
    st.tuples(st.sampled_from(["go", "answer", "429", "403"]), st.integers(0, 400_000)),
    max_size=30,
)


@given(moves)
def test_whatever_happens_a_suspension_is_kept(happenings):
    """None goes before its end, nor within a minute of an unanswered probe; an answer clears it."""
    state, now, under = Suspension(), NOW, 0
    end, lone = 0, None
    for what, later in happenings:
        now += later
        if what == "go":
            now, under = state.next_at(now), state.strikes
            assert now >= end
            assert lone is None or now >= lone + 60_000
            state = state.let_go(now)
            lone = now if end else None
        elif what == "answer":
            probe = under == state.strikes
            state = state.answered(under, now)
            if probe:
                end, lone = 0, None
        else:
            share, before = state.share, state
            state = stop(state, under=under, now=now, banned=what == "403")
            assert state.until >= max(end, now + 301_000)
            assert state.share >= share or (not before.strikes and what == "429")
            end, lone = state.until, None
        assert bool(state.strikes) == bool(end)


# -- the share ------------------------------------------------------------------------------------


def test_a_share_of_the_limits_is_a_share_of_both():
    """The half is 237 and 712; the whole is LIMITS; the least is a request at least."""
    assert limits_at(1) == LIMITS
    assert [one.requests for one in limits_at(0.5)] == [237, 712]
    assert [one.requests for one in limits_at(rate_limit.MIN_LIMIT_FRACTION)] == [47, 142]
    assert [one.requests for one in limits_at(1e-9)] == [1, 1]
    assert [one.suspension for one in limits_at(0.5)] == [300, 3_600]


@given(attempts, spacings, st.sampled_from([0.1, 0.35, 0.5]))
def test_no_sequence_of_requests_passes_its_share(tries, spacing, share):
    """Never more than the share in either window."""
    starts: list[int] = []
    now = NOW
    for pause, number in tries:
        now += pause
        for _ in range(number // 4):
            now = next_request_at(starts, now, spacing, limits_at(share))
            starts.append(now)
    assert most_in(starts, 60_000) <= 475 * share
    assert most_in(starts, 300_000) <= 1_425 * share


def test_a_429_within_the_limits_halves_the_share_down_to_a_tenth():
    """Somebody else uses the address: 1, 1/2, 1/4, 1/8, 1/10, and no less."""
    state, found = Suspension(), []
    for _ in range(5):
        state = stop(state, [NOW] * 100)
        found.append(state.share)
        state = state.answered(1, NOW)
    assert found == [0.5, 0.25, 0.125, 0.1, 0.1]


@pytest.mark.parametrize(
    ("starts", "share"),
    [
        ([NOW] * 475, 1.0),
        ([NOW - 59_999] * 475, 1.0),
        ([NOW - 60_000] * 475, 0.5),
        ([NOW] * 474, 0.5),
        ([NOW - 299_999] * 1_425, 1.0),
        ([NOW - 300_000] * 1_425, 0.5),
    ],
)
def test_a_429_at_our_own_limit_says_nothing_of_others(starts, share):
    """A window that our own requests filled is reason enough."""
    assert stop(starts=starts).share == share


def test_a_ban_and_a_probes_429_leave_the_share():
    """The one is no matter of limits, the other says that the same suspension lasts longer."""
    assert stop(banned=True).share == 1
    longer = stop(stop())
    assert (longer.strikes, longer.share) == (2, 0.5)


@given(st.floats(0.1, 1), st.integers(0, 20 * 900_000))
def test_the_share_comes_back_a_tenth_each_quarter_of_an_hour(share, later):
    """Step by step, never past the whole, and not at all during a suspension."""
    free = Suspension(share=share, share_since=NOW)
    now = free.share_at(NOW + later)
    assert now == pytest.approx(min(1, share + later // 900_000 * 0.1), abs=0.001)
    held = Suspension(until=NOW, strikes=1, share=share, share_since=NOW)
    assert held.share_at(NOW + later) == share


def test_the_share_comes_back_from_the_suspensions_end_on():
    """What a later 429 halves is what had come back; one that is no sign of others keeps it."""
    state = stop().answered(1, NOW + 400_000)
    assert (state.share, state.share_since) == (0.5, NOW + 400_000)
    then = NOW + 400_000 + 1_800_000
    assert state.share_at(then) == 0.7
    assert stop(state, now=then).share == 0.35
    kept = stop(state, banned=True, now=then)
    assert (kept.share, kept.share_since) == (0.7, then)


def test_of_two_accounts_the_graver_counts():
    """The later end, whoever knows of it, and the lesser share."""
    one = Suspension(until=NOW + 5, strikes=1, reason="one")
    other = Suspension(until=NOW + 9, strikes=2, share=0.5, share_since=NOW)
    for both in (merge_suspensions(one, other), merge_suspensions(other, one)):
        assert both == other
    assert merge_suspensions(replace(one, share=0.2, share_since=3), other) == replace(
        other, share=0.2, share_since=3
    )
    assert merge_suspensions(one, Suspension()) == one
