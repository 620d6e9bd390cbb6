"""Promql: the selectors and rates that all our queries are made of."""

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
