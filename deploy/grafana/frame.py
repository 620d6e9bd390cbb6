"""Build what all dashboards have in common: variables, annotations, links and rows."""

from collections.abc import Sequence

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as dm

from deploy.grafana.panels import SOURCE, Panel

RUNBOOK = "http://127.0.0.1:8780/runbook"
TAG = "blofin"


def _variable(name: str, label: str, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(query)
        .multi(True)  # noqa: FBT003 - the library's signature
        .include_all(True)  # noqa: FBT003 - the library's signature
        .all_value(".+")
        .current(dm.VariableOption(selected=True, text=["All"], value=["$__all"]))
        .refresh(dm.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dm.VariableSort.ALPHABETICAL_ASC)
    )


def assemble(
    uid: str, title: str, description: str, rows: Sequence[tuple[str, Sequence[Panel]]]
) -> dashboard.Dashboard:
    """Return a dashboard with its variables, annotations, links and rows of panels."""
    chosen = 'job=~"$job",instance=~"$instance"'
    # Alerts about a fleet have no instance. Most alerts have no symbol.
    or_none = 'job=~"$job",instance=~"$instance|",symbol=~"$symbol|"'
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
            .enable(True)  # noqa: FBT003 - the library's signature
            .icon_color("red")
            .expr(f'ALERTS{{alertname=~"Blofin.+",alertstate="firing",{or_none}}}')
            .title_format("{{alertname}}")
            .text_format("{{symbol}} {{severity}} {{instance}}")
            .tag_keys("severity,symbol")
        )
        .link(
            dashboard.DashboardLink("BloFin")
            .type(dm.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(True)  # noqa: FBT003 - the library's signature
            .keep_time(True)  # noqa: FBT003 - the library's signature
            .include_vars(True)  # noqa: FBT003 - the library's signature
        )
        .link(
            dashboard.DashboardLink("Runbook")
            .type(dm.DashboardLinkType.LINK)
            .url(RUNBOOK)
            .target_blank(True)  # noqa: FBT003 - the library's signature
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
