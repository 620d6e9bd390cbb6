"""A cold start of 500 symbols, in virtual time: no limit is passed, and no live candle is lost.

With real processes: tests/integration/faults/test_limits.py, in `make test-slow`.
"""

import pytest
import trio
from trio.testing import MockClock

from blofin_agent.config import Settings
from blofin_agent.domain.candle import MINUTE
from blofin_agent.simulator.server import SimulatorOptions
from tests.laws.world import world

SYMBOLS = 500


@pytest.mark.slow("500 symbols in virtual time")
def test_a_cold_start_passes_no_limit_and_loses_no_live_candle(store, monkeypatch):
    """501 requests where 475 may go in a minute, while five connections bring the live candles."""
    settings = Settings(
        _env_file=None,
        blofin_symbols=("all",),
        backfill_lookback_hours=1,
        backfill_request_sleep_ms=0,
        backfill_symbol_sleep_ms=0,
        blofin_rest_url="http://exchange",
        blofin_ws_url="ws://exchange/ws/public",
    )
    options = SimulatorOptions(symbols=SYMBOLS, push_interval=5, hole_rate=0)

    async def main():
        async with world(store, settings, options, monkeypatch) as place:
            stats = place.simulator.counts
            stood = None
            with trio.fail_after(100):
                while sum(stats.endpoints.values()) < SYMBOLS + 1:
                    await trio.sleep(1)
                    if stood is None and stats.subscriptions == SYMBOLS:
                        stood = place.wall()
            limits = place.simulator.limits.counters()
            assert 400 < limits.most[60] <= 475
            assert (limits.refused, limits.connections_refused) == (0, 0)
            assert stats.connections_opened == 5
            # The minutes that closed since all stood came live, of every symbol.
            await trio.sleep(150)
            first, last = (-(-at // MINUTE) * MINUTE for at in (stood, place.wall() - MINUTE))
            count = "SELECT count(*) FROM candles WHERE source = 'blofin_ws' AND open_time = {}"
            for open_time in range(first, last, MINUTE):
                assert place.rows(count.format(open_time)) == [(SYMBOLS,)]
            assert last - first >= 2 * MINUTE

    trio.run(main, clock=MockClock())
