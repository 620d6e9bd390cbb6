"""Time in tests: scale factors for real processes, virtual time within one process.

In the suite durations that an agent waits for are shorter and clocks go faster, so that a law of
minutes takes seconds. `make test-slow` runs the same tests by the real durations and clocks.
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
"""Factor for leases, heartbeats and database timeouts: an agent on a busy machine must
still send a heartbeat in time."""
CLOCK = 1 if REAL else 20
"""How many times faster the clocks of agent and simulator go."""
CHAIN = 1 if REAL else 8
"""By what the durations in Prometheus' rules are divided; promtool holds the exact ones."""
MACHINE_S = 0.0 if REAL else 3.0
"""Start-up time of processes (s), which is not scaled."""


def fast_clock():
    """Return the settings with which the clock of a process goes so fast, from now on."""
    return {"BLOFIN_CLOCK": f"{CLOCK}@{time.time_ns() // 1_000_000}"}


def fleet_timing():
    """Return settings with shortened leases and database timeouts."""
    pairs = (f"{one.name}={getattr(DEFAULT, one.name) * FLEET:g}" for one in fields(DEFAULT))
    return {"BLOFIN_TIMING": ",".join(pairs)}


def fleet_s(seconds):
    """Return a duration of a fleet's life as it is here."""
    return seconds * FLEET + MACHINE_S


async def jump(virtual: MockClock, limiters: list[trio.CapacityLimiter]) -> None:
    """Advance virtual time for ever, except while a thread of one of the limiters works."""
    while True:
        await trio.testing.wait_all_tasks_blocked()
        wait = trio.lowlevel.current_statistics().seconds_to_next_deadline
        if any(one.borrowed_tokens for one in limiters):
            await trio.testing.wait_all_tasks_blocked(0.0005)
        elif 0 < wait < math.inf:
            virtual.jump(wait)
