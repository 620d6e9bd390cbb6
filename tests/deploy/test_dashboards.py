"""Laws of the dashboards' files: generated, valid, and about what there is."""

import json
import re
import subprocess
from pathlib import Path

import jsonschema
import promql_parser
import pytest
import yaml
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.__main__ import FOLDER, texts
from deploy.grafana.__main__ import text as write
from deploy.grafana.queries import queries, substitute
from tests.series import SERIES, VALUES

ROOT = Path(__file__).parent.parent.parent
SCHEMAS = ROOT.parent / "shared" / "grafana-jsonschema"
FILES = sorted(FOLDER.glob("*.json"))
DASHBOARDS = [json.loads(path.read_text()) for path in FILES]
PANELS = [
    pytest.param(panel, id=f"{dashboard['uid']}-{panel['title']}")
    for dashboard in DASHBOARDS
    for panel in dashboard["panels"]
    if panel["type"] != "row"
]
QUERIES = [pytest.param(query, id=f"{query.dashboard}-{query.title}") for query in queries()]
SELECTORS_OF_OTHERS = {"up", "ALERTS"}


def test_the_committed_files_are_what_the_generator_writes():
    """`make dashboards` would change nothing."""
    assert {path.name: path.read_text() for path in FILES} == texts()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_library_reads_back_what_it_wrote(path):
    """It drops keys it does not know, so a misspelt one shows."""
    register_default_plugins()
    text = path.read_text()
    assert write(Dashboard.from_json(json.loads(text))) == text


def _check(thing, schema, definition):
    path = SCHEMAS / f"{schema}.jsonschema.json"
    if not path.exists():
        pytest.skip(f"Grafana's schemas are not here ({SCHEMAS.name})")
    document = json.loads(path.read_text())
    document["$ref"] = f"#/definitions/{definition}"
    # "Any" became "an object" in this schema; Grafana's own overrides hold names and units here.
    for name, key in (("DynamicConfigValue", "value"), ("MatcherConfig", "options")):
        if name in document["definitions"]:
            document["definitions"][name]["properties"][key] = {}
    jsonschema.validate(thing, document, jsonschema.Draft7Validator)


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda one: one["uid"])
def test_grafanas_schema_takes_the_dashboard(dashboard):
    """Draft 7, from Grafana itself."""
    _check(dashboard, "dashboard", "Dashboard")


@pytest.mark.parametrize("panel", PANELS)
def test_grafanas_schema_takes_the_panel_with_its_options_and_queries(panel):
    """Each kind has its own."""
    kind = panel["type"].replace("-", "")
    _check(panel["options"], kind, "Options")
    if kind != "stat":
        _check(panel["fieldConfig"]["defaults"].get("custom", {}), kind, "FieldConfig")
    for target in panel["targets"]:
        _check(target, "prometheus", "Dataquery")


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_parses_and_speaks_of_metrics_that_exist(query):
    """With the labels they have, and the values those can have."""
    found = selectors(promql_parser.parse(substitute(query.expr)))
    assert found
    for name, matchers in found:
        if name in SELECTORS_OF_OTHERS:
            continue
        kind, labels = SERIES[name]
        assert kind
        for label, value in matchers:
            if label in ("job", "instance"):
                continue
            assert label in labels, name
            if label != "symbol":
                for one in value.split("|"):
                    assert any(re.fullmatch(one, each) for each in VALUES[name, label]), one


def selectors(node):
    """Return each selector of a parsed expression: its name, and its other matchers."""
    if isinstance(node, promql_parser.VectorSelector):
        matchers = [(one.name, one.value) for one in node.matchers.matchers]
        name = node.name or next(value for label, value in matchers if label == "__name__")
        return [(name, matchers)]
    found = []
    for part in ("lhs", "rhs", "expr", "param", "args", "vector_selector"):
        below = getattr(node, part, None)
        for one in below if isinstance(below, list) else [below]:
            if one is not None and not isinstance(one, str | int | float):
                found += selectors(one)
    return found


# -- what the figures say --------------------------------------------------------------------------

MINE, OTHER = '{job="a",instance="a:1"}', '{job="b",instance="b:1"}'
RUNS = {f"blofin_writer_queue_capacity{MINE}": "9+0x59", f"up{MINE}": "1+0x59"}
GONE = {f"blofin_writer_queue_capacity{MINE}": "9+0x29 stale", f"up{MINE}": "1+0x29 0+0x30"}
LACKS = {
    'blofin_candles_missing{job="a",instance="a:1",symbol="A"}': "7+0x59",
    'blofin_candles_unavailable{job="a",instance="a:1",symbol="A"}': "2+0x59",
    f"blofin_api_suspended_until_timestamp_seconds{MINE}": "0+0x59",
    f"blofin_store_up{MINE}": "1+0x59",
    'blofin_api_requests_total{job="a",instance="a:1",outcome="ok"}': "0+9x59",
    'blofin_api_requests_total{job="a",instance="a:1",outcome="timeout"}': "0+1x59",
}


def symbol(name, values, instance="a:1"):
    return {f'blofin_coverage_ratio{{job="a",instance="{instance}",symbol="{name}"}}': values}


def of_agents(name, **values):
    return {f'blofin_{name}{{job="a",instance="{one}:1"}}': each for one, each in values.items()}


@pytest.mark.debian
@pytest.mark.parametrize(
    ("title", "series", "value"),
    [
        ("Not GOOD for", symbol("A", "1+0x29 0.9+0x29") | symbol("B", "1+0x59"), 29 * 60),
        ("Not GOOD for", symbol("A", "_x49 0.9+0x10"), 10 * 60 - 15),
        ("Not GOOD for", symbol("A", "0.9+0x29 1+0x29"), 0),
        ("Not GOOD for", {}, None),
        ("Agents down", RUNS | {f"up{OTHER}": "0+0x59"}, 0),
        ("Agents down", GONE, 1),
        ("Agents down", {f"up{OTHER}": "0+0x59"}, None),
        ("Symbols below 99.5 %", symbol("A", "0.99+0x59") | symbol("B", "1+0x59"), 1),
        ("Symbols below 97 %", symbol("A", "0.99+0x59") | symbol("B", "1+0x59"), 0),
        ("Gaps being filled", LACKS | dict.fromkeys([*LACKS][:1], "2+0x59"), 0),
        ("Gaps being filled", LACKS, 1),
        ("Gaps being filled", LACKS | dict.fromkeys([*LACKS][2:3], "9999+0x59"), 2),
        ("Gaps being filled", LACKS | dict.fromkeys([*LACKS][3:4], "0+0x59"), 2),
        ("Gaps being filled", LACKS | dict.fromkeys([*LACKS][5:], "0+10x59"), 2),
        # While it passes from one agent to another, both may tell of it.
        ("Symbols below 97 %", symbol("A", "0.9+0x59") | symbol("A", "0.9+0x59", "b:1"), 1),
        # One may be cut off, one not have joined yet.
        ("Agents that share the symbols", of_agents("fleet_agents", a="3+0x59", b="2+0x59"), 2),
        ("Agents that share the symbols", of_agents("fleet_agents", a="3+0x59", b="0+0x59"), 3),
        (
            "Unassigned symbols",
            of_agents("fleet_symbols_orphaned", a="0+0x59", b="2+0x59"),
            2,
        ),
        (
            "Budget needed",
            of_agents("fleet_budget_load_ratio", a="0.5+0x59", b="1.5+0x59"),
            1.5,
        ),
        (
            "Last successful pass",
            RUNS
            | {f"process_start_time_seconds{MINE}": "60+0x59"}
            | {f"process_start_time_seconds{OTHER}": "0+0x59"}
            | {f"blofin_backfill_last_success_timestamp_seconds{MINE}": "0+0x59"},
            58 * 60,
        ),
    ],
)
def test_a_figure_says_what_it_says_it_does(title, series, value, debian, tmp_path):
    """In the 59th minute, with every variable at All and other jobs around."""
    (query,) = [one for one in queries() if one.title == title]
    _play(debian, tmp_path, series, substitute(query.expr, "5m"), value)


@pytest.mark.debian
@pytest.mark.parametrize(
    "query",
    [one for one in queries() if one.kind == "panel"],
    ids=lambda one: f"{one.dashboard}-{one.title}",
)
def test_nothing_tells_of_an_agent_that_is_gone_that_all_is_well(query, debian, tmp_path):
    """Where there are no series at all there is no figure, not a green 0."""
    _play(debian, tmp_path, {f"up{OTHER}": "1+0x59"}, substitute(query.expr), None)


@pytest.mark.debian
@pytest.mark.parametrize(
    "query", [one for one in queries() if one.title.startswith("Symbols, worst first")]
)
def test_a_symbol_stands_in_the_table_once(query, debian, tmp_path):
    """Under b, to which it passed, though a was cut off and still tells of its feed."""
    series = symbol("A", "1+0x59", "b:1") | {'up{instance="b:1"}': "1+0x59"}
    for name in re.findall(r"blofin_\w+", query.expr):
        if name != "blofin_coverage_ratio":
            for one in ("a:1", "b:1"):
                series[f'{name}{{job="a",instance="{one}",symbol="A"}}'] = "1+0x59"
    expr = substitute(query.expr)
    _play(debian, tmp_path, series, f"count({expr})", 1)
    _play(debian, tmp_path, series, f'count(({expr}) and on (instance) up{{instance="b:1"}})', 1)


@pytest.mark.debian
def test_an_agent_that_is_cut_off_keeps_nothing(debian, tmp_path):
    """Whatever it kept last."""
    (query,) = [one for one in queries() if one.title == "Symbols by agent"]
    series = of_agents("fleet_symbols_owned", a="5+0x59", b="7+0x59", c="0+0x59")
    series |= of_agents("store_up", a="0+0x59", b="1+0x59", c="1+0x59")
    expr = substitute(query.expr)
    _play(debian, tmp_path, series, f"count({expr})", 2)
    _play(debian, tmp_path, series, f"sum({expr})", 7)


@pytest.mark.debian
def test_of_several_addresses_the_budget_of_the_worst_is_shown(debian, tmp_path):
    """Not the highest use over the highest limit: those may be of two."""
    (query,) = [one for one in queries() if one.title == "Budget used"]
    series = {}
    for one, used, limit in (("a", 90, 475), ("b", 40, 47.5), ("c", 0, 0)):
        where = f'{{job="a",instance="{one}:1",window="60s"}}'
        series[f"blofin_rate_budget_used{where}"] = f"{used}+0x59"
        series[f"blofin_rate_budget_limit{where}"] = f"{limit}+0x59"
    _play(debian, tmp_path, series, f"max({substitute(query.expr)})", 40 / 47.5)


@pytest.mark.debian
def test_of_many_symbols_those_are_drawn_that_were_worst_once(debian, tmp_path):
    """As whole lines: where they stand now, too."""
    (query,) = [one for one in queries() if one.title.startswith("Coverage over time")]
    series = symbol("DIPPED", "1+0x44 0.5+0x4 1+0x9")
    for number in range(30):
        series |= symbol(f"S{number}", "0.99+0x59")
    expr = substitute(query.expr, range_s=1_200)
    _play(debian, tmp_path, series, f"count({expr})", 20)
    _play(debian, tmp_path, series, f"max({expr})", 1)


def _play(debian, tmp_path, series, expr, value):
    samples = [] if value is None else [{"labels": "{}", "value": value}]
    case = {
        "interval": "1m",
        "input_series": [{"series": name, "values": each} for name, each in series.items()],
        "promql_expr_test": [{"expr": expr, "eval_time": "59m", "exp_samples": samples}],
    }
    path = tmp_path / "case.yml"
    path.write_text(yaml.safe_dump({"tests": [case]}))
    done = subprocess.run(
        [debian("promtool"), "test", "rules", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# -- provisioning ----------------------------------------------------------------------------------


def _provisioned(kind):
    (path,) = (FOLDER.parent / "provisioning" / kind).glob("*.yml")
    return yaml.safe_load(path.read_text())


def test_the_datasource_has_prometheus_interval():
    """Or $__rate_interval, four times it at least, would be wrong."""
    prometheus = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    sources = {one["uid"]: one for one in _provisioned("datasources")["datasources"]}
    ours = sources["blofin-prometheus"]["jsonData"]
    assert ours["timeInterval"] == prometheus["global"]["scrape_interval"]
    assert sources[ours["alertmanagerUid"]]["type"] == "alertmanager"
    assert not any(one["editable"] for one in sources.values())


def test_dashboards_are_provisioned_and_cannot_be_changed_in_the_browser():
    """What is seen is what is in the repository."""
    (provider,) = _provisioned("dashboards")["providers"]
    assert provider["allowUiUpdates"] is False
    assert provider["disableDeletion"] is True
    assert provider["folder"] == "BloFin"
