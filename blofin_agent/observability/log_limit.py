"""Limit how often the same kind of log event is written."""

from collections.abc import Callable


class LogLimiter:
    """Lets one message of a kind pass a minute, so that a flood of faults is no flood of lines."""

    EVERY_MS = 60_000

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._last: dict[str, int] = {}

    def allow(self, kind: str) -> bool:
        """Return whether a message of this kind may be logged now, and take it as logged."""
        now = self._clock()
        if now - self._last.get(kind, -self.EVERY_MS) < self.EVERY_MS:
            return False
        self._last[kind] = now
        return True
