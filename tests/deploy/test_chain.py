"""Laws of the whole chain: what happens to the data reaches a person. See `chain.py`."""

import time

import pytest

from deploy.grafana.queries import queries, substitute
from tests.deploy.chain import WITHHELD
from tests.processes import until

pytestmark = [pytest.mark.debian, pytest.mark.timeout(900)]


def test_low_coverage_reaches_the_webhook_and_resolves_after_healing(chain):
    """One symbol was not given; then it was, and the agent healed it by itself."""
    fired = chain.wait_for("BlofinCoverageLow", "firing", within_s=500)
    assert fired["labels"] == {
        "alertname": "BlofinCoverageLow",
        "instance": chain.agent.url.removeprefix("http://"),
        "job": "blofin-agent",
        "severity": "critical",
        "symbol": WITHHELD,
    }
    assert WITHHELD in fired["annotations"]["summary"]
    assert fired["annotations"]["runbook_url"].endswith("/runbook#blofincoveragelow")
    assert WITHHELD in fired["annotations"]["dashboard_url"]
    assert fired["path"].endswith("critical")
    resolved = chain.wait_for("BlofinCoverageLow", "resolved", within_s=300)
    assert resolved["labels"] == fired["labels"]
    ratio = chain.query(f'blofin_coverage_ratio{{symbol="{WITHHELD}"}}')
    assert float(ratio[0]["value"][1]) >= 0.97
    low = {n["labels"]["symbol"] for n in chain.notices if "symbol" in n["labels"]}
    assert low == {WITHHELD}


def test_an_agent_that_was_killed_reaches_the_webhook(chain):
    """The one that came by file_sd; the other one is well."""
    fired = chain.wait_for("BlofinAgentDown", "firing", within_s=300)
    assert fired["labels"]["instance"] == chain.second.url.removeprefix("http://")
    assert fired["labels"]["severity"] == "critical"
    assert fired["path"].endswith("critical")
    down = {n["labels"]["instance"] for n in chain.notices if "Down" in n["labels"]["alertname"]}
    assert down == {fired["labels"]["instance"]}


def test_the_watchdog_barks_at_a_door_of_its_own(chain):
    """So that its silence can be noticed."""
    barked = chain.wait_for("Watchdog", "firing", within_s=300)
    assert barked["path"].endswith("watchdog")
    assert {n["path"] for n in chain.notices if n["labels"]["alertname"] != "Watchdog"} == {
        "/critical"
    }


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
