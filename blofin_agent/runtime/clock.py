"""The one place where time enters: the wall clock, and the clock that trio sleeps by.

For tests of long stretches both can go faster, in every process alike: see `hasten`.
"""

import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import trio

T = TypeVar("T")

VARIABLE = "BLOFIN_CLOCK"
"""For tests: `RATE@MS` in the environment, see `hasten`."""


@dataclass(frozen=True, slots=True)
class _Pace:
    """How fast time goes, from a moment on that all processes share."""

    rate: float = 1.0
    since_ms: int = 0


_pace = _Pace()


def wall_ms() -> int:
    """Return the time in ms since the epoch."""
    now = time.time_ns() // 1_000_000
    if _pace.rate == 1:
        return now
    return _pace.since_ms + round((now - _pace.since_ms) * _pace.rate)


def run(main: Callable[[], Awaitable[T]]) -> T:
    """Run an async function to its end in trio, by a clock as fast as `wall_ms`."""
    if _pace.rate == 1:
        return trio.run(main)
    from trio.testing import MockClock  # noqa: PLC0415 - for tests only

    return trio.run(main, clock=MockClock(rate=_pace.rate))


def speed_up(text: str | None = None) -> None:
    """Let time go faster in this process, as `RATE@MS` says: so many times, from that moment on.

    The wall clock shows that moment (ms since the epoch) when it really is, and RATE seconds more
    with each second. `text` is what the environment says, as a rule; without any, time is as it
    is. Raises ValueError.
    """
    global _pace  # noqa: PLW0603 - a process has one time
    text = os.environ.get(VARIABLE, "") if text is None else text
    if not text:
        _pace = _Pace()
        return
    rate, _, since = text.partition("@")
    try:
        pace = _Pace(float(rate), int(since))
    except ValueError:
        pace = _Pace(0)
    if not 1 <= pace.rate <= 1_000:  # noqa: PLR2004 - NaN fails, too
        raise ValueError(f"{VARIABLE} is for tests; it looks like 20@1790000000000")
    _pace = pace
