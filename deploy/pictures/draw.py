"""Draw the panels of a dashboard from its own queries, laid out as in Grafana, without Grafana."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deploy.grafana.queries import substitute
from deploy.pictures import charts
from deploy.pictures.look import BACK, CARD, FAINT, TEXT
from deploy.pictures.prometheus import Prometheus, Series

Panel = dict[str, Any]

COLUMNS = 24
CELL = (0.6, 0.36)
"""Width and height of one cell of Grafana's grid, in inches."""
POINTS = 300

_DRAW: dict[str, Callable[[Axes, charts.Answers], None]] = {
    "stat": charts.number,
    "timeseries": charts.lines,
    "state-timeline": charts.states,
    "table": charts.table,
    "heatmap": charts.heatmap,
}


@dataclass(frozen=True)
class Shown:
    """The data source and the time range of a drawing (Unix times in s)."""

    prometheus: Prometheus
    start: float
    end: float

    def answers(self, panel: Panel) -> charts.Answers:
        """Run the queries of a panel and return their results."""
        step = max(1.0, (self.end - self.start) / POINTS)
        now = panel["type"] in ("stat", "table")
        found: list[tuple[Panel, list[Series]]] = []
        for target in panel["targets"]:
            expr = substitute(target["expr"], "30s", math.ceil(self.end - self.start))
            found.append(
                (
                    target,
                    self.prometheus.instant(expr, self.end)
                    if now
                    else self.prometheus.range(expr, self.start, self.end, step),
                )
            )
        return charts.Answers(panel, found, self.start, self.end)


def sheet(path: Path, shown: Shown) -> Figure:
    """Draw a complete dashboard and return the figure."""
    mpl.rcParams.update({"font.size": 8, "font.family": "DejaVu Sans", "text.color": TEXT})
    dashboard = json.loads(path.read_text())
    height = max(one["gridPos"]["y"] + one["gridPos"]["h"] for one in dashboard["panels"])
    figure = Figure(figsize=(COLUMNS * CELL[0], height * CELL[1]), facecolor=BACK)
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        x, y, w, h = place["x"], place["y"], place["w"], place["h"]
        if panel["type"] == "row":
            figure.text(0.006, 1 - (y + 0.65) / height, panel["title"], size=11, weight="bold")
            continue
        _card(figure, panel["title"], x, y, w, h, height)
        left, below = (0.25, 0.25) if panel["type"] in ("stat", "table") else (1.9, 1.35)
        axes = figure.add_axes(
            (
                (x + left) / COLUMNS,
                1 - (y + h - below) / height,
                (w - left - 0.35) / COLUMNS,
                (h - below - 1.2) / height,
            ),
            facecolor=CARD,
        )
        axes.tick_params(colors=FAINT, labelsize=7, length=2)
        for spine in axes.spines.values():
            spine.set_visible(False)
        _DRAW[panel["type"]](axes, shown.answers(panel))
    return figure


def _card(figure: Figure, title: str, x: int, y: int, w: int, h: int, height: int) -> None:
    card = mpl.patches.Rectangle(
        ((x + 0.06) / COLUMNS, 1 - (y + h - 0.08) / height),
        (w - 0.12) / COLUMNS,
        (h - 0.16) / height,
        facecolor=CARD,
        transform=figure.transFigure,
        zorder=-1,
    )
    figure.add_artist(card)
    figure.text((x + 0.25) / COLUMNS, 1 - (y + 0.78) / height, title, size=8.5)
