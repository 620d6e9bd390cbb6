"""Build the PromQL selectors and rates that all dashboard queries use."""

_AGENT = 'job=~"$job",instance=~"$instance"'
_SHOWN = "$__range:$__interval"


def agent(name: str, *matchers: str) -> str:
    """Return a selector of a metric of the selected agents. `name` has no prefix."""
    return named(f"blofin_{name}", *matchers)


def symbols(name: str, *matchers: str) -> str:
    """Return a selector of a metric of the selected agents and symbols."""
    return agent(name, 'symbol=~"$symbol"', *matchers)


def named(name: str, *matchers: str) -> str:
    """Return a selector of a metric of the selected agents. `name` is the full name."""
    return f"{name}{{{','.join([_AGENT, *matchers])}}}"


def of_agents(expr: str, seen: str = "") -> str:
    """Restrict an expression to running agents, for metrics that other jobs have, too.

    Only a running agent has a write queue. A node_exporter that exports one-shot runs has none.
    `seen` (for example 1d) also includes agents that ran within that time.
    """
    queue = agent("writer_queue_capacity")
    known = f"last_over_time({queue}[{seen}])" if seen else queue
    return f"({expr} and on (job, instance) {known})"


def highest(expr: str) -> str:
    """Return the 20 symbols with the highest maximum in the time shown, as complete lines.

    topk alone selects again at each point: with 500 symbols, it would draw pieces of all lines.
    """
    return f"({expr}) and on (symbol) topk(20, max_over_time(({expr})[{_SHOWN}] @ end()))"


def lowest(expr: str) -> str:
    """Return the 20 symbols with the lowest minimum in the time shown, as complete lines."""
    return f"({expr}) and on (symbol) bottomk(20, min_over_time(({expr})[{_SHOWN}] @ end()))"


def how_many(expr: str, condition: str) -> str:
    """Count the series that meet a condition. Return 0 if none does, no data without series.

    A plain vector(0) would show 0 (all good) for an agent that is gone.
    """
    return f"count({expr} {condition}) or 0 * count({expr})"


def rate(selector: str) -> str:
    """Return the increase of a counter per second."""
    return f"rate({selector}[$__rate_interval])"


def increase(selector: str) -> str:
    """Return the increase of a counter from point to point."""
    return f"increase({selector}[$__rate_interval])"


def quantile(share: float, histogram: str, by: str = "") -> str:
    """Return a quantile of one of the agent's histograms."""
    labels = f"le, {by}" if by else "le"
    buckets = rate(agent(f"{histogram}_bucket"))
    return f"histogram_quantile({share}, sum by ({labels}) ({buckets}))"
