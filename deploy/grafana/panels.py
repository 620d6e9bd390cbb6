"""Build panels. Each kind has one function, so that all panels look alike."""

from collections.abc import Iterable

from grafana_foundation_sdk.builders import common as cb
from grafana_foundation_sdk.builders import (
    dashboard,
    heatmap,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models import common as cm
from grafana_foundation_sdk.models import dashboard as dm
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from blofin_agent.domain.symbol_coverage import GOOD_COVERAGE, WARN_COVERAGE
from deploy.grafana.promql import agent, increase

Panel = stat.Panel | timeseries.Panel | table.Panel | statetimeline.Panel | heatmap.Panel
Color = tuple[float | None, str]
"""A threshold and the color from there on. None: from the lowest value."""

FIGURE_POINTS = 1_440
"""Points of a stat panel that looks back: one a minute for a day. It sets $__interval."""

SOURCE = cm.DataSourceRef(type_val="prometheus", uid="${datasource}")

COVERAGE: tuple[Color, ...] = (
    (None, "red"),
    (WARN_COVERAGE, "orange"),
    (GOOD_COVERAGE, "green"),
)
ZERO_IS_GOOD: tuple[Color, ...] = ((None, "green"), (1e-9, "orange"))
PLAIN: tuple[Color, ...] = ((None, "blue"),)


LEFT = f"clamp_min({agent('api_suspended_until_timestamp_seconds')} - time(), 0)"
"""Remaining time of a suspension, in seconds."""


def number(
    title: str,
    description: str,
    unit: str,
    expr: str,
    colors: Iterable[Color] = PLAIN,
    names: dict[str, tuple[str, str]] | None = None,
    legend: str = "",
) -> stat.Panel:
    """Return a stat panel.

    `names`: text and color for a value. `legend`: name that the panel shows beside the value.
    """
    text = cm.BigValueTextMode.VALUE_AND_NAME if legend else cm.BigValueTextMode.VALUE
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .height(4)
        .span(4)
        .unit(unit)
        .thresholds(_thresholds(colors))
        .color_mode(cm.BigValueColorMode.BACKGROUND)
        .graph_mode(cm.BigValueGraphMode.NONE)
        .text_mode(text)
        .no_value("no data")
        .max_data_points(FIGURE_POINTS)
        .reduce_options(cb.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(_query(0, expr, legend or title).instant())
    )
    if unit == "percentunit":
        panel = panel.decimals(2)  # a value just below a threshold must not be rounded up to it
    return panel.mappings([_mapping(names)]) if names else panel


def suspended() -> stat.Panel:
    """Return the panel of the remaining suspension. Both dashboards use it."""
    return number(
        "Remaining suspension",
        "Remaining time of BloFin's suspension of the IP address. The agent waits automatically. "
        "Do not send requests by hand meanwhile.",
        "s",
        f"max({LEFT})",
        ZERO_IS_GOOD,
    )


def lines(
    title: str,
    description: str,
    unit: str,
    *targets: tuple[str, str],
    span: int = 12,
    colors: Iterable[Color] = (),
) -> timeseries.Panel:
    """Return a panel of lines over time. `targets`: expressions with their legends."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .height(8)
        .span(span)
        .unit(unit)
        .line_width(1)
        .fill_opacity(8)
        .show_points(cm.VisibilityMode.NEVER)
        .no_value("no data")
        .legend(_legend())
        .tooltip(
            cb.VizTooltipOptions().mode(cm.TooltipDisplayMode.MULTI).sort(cm.SortOrder.ASCENDING)
        )
    )
    if colors := tuple(colors):
        panel = panel.thresholds(_thresholds(colors)).thresholds_style(
            cb.GraphThresholdsStyleConfig().mode(cm.GraphThresholdsStyleMode.LINE)
        )
    for position, (expr, legend) in enumerate(targets):
        panel = panel.with_target(_query(position, expr, legend).range())
    return panel


def states(
    title: str,
    description: str,
    names: dict[str, tuple[str, str]],
    *targets: tuple[str, str],
    height: int = 8,
    span: int = 24,
) -> statetimeline.Panel:
    """Return a timeline of states with 20 rows per page."""
    panel = (
        statetimeline.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .height(height)
        .span(span)
        .unit("short")
        .merge_values(True)  # noqa: FBT003 - the library's signature
        .show_value(cm.VisibilityMode.NEVER)
        .per_page(20)
        .row_height(0.8)
        .no_value("no data")
        .legend(_legend())
        .thresholds(_thresholds(PLAIN))
        .mappings([_mapping(names)])
    )
    for position, (expr, legend) in enumerate(targets):
        panel = panel.with_target(_query(position, expr, legend).range())
    return panel


def spread(title: str, description: str, histogram: str) -> heatmap.Panel:
    """Return a heatmap of one of the agent's histograms, in seconds, over time."""
    expr = f"sum by (le) ({increase(agent(f'{histogram}_bucket'))})"
    return (
        heatmap.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .height(8)
        .span(12)
        .unit("short")
        .calculate(False)  # noqa: FBT003 - the library's signature
        .no_value("no data")
        .y_axis(heatmap.YAxisConfig().unit("s"))
        .with_target(_query(0, expr, "{{le}}").range().format(PromQueryFormat.HEATMAP))
    )


def _query(position: int, expr: str, legend: str) -> Dataquery:
    return (
        Dataquery()
        .ref_id(chr(ord("A") + position))
        .datasource(SOURCE)
        .expr(expr)
        .legend_format(legend)
    )


def instant(position: int, expr: str) -> Dataquery:
    """Return a query for a table column."""
    return _query(position, expr, "").instant().format(PromQueryFormat.TABLE)


def _thresholds(colors: Iterable[Color]) -> dashboard.ThresholdsConfig:
    steps = [dm.Threshold(value=value, color=color) for value, color in colors]
    return dashboard.ThresholdsConfig().mode(dm.ThresholdsMode.ABSOLUTE).steps(steps)


def _mapping(names: dict[str, tuple[str, str]]) -> dm.ValueMap:
    return dm.ValueMap(
        options={
            value: dm.ValueMappingResult(text=text, color=color, index=index)
            for index, (value, (text, color)) in enumerate(names.items())
        }
    )


def _legend() -> cb.VizLegendOptions:
    return (
        cb.VizLegendOptions()
        .show_legend(True)  # noqa: FBT003 - the library's signature
        .display_mode(cm.LegendDisplayMode.LIST)
        .placement(cm.LegendPlacement.BOTTOM)
    )
