"""Parts: what both dashboards are made of, so that every panel is of one kind and one look."""

from collections.abc import Iterable, Sequence

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

from blofin_agent.core.history import GOOD_COVERAGE, WARN_COVERAGE

Panel = stat.Panel | timeseries.Panel | table.Panel | statetimeline.Panel | heatmap.Panel
Color = tuple[float | None, str]
"""From this value on (None: from the least) this colour."""

SOURCE = cm.DataSourceRef(type_val="prometheus", uid="${datasource}")
RUNBOOK = "http://127.0.0.1:8780/runbook"
TAG = "blofin"

COVERAGE: tuple[Color, ...] = (
    (None, "red"),
    (WARN_COVERAGE, "orange"),
    (GOOD_COVERAGE, "green"),
)
ZERO_IS_GOOD: tuple[Color, ...] = ((None, "green"), (1e-9, "orange"))
PLAIN: tuple[Color, ...] = ((None, "blue"),)

_AGENT = 'job=~"$job",instance=~"$instance"'


def agent(name: str, *matchers: str) -> str:
    """Return a selector of a metric, by its name without the prefix, of the chosen agents."""
    return named(f"blofin_{name}", *matchers)


def symbols(name: str, *matchers: str) -> str:
    """Return the same for the chosen symbols."""
    return agent(name, 'symbol=~"$symbol"', *matchers)


def named(name: str, *matchers: str) -> str:
    """Return a selector of a metric, by its full name, of the chosen agents."""
    return f"{name}{{{','.join([_AGENT, *matchers])}}}"


def rate(selector: str) -> str:
    """Return how much a counter grows a second."""
    return f"rate({selector}[$__rate_interval])"


def increase(selector: str) -> str:
    """Return how much a counter grew from point to point."""
    return f"increase({selector}[$__rate_interval])"


def quantile(share: float, histogram: str, by: str = "") -> str:
    """Return a quantile of a histogram of ours."""
    labels = f"le, {by}" if by else "le"
    buckets = rate(agent(f"{histogram}_bucket"))
    return f"histogram_quantile({share}, sum by ({labels}) ({buckets}))"


def number(
    title: str,
    description: str,
    unit: str,
    expr: str,
    colors: Iterable[Color] = PLAIN,
    names: dict[str, tuple[str, str]] | None = None,
) -> stat.Panel:
    """Return one figure. `names`: what stands for a value, and its colour."""
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
        .text_mode(cm.BigValueTextMode.VALUE)
        .no_value("no data")
        .reduce_options(cb.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(_query(0, expr, title))
    )
    return panel.mappings([_mapping(names)]) if names else panel


def lines(
    title: str,
    description: str,
    unit: str,
    *targets: tuple[str, str],
    span: int = 12,
    colors: Iterable[Color] = (),
) -> timeseries.Panel:
    """Return series over time. `targets`: expressions with their legends."""
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
        .legend(
            cb.VizLegendOptions()
            .show_legend(True)  # noqa: FBT003 - as the library has it
            .display_mode(cm.LegendDisplayMode.LIST)
            .placement(cm.LegendPlacement.BOTTOM)
        )
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
    """Return rows of states over time, twenty to a page."""
    panel = (
        statetimeline.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .height(height)
        .span(span)
        .unit("short")
        .merge_values(True)  # noqa: FBT003 - as the library has it
        .show_value(cm.VisibilityMode.NEVER)
        .per_page(20)
        .row_height(0.8)
        .no_value("no data")
        .legend(
            cb.VizLegendOptions()
            .show_legend(True)  # noqa: FBT003 - as the library has it
            .display_mode(cm.LegendDisplayMode.LIST)
            .placement(cm.LegendPlacement.BOTTOM)
        )
        .thresholds(_thresholds(PLAIN))
        .mappings([_mapping(names)])
    )
    for position, (expr, legend) in enumerate(targets):
        panel = panel.with_target(_query(position, expr, legend).range())
    return panel


def spread(title: str, description: str, histogram: str) -> heatmap.Panel:
    """Return how a histogram of ours, in seconds, is spread over time."""
    expr = f"sum by (le) ({increase(agent(f'{histogram}_bucket'))})"
    return (
        heatmap.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .height(8)
        .span(12)
        .unit("short")
        .calculate(False)  # noqa: FBT003 - as the library has it
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
    """Return a query for a table's column."""
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


def _variable(name: str, label: str, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(query)
        .multi(True)  # noqa: FBT003 - as the library has it
        .include_all(True)  # noqa: FBT003 - as the library has it
        .all_value(".+")
        .current(dm.VariableOption(selected=True, text=["All"], value=["$__all"]))
        .refresh(dm.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dm.VariableSort.ALPHABETICAL_ASC)
    )


def assemble(
    uid: str, title: str, description: str, rows: Sequence[tuple[str, Sequence[Panel]]]
) -> dashboard.Dashboard:
    """Return a dashboard: variables, annotations and links, then rows of panels."""
    chosen = 'job=~"$job",instance=~"$instance"'
    made = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .readonly()
        .tooltip(dm.DashboardCursorSync.CROSSHAIR)
        .timezone("utc")
        .refresh("1m")
        .time("now-24h", "now")
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
        )
        .with_variable(_variable("job", "Job", "label_values(blofin_build_info, job)"))
        .with_variable(
            _variable(
                "instance", "Instance", 'label_values(blofin_build_info{job=~"$job"}, instance)'
            )
        )
        .with_variable(
            _variable(
                "symbol", "Symbol", f"label_values(blofin_coverage_ratio{{{chosen}}}, symbol)"
            )
        )
        .annotation(
            dashboard.AnnotationQuery()
            .name("Alerts firing")
            .datasource(SOURCE)
            .enable(True)  # noqa: FBT003 - as the library has it
            .icon_color("red")
            .expr(f'ALERTS{{alertname=~"Blofin.+",alertstate="firing",{chosen}}}')
            .title_format("{{alertname}}")
            .text_format("{{symbol}} {{severity}} {{instance}}")
            .tag_keys("severity,symbol")
        )
        .link(
            dashboard.DashboardLink("BloFin")
            .type(dm.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(True)  # noqa: FBT003 - as the library has it
            .keep_time(True)  # noqa: FBT003 - as the library has it
            .include_vars(True)  # noqa: FBT003 - as the library has it
        )
        .link(
            dashboard.DashboardLink("Runbook")
            .type(dm.DashboardLinkType.LINK)
            .url(RUNBOOK)
            .target_blank(True)  # noqa: FBT003 - as the library has it
        )
    )
    identifier = 0
    for heading, panels in rows:
        identifier += 1
        made = made.with_row(dashboard.Row(heading).id(identifier))
        for panel in panels:
            identifier += 1
            made = made.with_panel(panel.id(identifier))
    return made
