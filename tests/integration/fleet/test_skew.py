"""Agents whose machines' clocks are wrong by half a minute."""

import os
import subprocess
import sys
import time

import pytest

from tests.integration.fleet import laws
from tests.pace import REAL, fleet_s
from tests.processes import until

pytestmark = [pytest.mark.timeout(240), pytest.mark.slow("leases and heartbeats of real processes")]

AMISS_MS = 5_000
"""What a busy machine may take between the ledger and the exchange; clocks differ by 30 s."""
LIMIT = 475
"""What may go in a minute from one address."""
AHEAD = """
import os, time
ahead_s, now, now_ns = int(os.environ["AHEAD_S"]), time.time, time.time_ns
time.time = lambda: now() + ahead_s
time.time_ns = lambda: now_ns() + ahead_s * 1_000_000_000
"""


@pytest.fixture
def ahead(tmp_path):
    """Return a function that gives an environment in which a process's clock is so many s ahead."""
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock/sitecustomize.py").write_text(AHEAD)
    before = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(tmp_path / "clock"), *([before] if before else [])])
    return lambda seconds: {"PYTHONPATH": path, "AHEAD_S": str(seconds)}


def test_the_clock_of_a_process_can_be_wrong(ahead):
    """Else the next test holds nothing."""
    program = [sys.executable, "-c", "import time; print(time.time(), time.time_ns() // 10**9)"]
    for seconds in (30, -30):
        done = subprocess.run(program, env=ahead(seconds), capture_output=True, check=True)
        for told in done.stdout.split():
            assert abs(float(told) - time.time() - seconds) < 5


def test_clocks_that_differ_by_a_minute_pass_no_limit_lose_no_symbol_and_store_nothing_early(
    crew, ahead
):
    """Leases, the budget and which candles are over go by the database's clock."""
    fleet = crew(
        hours=29 if REAL else 6,
        options=("--page-limit", "100"),
        BLOFIN_EGRESS="office",
        BACKFILL_REQUEST_SLEEP_MS="0",
        BACKFILL_BATCH_LIMIT="100",
    )
    since = time.monotonic()
    fleet.start("ahead", **ahead(30))
    fleet.start("behind", **ahead(-30))
    fleet.start("right")
    fleet.until_shared_out(30)
    fleet.start("ahead too", **ahead(30))
    fleet.until_shared_out(30)
    fleet.members["ahead"].kill()
    assert fleet.until_shared_out() < fleet_s(40)
    if REAL:
        # As many as may go went, and then the others.
        until(lambda: fleet.simulator.pages() > LIMIT + 40)
    laws.all_is_well(fleet, since)
    stats = fleet.simulator.stats()
    limits = stats["limits"]
    assert (LIMIT - 75 if REAL else 0) < limits["most"]["60"] <= LIMIT
    # What is reckoned from is true: each request stands in the ledger at the time it was sent.
    entered = fleet.query("SELECT started FROM request_ledger ORDER BY started")
    for (started,), seen in zip(entered[-100:], sorted(stats["times"])[-100:], strict=True):
        assert abs(started - seen) < AMISS_MS
    assert (limits["refused"], limits["connections_refused"]) == (0, 0)
