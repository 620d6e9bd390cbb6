"""Each rule of Grafana's dashboard-linter as a law, without an exclusion, and some of our own."""

import json
import re

import pytest

from blofin_agent.domain.symbol_coverage import GOOD_COVERAGE, WARN_COVERAGE
from deploy.grafana.__main__ import FOLDER
from deploy.grafana.fleet import NO_FLEET
from deploy.grafana.queries import queries, substitute
from tests.series import SERIES

DASHBOARDS = [json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))]
UNITS = {"percentunit", "s", "short", "reqps", "bytes", "bool_yes_no"}

every_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda one: one["uid"])
every_panel = pytest.mark.parametrize(
    "panel",
    [
        pytest.param(panel, id=f"{dashboard['uid']}-{panel['title']}")
        for dashboard in DASHBOARDS
        for panel in dashboard["panels"]
        if panel["type"] != "row"
    ],
)
every_query = pytest.mark.parametrize(
    "expr",
    [
        pytest.param(query.expr, id=f"{query.dashboard}-{query.title}")
        for query in queries()
        if query.kind != "variable"
    ],
)


def variables(dashboard):
    return {one["name"]: one for one in dashboard["templating"]["list"]}


def test_there_are_two():
    """Those of the contract."""
    assert [one["uid"] for one in DASHBOARDS] == ["blofin-coverage", "blofin-feed-api"]


@every_dashboard
def test_template_datasource_rule(dashboard):
    """The data source is a variable with the label that all dashboards give it."""
    source = variables(dashboard)["datasource"]
    assert (source["type"], source["query"]) == ("datasource", "prometheus")
    assert source["label"] == "Data source"


@every_dashboard
@pytest.mark.parametrize("name", ["job", "instance", "symbol"])
def test_template_job_and_instance_rules(dashboard, name):
    """Query variables on that source, of several values, where All is everything."""
    variable = variables(dashboard)[name]
    assert variable["type"] == "query"
    assert variable["datasource"]["uid"] == "${datasource}"
    assert variable["multi"]
    assert variable["includeAll"]
    assert variable["allValue"] == ".+"
    assert variable["label"] == name.capitalize()


@every_dashboard
def test_template_label_promql_and_on_time_change_reload_rules(dashboard):
    """Each asks for the values of one label, anew when the time range changes."""
    for variable in variables(dashboard).values():
        if variable["type"] == "query":
            name = variable["name"]
            assert re.fullmatch(
                rf"label_values\(blofin_\w+(\{{.*\}})?, {name}\)", variable["query"]
            )
            assert variable["refresh"] == 2


@every_dashboard
def test_uneditable_dashboard_rule(dashboard):
    """And the head that all ours have in common."""
    assert dashboard["editable"] is False
    assert dashboard["schemaVersion"] == 42
    assert dashboard["timezone"] == "utc"
    assert dashboard["graphTooltip"] == 1
    assert dashboard["tags"] == ["blofin"]
    by_tag, runbook = dashboard["links"]
    assert (by_tag["tags"], by_tag["keepTime"], by_tag["includeVars"]) == (["blofin"], True, True)
    assert runbook["url"].endswith(":8780/runbook")
    assert not any("placement" in link for link in (by_tag, runbook)), "hidden in a menu"
    assert [one["name"] for one in dashboard["annotations"]["list"]] == ["Alerts firing"]


@every_dashboard
def test_every_panel_has_an_id_of_its_own(dashboard):
    """Rows, too."""
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids) > 10


@every_panel
def test_panel_datasource_rule(panel):
    """The variable, on the panel and on each query."""
    for one in (panel, *panel["targets"]):
        assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@every_panel
def test_panel_title_description_rule(panel):
    """The description is at least a sentence."""
    assert panel["title"]
    assert len(panel["description"]) > 30
    assert panel["description"].endswith(".")


@every_panel
def test_panel_units_rule(panel):
    """One that Grafana knows."""
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS


@every_panel
def test_panel_no_targets_rule(panel):
    """Every panel asks something, under references of their own."""
    references = [target["refId"] for target in panel["targets"]]
    assert references
    assert len(set(references)) == len(references)


@every_panel
def test_a_panel_without_data_says_why(panel):
    """An agent on SQLite has no fleet, which is not the same as an agent that is silent."""
    of_fleets = all("blofin_fleet_" in target["expr"] for target in panel["targets"])
    assert of_fleets == any("blofin_fleet_" in target["expr"] for target in panel["targets"])
    assert (panel["fieldConfig"]["defaults"]["noValue"] == NO_FLEET) == of_fleets


@every_panel
def test_what_shows_one_moment_asks_for_one(panel):
    """A figure or a table over a day of points would cost a thousand times as much."""
    for target in panel["targets"]:
        assert bool(target.get("instant")) == (panel["type"] in ("stat", "table"))
        assert bool(target.get("range")) != bool(target.get("instant"))


@every_query
def test_target_job_and_instance_rules(expr):
    """In every selector, that literal; an annotation also shows alerts that have no instance."""
    for name, matchers in re.findall(r"(\w+)\{([^}]*)\}", expr):
        instance = 'instance=~"$instance|"' if name == "ALERTS" else 'instance=~"$instance"'
        assert {'job=~"$job"', instance} <= set(matchers.split(",")), name
    bare = re.sub(r"\{[^}]*\}", "{}", expr)
    assert not re.search(r"\b(blofin_\w+|process_\w+|up)\b(?!\{)(?!=)", bare)


@every_query
def test_a_metric_of_symbols_is_asked_for_the_chosen_symbols(expr):
    """So that the variable means what it says."""
    for name, matchers in re.findall(r"(\w+)\{([^}]*)\}", expr):
        has = "symbol" in SERIES.get(name, ("", set()))[1]
        assert has == ('symbol=~"$symbol"' in matchers.split(",")), name


@every_query
def test_what_other_jobs_have_too_is_asked_of_agents_only(expr):
    """With every job chosen, Prometheus' own memory is no agent's."""
    joined = r" and on \(job, instance\) (last_over_time\()?blofin_writer_queue_capacity\{"
    for found in re.finditer(r"\b(?!blofin_|ALERTS)\w+\{[^}]*\}(\[[^]]*\]\))?", expr):
        assert re.match(joined, expr[found.end() :]), found[0]


@every_panel
def test_the_20_worst_are_the_same_20_all_along(panel):
    """Chosen anew at each point, every one of 500 symbols would be drawn, in pieces."""
    for target in panel["targets"]:
        chosen = re.findall(r"(?:top|bottom)k\(.*", target["expr"])
        assert all(target.get("instant") or "@ end()" in one for one in chosen)


@every_panel
def test_lines_by_symbol_are_20_at_most(panel):
    """The others page: twenty rows of states, a table that is filtered."""
    if panel["type"] == "timeseries":
        for target in panel["targets"]:
            assert ("{{symbol}}" in target["legendFormat"]) == ("k(20, " in target["expr"])
    if panel["type"] == "state-timeline":
        assert panel["options"]["perPage"] == 20


@every_query
def test_target_rate_interval_rule(expr):
    """Rates are over $__rate_interval, never over a fixed time."""
    for window in re.findall(r"(?:rate|irate|increase)\([^[]*\[([^\]]*)\]", expr):
        assert window == "$__rate_interval"


@every_query
def test_target_counter_agg_rule(expr):
    """Counters and buckets are only ever read as rates or increases."""
    for name in re.findall(r"(\w+)\{", expr):
        kind = SERIES.get(name, ("", ()))[0]
        rated = re.search(rf"(rate|increase)\({name}\{{", expr)
        assert bool(rated) == (kind in ("counter", "histogram")), name


@every_query
def test_every_variable_is_replaced(expr):
    """Nothing that Prometheus would not take is left."""
    assert "$" not in substitute(expr)


def test_the_bounds_are_those_of_the_agent():
    """In every panel that is coloured by coverage."""
    steps = [each for dashboard in DASHBOARDS for each in _steps(dashboard)]
    bounds = [[one["value"] for one in each[1:]] for each in steps]
    colored = [each for each in bounds if any(0.9 < bound < 1 for bound in each)]
    assert len(colored) >= 3
    assert all(each == [WARN_COVERAGE, GOOD_COVERAGE] for each in colored)


def test_the_bounds_are_nowhere_written_out():
    """They are those of `blofin_agent.domain.symbol_coverage`, in the generator's words, too."""
    for path in FOLDER.parent.glob("*.py"):
        for bound in (GOOD_COVERAGE, WARN_COVERAGE):
            assert str(bound) not in path.read_text()
            assert f"{100 * bound:g} %" not in path.read_text()


def _steps(node):
    """Return every list of thresholds below."""
    if isinstance(node, list):
        return [steps for one in node for steps in _steps(one)]
    if not isinstance(node, dict):
        return []
    found = [node["steps"]] if isinstance(node.get("steps"), list) else []
    return found + [steps for one in node.values() for steps in _steps(one)]
