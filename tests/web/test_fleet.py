"""Laws of what one agent of several shows: its own symbols, and who the others are."""

import pytest

from blofin_agent.fleet.status import FleetStatus

CREW = FleetStatus(2, 2, 0, 0.25, holds=True, joined=True, others=(("vm:8802", "http://vm:8802"),))


@pytest.fixture
async def http(site, client_of):
    site.hold("BTC-USDT")
    site.hold("ETH-USDT", but={3})
    return client_of(site.app)


def crew(site, **changes):
    site.tracker.fleet_status = lambda: CREW._replace(**changes)


async def page(http):
    return (await http.get("/")).text


async def status(http):
    return (await http.get("/api/v1/status")).json()


async def metrics(http):
    lines = (await http.get("/metrics")).text.splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


async def test_an_agent_that_cannot_share_says_nothing_of_others(site, http):
    """On SQLite there are none."""
    assert "share the symbols" not in await page(http)
    assert (await status(http))["fleet"] is None
    assert "blofin_fleet_agents" not in await metrics(http)


async def test_one_of_several_tells_what_it_keeps_and_where_the_others_are(site, http):
    """On the page, in the API and in the metrics."""
    crew(site)
    text = await page(http)
    assert "One of 2 agents that share the symbols, and keeps 2 of them; the other is" in text
    assert '<a href="http://vm:8802">vm:8802</a>' in text
    assert (await status(http))["fleet"] == {
        "agents": 2,
        "owned": 2,
        "orphaned": 0,
        "budget_load": 0.25,
        "others": {"vm:8802": "http://vm:8802"},
    }
    found = await metrics(http)
    assert found["blofin_fleet_agents"] == found["blofin_fleet_symbols_owned"] == "2.0"
    assert found["blofin_fleet_budget_load_ratio"] == "0.25"


async def test_what_nobody_keeps_stands_out(site, http):
    """Also where the agent is alone."""
    crew(site, agents=1, orphaned=3, others=())
    text = await page(http)
    assert "The only agent on this database" in text
    assert "<strong>3 that should be watched nobody keeps.</strong>" in text
    assert (await metrics(http))["blofin_fleet_symbols_orphaned"] == "3.0"


async def test_what_the_database_says_of_others_is_no_markup_and_no_script(site, http):
    """Whoever writes there."""
    crew(site, others=(("<b>", "javascript:alert(1)"),))
    text = await page(http)
    assert "&lt;b&gt;" in text
    assert "javascript:" not in text


async def test_one_whose_lease_is_over_shows_no_coverage(site, http):
    """Others may have taken its symbols over, and show theirs."""
    crew(site, holds=False)
    found = await metrics(http)
    assert not any(name.startswith("blofin_coverage_ratio") for name in found)
    assert found["blofin_fleet_agents"] == "2.0"
    told = await status(http)
    assert told["health"] == "critical"
    assert "other agents may have taken these symbols over" in told["reason"]
    assert told["symbols"] == 0


async def test_one_to_which_no_symbol_falls_is_well(site, http):
    """It shows no health of its own, which nothing is the worst of."""
    site.tracker.histories.clear()
    crew(site, owned=0)
    told = await status(http)
    assert (told["health"], told["symbols"]) == ("good", 0)
    assert told["reason"] == "no symbol falls to this agent, one of 2"
    assert not any(name.startswith("blofin_health") for name in await metrics(http))
