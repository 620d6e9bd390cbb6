"""Laws of deploy/prometheus: its own programs accept it, and it speaks of what there is."""

import functools
import os
import re
import subprocess
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import promql_parser
import pytest
import yaml

from blofin_agent.config import Settings
from blofin_agent.coverage.tracker import health_of
from blofin_agent.domain.symbol_coverage import GOOD_COVERAGE, WARN_COVERAGE, CoverageCounts
from tests.series import SERIES, VALUES

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "deploy" / "prometheus"
RULES = sorted((FOLDER / "rules").glob("*.yml"))
TESTS = sorted((FOLDER / "tests").glob("*.yml"))


@functools.cache
def read(path):
    return yaml.safe_load(path.read_text())


def rules():
    return [rule for path in RULES for group in read(path)["groups"] for rule in group["rules"]]


ALERTS = [rule for rule in rules() if "alert" in rule]
RECORDS = [rule for rule in rules() if "record" in rule]


def names(rule):
    kind = "alert" if "alert" in rule else "record"
    return f"{rule[kind]}-{rule.get('labels', {}).get('severity', kind)}"


every_rule = pytest.mark.parametrize("rule", ALERTS + RECORDS, ids=names)
every_alert = pytest.mark.parametrize("alert", ALERTS, ids=names)


def run(*command):
    # Less garbage collection: promtool spends a fifth of its time on it.
    env = os.environ | {"GOGC": "400"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# -- Prometheus' and Alertmanager's own programs ---------------------------------------------------


@pytest.mark.debian
def test_promtool_accepts_the_configuration(debian):
    """With every rule file that it names."""
    said = run(debian("promtool"), "check", "config", str(FOLDER / "prometheus.yml"))
    assert f"{len(RULES)} rule files found" in said


@pytest.mark.debian
def test_promtool_lints_the_rules_without_a_word(debian):
    """`--lint=all --lint-fatal`."""
    run(debian("promtool"), "check", "rules", "--lint=all", "--lint-fatal", *map(str, RULES))


@pytest.mark.debian
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
@pytest.mark.slow("promtool plays days of samples")
def test_promtool_plays_every_case(path, debian):
    """Not yet, firing, must not fire."""
    run(debian("promtool"), "test", "rules", str(path))


@pytest.mark.debian
def test_amtool_accepts_the_configuration(debian):
    """With its receivers and inhibitions."""
    assert "4 receivers" in run(debian("amtool"), "check-config", str(FOLDER / "alertmanager.yml"))


@pytest.mark.debian
@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (["alertname=BlofinCoverageLow", "severity=critical", "symbol=A-USDT"], "critical"),
        (["alertname=BlofinCoverageLow", "severity=warning", "symbol=A-USDT"], "warning"),
        (["alertname=BlofinFeedFlapping", "severity=info"], "info"),
        (["alertname=Watchdog", "severity=info"], "watchdog"),
    ],
)
def test_alertmanager_routes_by_severity_and_the_watchdog_apart(labels, receiver, debian):
    """`amtool config routes test`."""
    config = f"--config.file={FOLDER / 'alertmanager.yml'}"
    run(
        debian("amtool"), "config", "routes", "test", config, f"--verify.receivers={receiver}",
        *labels,
    )  # fmt: skip


def test_one_inhibition_hushes_the_warning_beside_the_critical():
    """Both have one name, so the labels that must be equal are these."""
    config = read(FOLDER / "alertmanager.yml")
    assert {
        "source_matchers": ["severity = critical"],
        "target_matchers": ['severity =~ "warning|info"'],
        "equal": ["alertname", "job", "instance", "bar", "symbol"],
    } in config["inhibit_rules"]
    named = set(re.findall(r"Blofin\w+", str(config["inhibit_rules"]))) - {"Blofin"}
    assert named <= {alert["alert"] for alert in ALERTS}


# -- what every rule must be -----------------------------------------------------------------------


@every_alert
def test_an_alert_is_named_graded_explained_and_linked(alert):
    """CamelCase with our prefix; the texts are templates; the links lead where they say."""
    name, notes = alert["alert"], alert["annotations"]
    assert re.fullmatch(r"(Blofin([A-Z][a-z]+)+)|Watchdog", name)
    assert alert["labels"].keys() == {"severity"}
    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    assert "$value" not in str(alert["labels"])
    assert set(notes) == {"summary", "description", "runbook_url", "dashboard_url"}
    assert notes["summary"].rstrip("{}%end ").endswith((".", "{{"))
    assert notes["runbook_url"] == f"http://127.0.0.1:8780/runbook#{name.lower()}"
    url = urlsplit(notes["dashboard_url"])
    assert url.path in ("/d/blofin-coverage", "/d/blofin-feed-api")
    for label, value in linked(url).items():
        assert value == f"{{{{ $labels.{label} }}}}"
        assert label in labels_of(alert["expr"]), "the alert has no such label"
    # Where only agents that are no fleet have it. Without a value Grafana would look for that.
    assert notes["dashboard_url"].count(FOR_AGENTS) == (len(branches(alert["expr"])) > 1)


FOR_AGENTS = "{{ with $labels.instance }}&var-instance={{ . }}{{ end }}"


def linked(url):
    """Return what a link's variables are set to, for those that every such alert sets."""
    query = url.query.replace(FOR_AGENTS, "")
    return {name.removeprefix("var-"): value for name, (value,) in parse_qs(query).items()}


@every_alert
def test_an_alert_about_a_symbol_links_to_that_symbol(alert):
    """And so with job and instance, wherever it has them."""
    if "absent(" in alert["expr"]:
        return
    wanted = labels_of(alert["expr"]) & {"job", "instance", "symbol"}
    assert wanted <= set(linked(urlsplit(alert["annotations"]["dashboard_url"])))


def branches(expr):
    """Return what is said of each agent, and what of a fleet, which has other labels."""
    found = re.split(r"\nor\n(?=.*job_bar_symbol:)", expr, flags=re.DOTALL)
    assert len(found) <= 2
    return found


def labels_of(expr):
    """Return the labels that every result of a rule has."""
    return set.intersection(*map(_labels_of, branches(expr)))


def _labels_of(expr):
    """Return those that the first selector or `by` has."""
    by = re.match(r"\(?\s*\w+ by \(([\w, ]+)\)", expr)
    if by:
        return set(by[1].split(", "))
    if expr.startswith(("vector", "absent")):
        return set()
    first = next(iter(selectors(expr)))
    if ":" in first:
        return set(first.partition(":")[0].split("_"))
    known = {"up": set()} | {name: labels for name, (_, labels) in SERIES.items()}
    return {"job", "instance"} | known[first]


@every_alert
def test_an_alert_compares_and_divides_by_nothing(alert):
    """A missing series and a zero are no alarm."""
    assert re.search(r"(==|!=|<=|>=|<|>)", alert["expr"])
    assert "/" not in alert["expr"]
    assert "topk" not in alert["expr"]


@every_rule
def test_a_rule_parses_and_speaks_of_metrics_that_exist(rule):
    """With the labels they have, and the values those can have."""
    promql_parser.parse(rule["expr"])
    recorded = {one["record"] for one in RECORDS}
    for name, matchers in selectors(rule["expr"], with_labels=True):
        if name in recorded or name in ("up", "process_start_time_seconds"):
            continue
        assert name in SERIES, name
        assert set(matchers) <= SERIES[name][1], name
        for label, value in matchers.items():
            known = VALUES[name, label]
            for one in value.split("|"):
                assert any(re.fullmatch(one, each) for each in known), one


@every_rule
def test_counters_are_only_read_as_rates(rule):
    """And nothing else is."""
    for name in selectors(rule["expr"]):
        rated = re.search(rf"(rate|increase)\({name}\b", rule["expr"])
        counter = SERIES.get(name, ("", ()))[0] == "counter"
        assert bool(rated) == counter, name


@pytest.mark.parametrize("record", RECORDS, ids=names)
def test_a_recording_is_named_by_level_metric_and_operation(record):
    """The level says which labels are left."""
    level, metric, operation = record["record"].split(":")
    left = re.search(r"by \(([\w, ]+)\)", record["expr"])[1].split(", ")
    left += re.findall(r'^count_values by [^"]*"(\w+)"', record["expr"])
    assert level == "_".join(left)
    assert metric.startswith("blofin_")
    assert operation == record["expr"].split()[0] or operation.startswith("rate")


def test_the_bounds_are_those_of_the_agent():
    """0.97 and 0.995 stand in one place; rules, settings and the page are held to it."""
    assert Settings.model_fields["backfill_skip_coverage"].default == GOOD_COVERAGE
    for coverage, state in ((0.995, "good"), (0.99, "warn"), (0.97, "warn"), (0.96, "critical")):
        assert health_of([CoverageCounts(1_000, round(coverage * 1_000), 0, 0)]) == state
    low = {
        alert["labels"]["severity"]: alert["expr"]
        for alert in ALERTS
        if alert["alert"] == "BlofinCoverageLow"
    }
    assert {severity: re.findall(r"0\.\d+", expr) for severity, expr in low.items()} == {
        "critical": [str(WARN_COVERAGE)] * 2,
        "warning": [str(GOOD_COVERAGE)] * 2,
    }
    assert low["critical"].replace(str(WARN_COVERAGE), str(GOOD_COVERAGE)) == low["warning"]


CASES = [case for path in TESTS for case in read(path)["tests"]]


@pytest.mark.parametrize("name", sorted({alert["alert"] for alert in ALERTS} - {"Watchdog"}))
def test_every_alert_has_its_three_cases(name):
    """And those that fire name every label and annotation."""
    found = [case for case in CASES if case["name"].startswith(f"{name}:")]
    kinds = set()
    for case in found:
        kind = case["name"].partition(": ")[2].partition(",")[0]
        kinds.add(kind)
        checks = case["alert_rule_test"]
        assert any(check["exp_alerts"] for check in checks) == (kind == "firing")
        for check in checks:
            assert check["alertname"] == name
            for alert in check["exp_alerts"]:
                assert set(alert["exp_labels"]) >= {"severity", "job"}
                assert len(alert["exp_annotations"]) == 4
    assert kinds == {"not yet", "firing", "must not fire"}


@pytest.mark.parametrize(
    "alert", [one for one in ALERTS if len(branches(one["expr"])) > 1], ids=names
)
def test_what_is_said_of_a_symbol_is_said_of_a_fleet_and_of_agents_without_one(alert):
    """Each by itself, never twice; and what a fleet does to it is a case."""
    agents, fleet = branches(alert["expr"])
    assert re.search(r"unless on \(job, instance\) \S*blofin_fleet_agents", agents)
    assert all(name.startswith("job_bar") for name in selectors(fleet))
    played = {case["name"] for case in CASES}
    assert {
        f"{alert['alert']}: {kind}, in a fleet" for kind in ("firing", "must not fire")
    } <= played


@pytest.mark.parametrize("record", RECORDS, ids=names)
def test_every_recording_has_a_case(record):
    """Which says what it holds."""
    asked = {check["expr"] for case in CASES for check in case.get("promql_expr_test", ())}
    assert record["record"] in asked


# -- reading expressions -----------------------------------------------------------------------


def selectors(expr, *, with_labels=False):
    """Return the names in an expression that are series, with their matchers if wished."""
    bare = re.sub(r"\b(by|on|ignoring|without|group_left|group_right) *\([^)]*\)", "", expr)
    bare = re.sub(r"\[[^\]]*\]|\boffset \w+", "", bare)
    found = re.findall(r"(?<![\w\"])([a-z_][\w:]*)(\{[^}]*\})?(?!\s*\()(?![\w:])", bare)
    words = {"and", "or", "unless", "on", "by"}
    pairs = [
        (name, dict(re.findall(r'(\w+)[=!~]+"([^"]*)"', labels)))
        for name, labels in found
        if name not in words
    ]
    if with_labels:
        return [(n, {k: v for k, v in m.items() if k not in ("job", "instance")}) for n, m in pairs]
    return [name for name, _ in pairs]
