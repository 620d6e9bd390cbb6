"""Laws of the whole chain: what happens to the data reaches a person. See `chain.py`."""

import time

import pytest

from deploy.grafana.queries import queries, substitute
from tests.deploy.chain import SYMBOLS, WITHHELD, instance
from tests.processes import until

pytestmark = [
    pytest.mark.debian,
    pytest.mark.timeout(900),
    pytest.mark.slow("alerts take their time, an eighth of the real one"),
]


@pytest.mark.parametrize("whose", ["agent", "fleet"])
def test_low_coverage_reaches_the_webhook_and_resolves_after_healing(chain, whose):
    """One symbol was not given; then it was, and the agent healed it by itself.

    In the fleet another agent took it over meanwhile: that is one alert all the same.
    """
    where = {"instance": instance(chain.agent)} if whose == "agent" else {"bar": "60"}
    fired = chain.wait_for("BlofinCoverageLow", "firing", 500, **where)
    assert fired["labels"] == where | {
        "alertname": "BlofinCoverageLow",
        "job": "blofin-agent",
        "severity": "critical",
        "symbol": WITHHELD,
    }
    assert WITHHELD in fired["annotations"]["summary"]
    assert fired["annotations"]["runbook_url"].endswith("/runbook#blofincoveragelow")
    assert WITHHELD in fired["annotations"]["dashboard_url"]
    assert ("var-instance" in fired["annotations"]["dashboard_url"]) == (whose == "agent")
    assert fired["path"].endswith("critical")
    resolved = chain.wait_for("BlofinCoverageLow", "resolved", 300, **where)
    assert resolved["labels"] == fired["labels"]
    assert resolved["startsAt"] == fired["startsAt"]
    ratio = chain.query(f'blofin_coverage_ratio{{symbol="{WITHHELD}"}}')
    assert [float(one["value"][1]) >= 0.97 for one in ratio] == [True, True]
    low = {n["labels"]["symbol"] for n in chain.notices if "symbol" in n["labels"]}
    assert low == {WITHHELD}
    begun = {n["startsAt"] for n in chain.notices if where.items() <= n["labels"].items()}
    assert begun == {fired["startsAt"]}


def test_an_agent_of_a_fleet_that_was_killed_reaches_the_webhook(chain):
    """One that came by file_sd. Nobody is woken up: the other one keeps its symbols."""
    fired = chain.wait_for("BlofinAgentDown", "firing", within_s=300)
    assert fired["labels"]["instance"] == instance(chain.killed)
    assert fired["labels"]["severity"] == "warning"
    assert fired["path"].endswith("warning")
    down = {n["labels"]["instance"] for n in chain.notices if "Down" in n["labels"]["alertname"]}
    assert down == {fired["labels"]["instance"]}
    (left,) = (one for one in chain.fleet if one is not chain.killed)
    until(lambda: chain.query(f'blofin_fleet_symbols_owned{{instance="{instance(left)}"}} == 3'))
    (live,) = chain.query("job_bar:blofin_fleet_agents:min")
    assert live["metric"]["bar"] == "60"
    assert live["value"][1] == "1"


def test_a_symbol_of_the_fleet_stands_in_the_table_once(chain):
    """In each column, under the agent that is left."""
    chain.wait_for("BlofinAgentDown", "firing", within_s=300)
    (left,) = (one for one in chain.fleet if one is not chain.killed)
    columns = [one for one in queries() if one.title.startswith("Symbols, worst first")]
    assert len(columns) > 5

    def rows(expr):
        found = chain.query(f"({substitute(expr)}) and on (instance) blofin_fleet_agents")
        return sorted((one["metric"]["symbol"], one["metric"]["instance"]) for one in found)

    wanted = [(symbol, instance(left)) for symbol in sorted(SYMBOLS.split(","))]
    for column in columns:
        until(lambda expr=column.expr: rows(expr) == wanted)


def test_an_agent_on_sqlite_has_no_fleet(chain):
    """So its panels say that, and no rule of fleets speaks of it."""
    mine = f'{{__name__=~"blofin_fleet_.+|job_.*bar.*",instance="{instance(chain.agent)}"}}'
    assert chain.query(mine) == []


def test_the_watchdog_barks_at_a_door_of_its_own(chain):
    """So that its silence can be noticed. Nothing else is told than what happened."""
    barked = chain.wait_for("Watchdog", "firing", within_s=300)
    assert barked["path"].endswith("watchdog")
    others = [n for n in chain.notices if n["labels"]["alertname"] != "Watchdog"]
    assert {n["labels"]["alertname"] for n in others} == {"BlofinCoverageLow", "BlofinAgentDown"}
    assert all(n["path"] == f"/{n['labels']['severity']}" for n in others)


def test_every_rule_is_healthy(chain):
    """Prometheus evaluated each without an error."""

    def rules():
        groups = chain.api("rules")["groups"]
        found = [rule for group in groups for rule in group["rules"]]
        return found if found and all(rule["health"] != "unknown" for rule in found) else None

    assert {rule["health"] for rule in until(rules)} == {"ok"}


def test_every_query_and_variable_of_every_dashboard_returns_data(chain):
    """As Grafana would ask them, with every variable at All."""
    chain.wait_for("BlofinAgentDown", "firing", within_s=300)
    asked = list(queries())
    assert {query.kind for query in asked} == {"panel", "variable", "annotation"}

    def silent():
        return [query for query in asked if not chain.query(substitute(query.expr))]

    give_up_at = time.monotonic() + 120
    while silent() and time.monotonic() < give_up_at:
        time.sleep(5)
    assert silent() == []
