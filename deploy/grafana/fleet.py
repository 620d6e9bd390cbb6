"""Build the row of the fleet: agents on PostgreSQL that share the symbols.

Other agents have no fleet metrics.
"""

from deploy.grafana.panels import Color, Panel, lines, number
from deploy.grafana.promql import agent

NO_FLEET = "no fleet"

_LOAD: tuple[Color, ...] = ((None, "green"), (0.8, "orange"), (1, "red"))
_AGENTS = f"min({agent('fleet_agents')} > 0)"
_ORPHANED = f"max({agent('fleet_symbols_orphaned')})"
# Other agents own the symbols of a disconnected agent by now.
_OWNED = f"{agent('fleet_symbols_owned')} and on (job, instance) {agent('store_up')} == 1"
_NEEDED = agent("fleet_budget_load_ratio")


def fleet() -> list[Panel]:
    """Return the panels of the row."""
    panels: list[Panel] = [
        number(
            "Agents that share the symbols",
            "Running agents on one database, as reported by the agent that sees the fewest. An "
            "agent on SQLite has no fleet: it does not share its symbols.",
            "short",
            _AGENTS,
        ).span(8),
        number(
            "Unassigned symbols",
            "Configured symbols that no running agent records. This is normal for some seconds "
            "after an agent stopped. If it lasts, run: blofin-agent fleet.",
            "short",
            _ORPHANED,
            ((None, "green"), (1, "red")),
        ).span(8),
        number(
            "Budget needed",
            "One page per symbol in each periodic pass, divided by the requests that BloFin's "
            "limits allow. The IP address with the highest value is shown. Above 100 %, gaps are "
            "filled late after a feed outage: add an agent on another IP address.",
            "percentunit",
            f"max({_NEEDED})",
            _LOAD,
        ).span(8),
        lines(
            "Symbols by agent",
            "Number of symbols that each agent owns. A line ends when its agent stops or cannot "
            "use the database. The other agents take over its symbols within a minute.",
            "short",
            (f"max by (instance) ({_OWNED})", "{{instance}}"),
            span=8,
        ),
        lines(
            "Agents and unassigned symbols",
            "The second line should be zero, except for some seconds after an agent stopped.",
            "short",
            (_AGENTS, "agents"),
            (_ORPHANED, "unassigned symbols"),
            span=8,
        ),
        lines(
            "Budget needed, by agent",
            "Agents on one IP address have about the same value, because they share its limits. "
            "The value doubles while the agent uses half of the limits after a 429.",
            "percentunit",
            (f"max by (instance) ({_NEEDED})", "{{instance}}"),
            span=8,
            colors=_LOAD,
        ),
    ]
    return [panel.no_value(NO_FLEET) for panel in panels]
