"""Draw each kind of panel from the results of its queries."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from deploy.pictures.look import CARD, CYCLE, FAINT, NAMED, TEXT
from deploy.pictures.prometheus import Series
from deploy.pictures.units import write

_MOST_ROWS = 12
_STEPS_S = (60, 120, 300, 600, 1_800, 3_600, 14_400)


@dataclass(frozen=True)
class Answers:
    """A panel, its targets with their series, and the time range (Unix time, s)."""

    panel: dict[str, Any]
    found: list[tuple[dict[str, Any], list[Series]]]
    start: float
    end: float

    @property
    def unit(self) -> str:
        """Grafana's name of the unit of the panel."""
        unit: str = self.panel["fieldConfig"]["defaults"]["unit"]
        return unit

    def named(self) -> Iterator[tuple[str, Series]]:
        """Yield every series with its legend."""
        for target, series in self.found:
            for one in series:
                labels = one.labels
                legend = re.sub(
                    r"\{\{(\w+)\}\}",
                    lambda match, labels=labels: labels.get(match[1], ""),  # type: ignore[misc]
                    target.get("legendFormat", ""),
                )
                yield legend.strip(), one

    def mapped(self, value: float) -> tuple[str, str] | None:
        """Return the text and color that are mapped to a value, or None."""
        for mapping in self.panel["fieldConfig"]["defaults"].get("mappings", ()):
            if found := mapping["options"].get(f"{value:g}"):
                return found["text"], NAMED[found["color"]]
        return None


def color_at(steps: list[dict[str, Any]], value: float) -> str:
    """Return the color of the highest threshold that a value reaches."""
    reached = [step for step in steps if step["value"] is None or value >= step["value"]]
    return NAMED[reached[-1]["color"]]


def number(axes: Axes, answers: Answers) -> None:
    """Draw one number on its background color."""
    axes.set_xticks([])
    axes.set_yticks([])
    series = [one for _, one in answers.named()]
    if not series:
        axes.text(0.5, 0.5, "no data", ha="center", va="center", color=FAINT)
        return
    value = series[0].points[-1][1]
    steps = answers.panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    text, color = answers.mapped(value) or (write(value, answers.unit), color_at(steps, value))
    axes.set_facecolor(color)
    axes.text(0.5, 0.5, text, ha="center", va="center", size=17, weight="bold", color="white")


def lines(axes: Axes, answers: Answers) -> None:
    """Draw lines over time, with the thresholds if the panel shows them."""
    _time(axes, answers)
    custom = answers.panel["fieldConfig"]["defaults"].get("custom", {})
    bounded = custom.get("thresholdsStyle", {}).get("mode") == "line"
    for index, (legend, series) in enumerate(answers.named()):
        times = [time for time, _ in series.points]
        values = [value for _, value in series.points]
        color = CYCLE[index % len(CYCLE)]
        axes.plot(times, values, lw=1, color=color, label=legend)
        if not bounded:
            axes.fill_between(times, values, alpha=0.06, color=color)
    if bounded:
        for step in answers.panel["fieldConfig"]["defaults"]["thresholds"]["steps"][1:]:
            axes.axhline(step["value"], lw=0.8, ls="--", color=NAMED[step["color"]])
    elif any(value > 0 for _, series in answers.named() for _, value in series.points):
        axes.set_ylim(bottom=0)
    else:
        axes.set_ylim(0, 1)
    axes.grid(color="#2c3038", lw=0.5)
    axes.yaxis.set_major_formatter(lambda value, _: write(value, answers.unit))
    axes.yaxis.set_major_locator(mpl.ticker.MaxNLocator(5))
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(-0.02, -0.1),
        ncols=8,
        fontsize=6.5,
        frameon=False,
        labelcolor=TEXT,
        handlelength=1,
        columnspacing=1,
    )


def states(axes: Axes, answers: Answers) -> None:
    """Draw a row of colored bars for each series."""
    _time(axes, answers)
    named = list(answers.named())[::-1]
    for row, (_, series) in enumerate(named):
        step = series.points[1][0] - series.points[0][0] if len(series.points) > 1 else 1
        for time, value in series.points:
            found = answers.mapped(value)
            if found is not None:
                axes.barh(row, step * 1.02, left=time, height=0.8, color=found[1], lw=0)
    axes.set_yticks(range(len(named)), [legend for legend, _ in named])


def table(axes: Axes, answers: Answers) -> None:
    """Draw the rows, sorted by the first column in ascending order."""
    axes.set_axis_off()
    columns, rows = _columns(answers)
    cells = axes.table(
        [[text for text, _ in row] for row in rows],
        cellColours=[[color for _, color in row] for row in rows],
        colLabels=columns,
        colColours=["#22252b"] * len(columns),
        bbox=(0, max(0, 1 - (len(rows) + 1) / (_MOST_ROWS - 2)), 1, min(1, (len(rows) + 1) / 10)),
        cellLoc="left",
    )
    cells.auto_set_font_size(value=False)
    for cell in cells.get_celld().values():
        cell.set(edgecolor="#2c3038", linewidth=0.5)
        cell.get_text().set(color=TEXT, size=8)


def _columns(answers: Answers) -> tuple[list[str], list[list[tuple[str, str]]]]:
    names = answers.panel["transformations"][1]["options"]["renameByName"]
    overrides = {
        one["matcher"]["options"]: {each["id"]: each["value"] for each in one["properties"]}
        for one in answers.panel["fieldConfig"]["overrides"]
    }
    heads = [names[f"Value #{target['refId']}"] for target, _ in answers.found]
    values: dict[str, dict[str, float]] = {}
    for head, (_, series) in zip(heads, answers.found, strict=True):
        for one in series:
            values.setdefault(one.labels["symbol"], {})[head] = one.points[-1][1]
    rows = []
    for symbol, row in sorted(values.items(), key=lambda item: item[1].get(heads[0], math.inf)):
        cells = [(symbol, CARD)]
        for head in heads:
            own, value = overrides.get(head, {}), row.get(head, math.nan)
            color = color_at(own["thresholds"]["steps"], value) if "thresholds" in own else CARD
            cells.append((write(value, own.get("unit", answers.unit)), color))
        rows.append(cells)
    return ["Symbol", *heads], rows[:_MOST_ROWS]


def heatmap(axes: Axes, answers: Answers) -> None:
    """Draw the buckets of a histogram over time."""
    _time(axes, answers)
    buckets = sorted(
        (float(one.labels["le"]), dict(one.points)) for _, one in answers.named() if one.points
    )
    times = sorted({time for _, points in buckets for time in points})
    if not times:
        return
    filled = np.array([[points.get(time, 0.0) for time in times] for _, points in buckets])
    counts = np.diff(filled, axis=0, prepend=0).clip(min=0)
    counts[counts <= 0] = np.nan
    axes.imshow(
        counts,
        aspect="auto",
        origin="lower",
        cmap="inferno",
        interpolation="nearest",
        extent=(times[0], times[-1], -0.5, len(buckets) - 0.5),
    )
    axes.set_yticks(range(0, len(buckets), 2), [_bound(le) for le, _ in buckets[::2]])


def _bound(le: float) -> str:
    return "more" if math.isinf(le) else write(le, "s")


def _time(axes: Axes, answers: Answers) -> None:
    axes.set_xlim(answers.start, answers.end)
    span = answers.end - answers.start
    step = next((one for one in _STEPS_S if span / one <= 8), _STEPS_S[-1])  # noqa: PLR2004
    axes.xaxis.set_major_locator(mpl.ticker.MultipleLocator(step))
    axes.xaxis.set_major_formatter(lambda time, _: f"{datetime.fromtimestamp(time, UTC):%H:%M}")
