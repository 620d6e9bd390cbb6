"""Describe the rate limits in words."""

from blofin_agent.domain.rate_limit import limits_at


def limit_fraction_text(share: float) -> str:
    """Say why the limits in force are less than usual."""
    return (
        "another program seems to use this address, or BloFin allows less than it says: it "
        "answered 429 although the agent was within the limits. The agent now takes at most "
        f"{limits_text(share)}, and a little more each quarter of an hour without a 429"
    )


def limits_text(share: float) -> str:
    """Return `475 requests in 60 s and 1425 in 300 s` for the whole of the limits."""
    first, *others = limits_at(share)
    more = (f"{one.requests} in {one.seconds} s" for one in others)
    return " and ".join((f"{first.requests} requests in {first.seconds} s", *more))
