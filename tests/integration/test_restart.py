"""What an agent that is started again knows of the one before it."""

import time

import pytest

from tests.processes import until

pytestmark = pytest.mark.slow("real processes, and the deadlines they wait for")

LAST_SUCCESS = "blofin_backfill_last_success_timestamp_seconds"


def test_the_last_success_is_not_forgotten_by_a_restart(place, simulate, run_agent):
    """Also when nothing succeeds any more: then the figure stays, and grows old."""
    simulate("BTC-USDT")
    hours = {"BLOFIN_SYMBOLS": "BTC-USDT", "BACKFILL_LOOKBACK_HOURS": "1"}
    agent = run_agent(**hours)
    before = until(lambda: agent.samples()[LAST_SUCCESS])
    assert abs(before - time.time()) < 60
    assert agent.stop() == 0
    # Nothing can be fetched, and there is something to fetch: the window is longer now.
    agent = run_agent(
        **hours | {"BACKFILL_LOOKBACK_HOURS": "2"}, BLOFIN_REST_URL="http://127.0.0.1:9"
    )
    until(lambda: agent.samples().get('blofin_candles_missing{symbol="BTC-USDT"}', 0) >= 50)
    assert agent.samples()[LAST_SUCCESS] == before
    assert agent.stop() == 0
