"""Backoff: how long to wait before trying again: doubling, capped, jittered."""

import random


class Backoff:
    """Delays in seconds: about 1, 2, 4 and so on up to `longest_s`, each shortened by chance.

    The chance, up to a quarter, keeps many clients from coming back at the same moment.
    """

    def __init__(self, first_s: float = 1.0, longest_s: float = 60.0) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._next_s = first_s

    def next(self) -> float:
        """Return the next delay."""
        delay = self._next_s
        self._next_s = min(self._longest_s, delay * 2)
        return delay * random.uniform(0.75, 1.0)  # noqa: S311 - no secret depends on it

    def reset(self) -> None:
        """Begin again with the first delay: it worked."""
        self._next_s = self._first_s
