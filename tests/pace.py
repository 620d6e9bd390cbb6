"""How fast time goes for tests of real processes.

In the suite durations that an agent waits for are shorter and clocks go faster, so that a law of
minutes takes seconds. `make test-slow` runs the same tests by the real durations and clocks.
"""

import os
import time
from dataclasses import fields

from blofin_agent.store.timing import DEFAULT

REAL = bool(os.environ.get("BLOFIN_TESTS_REAL_TIME"))
FLEET = 1.0 if REAL else 0.3
"""By what leases, heartbeats and database timeouts are multiplied: an agent on a busy machine must
still send a heartbeat in time."""
CLOCK = 1 if REAL else 20
"""How many times faster the clocks of agent and simulator go."""
CHAIN = 1 if REAL else 8
"""By what the durations in Prometheus' rules are divided; promtool holds the exact ones."""
MACHINE_S = 0.0 if REAL else 3.0
"""What starting processes takes does not get shorter."""


def fast_clock():
    """Return the settings with which the clock of a process goes so fast, from now on."""
    return {"BLOFIN_CLOCK": f"{CLOCK}@{time.time_ns() // 1_000_000}"}


def fleet_timing():
    """Return the settings with which what agents and database wait for is so much shorter."""
    pairs = (f"{one.name}={getattr(DEFAULT, one.name) * FLEET:g}" for one in fields(DEFAULT))
    return {"BLOFIN_TIMING": ",".join(pairs)}


def fleet_s(seconds):
    """Return a duration of a fleet's life as it is here."""
    return seconds * FLEET + MACHINE_S
