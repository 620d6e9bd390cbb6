"""Read all queries of the committed dashboards, for the tests and the drawings."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent / "dashboards"


class Query(NamedTuple):
    """One expression of a dashboard. `kind`: panel, variable or annotation."""

    dashboard: str
    kind: str
    title: str
    expr: str


def queries() -> Iterator[Query]:
    """Return every expression of the committed dashboards.

    For a variable, it is the selector inside `label_values`.
    """
    for path in sorted(FOLDER.glob("*.json")):
        dashboard = json.loads(path.read_text())
        for panel in dashboard["panels"]:
            for target in panel.get("targets", ()):
                yield Query(dashboard["uid"], "panel", panel["title"], target["expr"])
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                selector = variable["query"].removeprefix("label_values(").rpartition(",")[0]
                yield Query(dashboard["uid"], "variable", variable["name"], selector)
        for annotation in dashboard["annotations"]["list"]:
            if annotation.get("expr"):
                name = annotation["name"]
                yield Query(dashboard["uid"], "annotation", name, annotation["expr"])


def substitute(expr: str, interval: str = "1m", range_s: int = 3_600) -> str:
    """Return an expression as Grafana sends it with every variable set to All."""
    for variable, value in (
        ("$__rate_interval", interval),
        ("$__interval_ms", "15000"),
        ("$__interval", "15s"),
        ("$__range_s", str(range_s)),
        ("$__range", f"{range_s}s"),
        ("$job", ".+"),
        ("$instance", ".+"),
        ("$symbol", ".+"),
    ):
        expr = expr.replace(variable, value)
    return expr
