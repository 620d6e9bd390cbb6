"""Share: how much of BloFin's limits is ours while others use the same address.

Learned as TCP learns what a line carries: halved when there was too much, raised slowly after it.
"""

LEAST = 0.1
"""The share is never lowered below this: about a request in two seconds still goes."""
LOWER = 0.5
STEP = 0.1
STEP_S = 900
"""A tenth of the full limits comes back for each quarter of an hour without a 429. To be wrong
costs a suspension of 5 minutes, or of an hour: so from a half it takes 75 minutes, not five."""


def lowered(share: float) -> float:
    """Return the share once BloFin said that there was too much, although we kept to it."""
    return max(LEAST, share * LOWER)


def regained(share: float, since_ms: int, now_ms: int) -> float:
    """Return the share that `share` has become if there was no 429 since `since_ms`."""
    steps = max(0, now_ms - since_ms) // (STEP_S * 1000)
    return min(1.0, round(share + STEP * steps, 3))
