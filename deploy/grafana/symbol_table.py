"""Build the table of symbols, worst first: one row per symbol, one query per column."""

from collections.abc import Iterable

from grafana_foundation_sdk.builders import common as cb
from grafana_foundation_sdk.builders import table
from grafana_foundation_sdk.models import common as cm
from grafana_foundation_sdk.models import dashboard as dm

from deploy.grafana.panels import COVERAGE, SOURCE, Color, instant
from deploy.grafana.promql import symbols

_COVERAGE = "Coverage"
_COLUMNS = (
    (_COVERAGE, symbols("coverage_ratio"), "percentunit"),
    ("Missing", symbols("candles_missing"), "short"),
    ("Unavailable", symbols("candles_unavailable"), "short"),
    ("Newest candle", f"time() - ({symbols('last_candle_timestamp_seconds')} > 0)", "s"),
    ("Last push", f"time() - ({symbols('feed_last_push_timestamp_seconds')} > 0)", "s"),
    ("Subscribed", symbols("feed_subscribed"), "bool_yes_no"),
    ("Pages in last pass", symbols("backfill_last_pass_requests"), "short"),
    ("429s in last pass", symbols("backfill_last_pass_rate_limited"), "short"),
)

_COLORS: dict[str, tuple[Color, ...]] = {
    _COVERAGE: COVERAGE,
    "Subscribed": ((None, "red"), (1, "green")),
    "429s in last pass": ((None, "green"), (1, "orange")),
}


def symbol_table() -> table.Panel:
    """Return the table panel."""
    panel = (
        table.Panel()
        .title("Symbols, worst first")
        .description(
            "Click a symbol to open its feed and its requests. Newest candle and last push are "
            "ages. If agents share the symbols, each symbol has one row, with the agent that owns "
            "it. To filter a column, use its header."
        )
        .datasource(SOURCE)
        .height(10)
        .span(24)
        .unit("short")
        .no_value("-")
        .filterable(True)  # noqa: FBT003 - the library's signature
        .sort_by([cb.TableSortByFieldState().display_name(_COVERAGE).desc(False)])  # noqa: FBT003
        .with_transformation(dm.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(
            dm.DataTransformerConfig(
                id_val="organize",
                options={
                    "excludeByName": {"Time": True, "job": True},
                    "indexByName": {"symbol": 0, "instance": 1},
                    "renameByName": {
                        "symbol": "Symbol",
                        "instance": "Instance",
                        **{f"Value #{chr(65 + i)}": one[0] for i, one in enumerate(_COLUMNS)},
                    },
                },
            )
        )
        .override_by_name("Symbol", [dm.DynamicConfigValue(id_val="links", value=[_link()])])
    )
    for position, (name, expr, unit) in enumerate(_COLUMNS):
        panel = panel.with_target(instant(position, _of_those_who_keep_it(expr)))
        values = [dm.DynamicConfigValue(id_val="unit", value=unit)]
        if name == _COVERAGE:
            values.append(dm.DynamicConfigValue(id_val="decimals", value=2))
        if colors := _COLORS.get(name):
            values += _colored(colors)
        panel = panel.override_by_name(name, values)
    return panel


def _of_those_who_keep_it(expr: str) -> str:
    """Return the column without outdated values of symbols that other agents took over."""
    by = "(job, instance, symbol)"
    return f"max by {by} ({expr}) and on {by} {symbols('coverage_ratio')}"


def _colored(colors: Iterable[Color]) -> list[dm.DynamicConfigValue]:
    steps = [{"value": value, "color": color} for value, color in colors]
    background = {"type": cm.TableCellDisplayMode.COLOR_BACKGROUND.value, "mode": "basic"}
    return [
        dm.DynamicConfigValue(id_val="custom.cellOptions", value=background),
        dm.DynamicConfigValue(id_val="thresholds", value={"mode": "absolute", "steps": steps}),
    ]


def _link() -> dict[str, object]:
    chosen = "${datasource:queryparam}&${job:queryparam}"
    where = "var-instance=${__data.fields.Instance}&var-symbol=${__data.fields.Symbol}"
    return {
        "title": "Feed and requests of this symbol",
        "url": f"/d/blofin-feed-api?{chosen}&{where}&${{__url_time_range}}",
    }
