"""Limits: the windows and suspensions, against a plain count of what was made."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blofin_agent.simulator.rate_limits import RULES, RateRule, SimulatedRateLimits

RULE = RateRule(3, 10, 20)


def feed(limits: SimulatedRateLimits, times: list[int]) -> list[int]:
    return [limits.request("a", time) for time in times]


def test_blofins_own_numbers():
    assert RULES == ((500, 60, 300), (1_500, 300, 3_600))


def test_the_501st_request_in_a_minute_suspends_for_five():
    limits = SimulatedRateLimits()
    assert feed(limits, list(range(500))) == [0] * 500
    assert limits.request("a", 59_999) == 300_000
    assert limits.request("a", 60_000) == 299_999
    assert limits.suspended_until("a") == 359_999
    assert limits.request("a", 359_998) == 1
    assert limits.request("a", 359_999) == 0


def test_500_a_minute_passes_the_second_limit_after_three():
    limits = SimulatedRateLimits()
    times = [minute * 60_000 + number for minute in range(3) for number in range(500)]
    assert feed(limits, times) == [0] * 1_500
    assert limits.request("a", 180_000) == 3_600_000


def test_300_a_minute_is_allowed_for_ever():
    limits = SimulatedRateLimits()
    assert not any(limits.request("a", number * 200) for number in range(10_000))
    assert limits.counters().most == {60: 300, 300: 1_500}
    assert limits.counters().least_spacing_ms == 200


@given(st.lists(st.integers(0, 4_000), max_size=60))
def test_a_request_is_refused_exactly_when_too_many_went_before_it(gaps):
    limits, now, allowed, until = SimulatedRateLimits([RULE]), 0, [], 0
    refused = suspended = 0
    for gap in gaps:
        now += gap
        recent = [time for time in allowed if time > now - RULE.seconds * 1_000]
        answer = limits.request("a", now)
        if now < until:
            suspended += 1
            assert answer == until - now
        elif len(recent) == RULE.requests:
            until = now + RULE.suspension * 1_000
            assert answer == until - now
            allowed.append(now)
        else:
            assert answer == 0
            allowed.append(now)
        refused += answer > 0
    counters = limits.counters()
    assert (counters.requests, counters.refused) == (len(gaps), refused)
    assert counters.during_suspension == suspended
    assert counters.least_spacing_ms == min(gaps[1:], default=None)


@given(st.lists(st.integers(0, 3_000), max_size=60))
def test_switched_off_nothing_is_refused_and_all_is_counted(gaps):
    limits, now, times = SimulatedRateLimits([RULE], enforced=False), 0, []
    for gap in gaps:
        now += gap
        times.append(now)
        assert limits.request("a", now) == 0
        assert limits.connect("a", now)
    ends = range(1, len(times) + 1)
    inside = [[at for at in times[:end] if at > times[end - 1] - 10_000] for end in ends]
    most = max(map(len, inside), default=0)
    assert limits.counters().most == {10: most}
    assert limits.counters().refused == 0


def test_each_address_has_its_own():
    limits = SimulatedRateLimits([RULE])
    assert feed(limits, [0, 0, 0, 0])[-1] > 0
    assert limits.request("b", 0) == 0
    assert limits.counters("b").requests == 1
    assert limits.counters().requests == 5
    assert limits.counters().suspensions == 1


def test_one_connection_a_second():
    limits = SimulatedRateLimits()
    tries = [0, 500, 999, 1_000, 1_999, 2_500]
    assert [limits.connect("a", at) for at in tries] == [True, False, False, True, False, True]
    assert limits.connect("b", 2_500)
    counters = limits.counters()
    assert (counters.connections, counters.connections_refused) == (7, 3)
    assert counters.least_connection_spacing_ms == 1
    assert counters.requests == 0


@pytest.mark.parametrize("during", [1, 50])
def test_requests_during_a_suspension_do_not_prolong_it(during):
    limits = SimulatedRateLimits([RULE])
    feed(limits, [0, 1, 2, 3])
    feed(limits, [10_000 + number for number in range(during)])
    assert limits.suspended_until("a") == 20_003
    assert limits.request("a", 20_003) == 0
    assert limits.counters().during_suspension == during
