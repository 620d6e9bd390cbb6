"""The one place where the wall clock enters."""

import time


def wall_ms() -> int:
    """Return the time in ms since the epoch."""
    return time.time_ns() // 1_000_000
