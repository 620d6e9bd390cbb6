"""RateBudget: sliding windows and suspensions; says when the next request may go."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

SECOND = 1_000


class Limit(NamedTuple):
    """At most `requests` in any `seconds`; past it BloFin suspends the address."""

    label: str
    requests: int
    seconds: int
    suspension: int
    """How long (s) BloFin suspends the address that passes it."""


RESERVE = 0.05
"""The share of each limit that is left for a trading bot behind the same address."""


def _limit(requests: int, seconds: int, suspension: int) -> Limit:
    return Limit(f"{seconds}s", int(requests * (1 - RESERVE)), seconds, suspension)


LIMITS = (_limit(500, 60, 300), _limit(1_500, 300, 3_600))
"""BloFin's limits per address, less the reserve. Source: its API documentation, "Rate Limits"."""

SLACK = SECOND
"""Added (ms) to each window: a request reaches BloFin a little after it is entered here."""

HORIZON = max(limit.seconds for limit in LIMITS) * SECOND + SLACK
"""How far back (ms) requests matter."""

BAN = 300
"""Seconds of a firewall ban. Source: BloFin's API documentation; repeated ones last longer."""

LONGEST = 24 * 3_600
"""No suspension is believed to be longer (s), whatever an answer says."""

PROBE_PATIENCE = 60 * SECOND
"""After a suspension one request goes alone; when nothing is heard of it for this long (ms, the
process that sent it may be dead), another may."""


@dataclass(frozen=True, slots=True)
class Suspension:
    """What the exchange's last 429 or 403 means. Times in ms since the epoch."""

    until: int = 0
    """No request before then."""
    strikes: int = 0
    """Suspensions in a row without an answered request between them."""
    probe: int = 0
    """When the one careful request after it was let go; 0 when none was."""
    banned: bool = False
    """Whether it is the firewall's ban (403), which holds for the websocket too."""
    reason: str = ""

    def next_at(self, now_ms: int) -> int:
        """Return when a request may go: `now_ms` or later."""
        if not self.strikes:
            return now_ms
        if now_ms < self.until:
            return self.until
        return max(now_ms, self.probe + PROBE_PATIENCE) if self.probe else now_ms

    def let_go(self, now_ms: int) -> "Suspension":
        """Return the state once a request was let go."""
        return replace(self, probe=now_ms) if self.strikes else self

    def answered(self, sent_ms: int) -> "Suspension":
        """Return the state once a request sent at `sent_ms` was answered without 429 or 403."""
        return Suspension() if self.strikes and sent_ms >= self.until else self


def suspend(
    state: Suspension,
    starts: Sequence[int],
    *,
    sent_ms: int,
    now_ms: int,
    reason: str,
    banned: bool,
    retry_after: float | None,
) -> Suspension:
    """Return the suspension after an answer of 429, or 403 when `banned`.

    `starts`: when recent requests were let go (ms). `retry_after`: seconds, believed when given.
    Otherwise a 429 lasts as long as the limit that we are nearest to says, and a ban 5 minutes.
    The further ones in a row last longer: the next 429 an hour, each ban twice the last. Answers
    to requests that were already under way when the suspension began do not count again.
    """
    strikes = state.strikes if state.strikes and sent_ms < state.until else state.strikes + 1
    if banned:
        seconds: float = BAN * 2 ** (strikes - 1)
    else:
        long_one = strikes > 1 or _used(starts, LIMITS[1], now_ms) >= LIMITS[1].requests
        seconds = LIMITS[int(long_one)].suspension
    if retry_after is not None:
        # An answer that says "at once" again and again is not believed for ever; NaN never.
        seconds = max(2 ** (strikes - 1), retry_after)
    until = now_ms + int(min(seconds, LONGEST) * SECOND)
    return Suspension(max(until, state.until), strikes, 0, banned, reason)


def next_at(starts: Sequence[int], now_ms: int, spacing_ms: int) -> int:
    """Return when (ms) the next request may go by the limits and the spacing: now or later.

    `starts`: when recent requests of every process were let go, oldest first.
    """
    at = max(now_ms, starts[-1] + spacing_ms) if starts else now_ms
    for limit in LIMITS:
        if len(starts) >= limit.requests:
            at = max(at, starts[-limit.requests] + limit.seconds * SECOND + SLACK)
    return at


def used(starts: Sequence[int], now_ms: int) -> dict[str, int]:
    """Return how many requests count in each window now, by the limit's label."""
    return {limit.label: _used(starts, limit, now_ms) for limit in LIMITS}


def least_seconds(requests: int, starts: Sequence[int], now_ms: int, spacing_ms: int) -> float:
    """Return the least time in seconds in which so many further requests can be let go."""
    times = list(starts)
    at = now_ms
    for _ in range(requests):
        at = next_at(times, at, spacing_ms)
        times.append(at)
    return (at - now_ms) / SECOND


def _used(starts: Sequence[int], limit: Limit, now_ms: int) -> int:
    since = now_ms - limit.seconds * SECOND - SLACK
    return sum(1 for start in starts if start > since)
