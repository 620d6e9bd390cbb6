"""Promql: the selectors and rates that all our queries are made of."""

_AGENT = 'job=~"$job",instance=~"$instance"'
_SHOWN = "$__range:$__interval"


def agent(name: str, *matchers: str) -> str:
    """Return a selector of a metric, by its name without the prefix, of the chosen agents."""
    return named(f"blofin_{name}", *matchers)


def symbols(name: str, *matchers: str) -> str:
    """Return the same for the chosen symbols."""
    return agent(name, 'symbol=~"$symbol"', *matchers)


def named(name: str, *matchers: str) -> str:
    """Return a selector of a metric, by its full name, of the chosen agents."""
    return f"{name}{{{','.join([_AGENT, *matchers])}}}"


def of_agents(expr: str, seen: str = "") -> str:
    """Return an expression for running agents only, where other jobs have such a metric, too.

    Only a running agent has a writer's queue: a node_exporter that tells of one-shot runs does not.
    `seen`: so long ago (1d, say) suffices, for what is to be known of an agent that is gone.
    """
    queue = agent("writer_queue_capacity")
    known = f"last_over_time({queue}[{seen}])" if seen else queue
    return f"({expr} and on (job, instance) {known})"


def highest(expr: str) -> str:
    """Return the 20 series, by symbol, that rose highest within the time shown, as whole lines.

    topk alone chooses anew at each point: of 500 symbols all would be drawn, in pieces.
    """
    return f"({expr}) and on (symbol) topk(20, max_over_time(({expr})[{_SHOWN}] @ end()))"


def lowest(expr: str) -> str:
    """Return the 20 that sank lowest."""
    return f"({expr}) and on (symbol) bottomk(20, min_over_time(({expr})[{_SHOWN}] @ end()))"


def how_many(expr: str, condition: str) -> str:
    """Return how many series meet a condition: 0 where none does, nothing where there are none.

    A plain vector(0) would tell of an agent that is gone that all is well.
    """
    return f"count({expr} {condition}) or 0 * count({expr})"


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
