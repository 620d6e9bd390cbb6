"""Several agents on one PostgreSQL, as processes: who keeps what, and who takes over from whom."""

import time

import pytest

from blofin_agent.store.timing import DEFAULT
from tests import ports
from tests.integration.fleet import laws
from tests.pace import fleet_s, fleet_timing
from tests.processes import until

pytestmark = [pytest.mark.timeout(240), pytest.mark.slow("leases and heartbeats of real processes")]


SLOW_FILL = {
    "options": ("--no-limits", "--page-limit", "100"),
    "BACKFILL_REQUEST_SLEEP_MS": "100",
}


def test_kill_9_in_the_middle_of_a_fill(crew):
    """The symbols of a killed agent are taken over when its lease is over; no candle is lost."""
    fleet = crew(**SLOW_FILL)
    since = time.monotonic()
    fleet.start("a", "b", "c")
    fleet.until_shared_out(30)
    assert all(len(one.look().shows) >= 2 for one in fleet.living())

    fleet.members["a"].kill()
    assert fleet.until_shared_out() < fleet_s(40)
    laws.nothing_of_others(fleet)

    # It comes back, and takes its share.
    (back,) = fleet.start("a")
    assert fleet.until_shared_out() < fleet_s(20)
    assert len(back.look().shows) >= 2
    laws.all_is_well(fleet, since)


def test_a_restart_and_a_sigterm_wait_for_no_lease(crew):
    """An agent restarted under its name keeps its symbols; one that is stopped releases them."""
    lease = fleet_timing(lease_s=DEFAULT.lease_s)
    fleet = crew(**SLOW_FILL, **lease)
    since = time.monotonic()
    fleet.start("a", "b", "c")
    fleet.until_shared_out(30)

    before = fleet.owners()
    port = fleet.members["a"].agent.url.rpartition(":")[2]
    fleet.members["a"].kill()
    fleet.start("a", API_PORT=port)
    fleet.until_shared_out(20)
    assert fleet.owners() == before

    begun = time.monotonic()
    assert fleet.members["b"].agent.stop() == 0
    fleet.until_shared_out()
    assert time.monotonic() - begun < 15
    laws.all_is_well(fleet, since)


USED = 'blofin_rate_budget_used{window="300s"}'


def sent(fleet):
    """Return how many requests were sent from each address."""
    return dict(fleet.query("SELECT egress, count(*) FROM request_ledger GROUP BY egress"))


def test_each_gets_of_what_it_wants_and_those_behind_one_address_share_its_budget(crew):
    """One to whom nothing falls is ready and quiet: no request, no connection, no coverage."""
    fleet, since = crew(), time.monotonic()
    (alone,) = fleet.start("a")
    fleet.start("b", BLOFIN_EGRESS="office", BLOFIN_SYMBOLS="*-USDT")
    (few,) = fleet.start("c", BLOFIN_EGRESS="office", BLOFIN_SYMBOLS="BTC-*,ETH-USDT,NEW-USDT")
    fleet.until_shared_out(30)
    (idle,) = fleet.start("d", BLOFIN_SYMBOLS="*-USDC")
    until(lambda: not idle.not_ready())
    laws.all_is_well(fleet, since)
    # Of those it wants no other is likely to have all: one that nobody else wants is its.
    assert few.look().shows <= {"BTC-USDT", "ETH-USDT", "NEW-USDT"}
    assert "NEW-USDT" in few.look().shows
    assert not any("NEW-USDT" in one.look().shows for one in fleet.living() if one is not few)

    found = idle.look()
    assert found.shows == frozenset()
    assert found.samples["blofin_fleet_symbols_owned"] == 0
    for figure in ("blofin_health{", "blofin_feed_connected{"):
        assert not any(name.startswith(figure) for name in found.samples)
        assert any(name.startswith(figure) for name in few.look().samples)
    assert found.samples[USED] == 0
    assert "no symbol falls to this agent, one of 4" in idle.agent.get("/")

    # What was sent from an address counts for all behind it, and for nobody else.
    assert sent(fleet).keys() == {"a", "office"}
    until(lambda: alone.look().samples[USED] == sent(fleet)["a"])
    until(lambda: few.look().samples[USED] == sent(fleet)["office"])


def test_a_symbol_that_is_listed_anew_is_kept_by_one_once_one_of_all_was_told(crew):
    """Each asks for the list once an hour; what one hears is known to the others at once."""
    port = str(ports.reserve())
    exchange = ("--no-limits", "--port", port)
    fleet = crew(symbols="BTC-USDT,ETH-USDT,SOL-USDT,XRP-USDT", hours=1, options=exchange)
    fleet.start("a", "b")
    fleet.until_shared_out(30)
    fleet.simulator.process.terminate()
    fleet.simulator.process.wait()
    new = ",".join(f"NEW{number}-USDT" for number in range(8))
    fleet.trade(f"BTC-USDT,ETH-USDT,SOL-USDT,{new}", exchange)
    fleet.query("UPDATE instruments SET seen = 1 RETURNING seen")
    # No agent could know the new symbols before.
    since = time.monotonic()
    fleet.start("c")
    until(lambda: fleet.owners().keys() == set(fleet.symbols), 30)
    fleet.until_shared_out(30)
    laws.all_is_well(fleet, since)
    orphaned = "blofin_fleet_symbols_orphaned"
    until(lambda: not any(one.look().samples[orphaned] for one in fleet.living()), 30)
