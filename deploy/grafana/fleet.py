"""Fleet: agents on PostgreSQL that share the symbols. Others have no such figures."""

from deploy.grafana.panels import Color, Panel, lines, number
from deploy.grafana.promql import agent

NO_FLEET = "no fleet"

_LOAD: tuple[Color, ...] = ((None, "green"), (0.8, "orange"), (1, "red"))
_AGENTS = f"min({agent('fleet_agents')} > 0)"
_ORPHANED = f"max({agent('fleet_symbols_orphaned')})"
# What one that is cut off kept is others' by now.
_OWNED = f"{agent('fleet_symbols_owned')} and on (job, instance) {agent('store_up')} == 1"
_NEEDED = agent("fleet_budget_load_ratio")


def fleet() -> list[Panel]:
    """Return the row."""
    panels: list[Panel] = [
        number(
            "Agents that share the symbols",
            "Those on one database that live, as the one sees it that sees the fewest. An agent on "
            "SQLite shares with nobody: it has no fleet.",
            "short",
            _AGENTS,
        ).span(8),
        number(
            "Symbols that nobody keeps",
            "An agent is set to watch them, and none that lives records them. For some seconds "
            "after an agent ended that is normal; then see who lives: blofin-agent fleet.",
            "short",
            _ORPHANED,
            ((None, "green"), (1, "red")),
        ).span(8),
        number(
            "Budget needed",
            "A page for each symbol in each periodic pass, over what BloFin's limits allow, of the "
            "address that is worst off. Above 100 % gaps heal late after a loss of the feed: add "
            "an address.",
            "percentunit",
            f"max({_NEEDED})",
            _LOAD,
        ).span(8),
        lines(
            "Symbols by agent",
            "How many each keeps. A line that ends: the agent ended, or is cut off from the "
            "database; within a minute the others have its symbols.",
            "short",
            (f"max by (instance) ({_OWNED})", "{{instance}}"),
            span=8,
        ),
        lines(
            "Agents, and symbols that nobody keeps",
            "The second line should stand at zero, save for some seconds when an agent ends.",
            "short",
            (_AGENTS, "agents"),
            (_ORPHANED, "symbols that nobody keeps"),
            span=8,
        ),
        lines(
            "Budget needed, by agent",
            "Agents behind one address need about the same, as they share its limits. It doubles "
            "while the agent takes half of the limits after a 429.",
            "percentunit",
            (f"max by (instance) ({_NEEDED})", "{{instance}}"),
            span=8,
            colors=_LOAD,
        ),
    ]
    return [panel.no_value(NO_FLEET) for panel in panels]
