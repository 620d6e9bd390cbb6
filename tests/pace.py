"""Time in tests: scale factors for real processes, virtual time within one process.

`make test` shortens the timeouts of agents and runs clocks faster, so that minutes take seconds.
`make test-slow` runs the same tests with the real timeouts and clocks.
"""

import math
import os
import time
from dataclasses import fields

import trio
import trio.testing
from trio.testing import MockClock

from blofin_agent.store.timing import DEFAULT

REAL = bool(os.environ.get("BLOFIN_TESTS_REAL_TIME"))
FLEET = 1.0 if REAL else 0.3
"""Factor for leases, heartbeats and database timeouts. A smaller one would let an agent on a busy
machine miss its lease."""
CLOCK = 1 if REAL else 20
"""Speed of the agent's and the simulator's clocks."""
CHAIN = 1 if REAL else 8
"""Divisor of the durations in Prometheus' rules. promtool tests the exact durations."""
MACHINE_S = 0.0 if REAL else 3.0
"""Start-up time of processes (s), which is not scaled."""


def fast_clock():
    """Return settings that make the clock of a process run CLOCK times as fast from now on."""
    return {"BLOFIN_CLOCK": f"{CLOCK}@{time.time_ns() // 1_000_000}"}


def fleet_timing(**as_it_is):
    """Return settings with shortened leases and database timeouts; those given are not scaled."""
    scaled = {one.name: getattr(DEFAULT, one.name) * FLEET for one in fields(DEFAULT)}
    pairs = (f"{name}={value:g}" for name, value in (scaled | as_it_is).items())
    return {"BLOFIN_TIMING": ",".join(pairs)}


def fleet_s(seconds):
    """Return how long a wait of so many seconds for a fleet takes with shortened leases."""
    return seconds * FLEET + MACHINE_S


def clock_s(seconds):
    """Return how long a wait of so many seconds of the agent's clock takes with a fast clock."""
    return seconds / CLOCK + 4 * MACHINE_S


async def jump(virtual: MockClock, limiters: list[trio.CapacityLimiter]) -> None:
    """Advance virtual time to each next deadline, but not while a limiter's thread works."""
    while True:
        await trio.testing.wait_all_tasks_blocked()
        wait = trio.lowlevel.current_statistics().seconds_to_next_deadline
        if any(one.borrowed_tokens for one in limiters):
            await trio.testing.wait_all_tasks_blocked(0.0005)
        elif 0 < wait < math.inf:
            virtual.jump(wait)
