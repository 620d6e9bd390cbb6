"""Skew: how far the machine's clock is ahead of BloFin's, as live candles tell."""

from collections import deque
from statistics import median

SAMPLE_CANDLES = 61
"""From so many candles the middle is taken: a few that are late or absurd change nothing."""


class ClockOffset:
    """What the newest live candles tell: each comes just after it closed by BloFin's clock."""

    def __init__(self) -> None:
        self._seen: deque[int] = deque(maxlen=SAMPLE_CANDLES)

    def note(self, close_ms: int, now_ms: int) -> float:
        """Enter a candle that closed then, when it came; return the skew in seconds.

        Positive when the machine's clock is ahead; a second or so is the way here.
        """
        self._seen.append(now_ms - close_ms)
        return median(self._seen) / 1000
