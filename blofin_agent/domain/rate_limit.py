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


RESERVED_FRACTION = 0.05
"""The share of each limit that is left for a trading bot behind the same address."""


def _limit(requests: int, seconds: int, suspension: int) -> Limit:
    return Limit(f"{seconds}s", int(requests * (1 - RESERVED_FRACTION)), seconds, suspension)


LIMITS = (_limit(500, 60, 300), _limit(1_500, 300, 3_600))
"""BloFin's limits per address, less the reserve. Source: its API documentation, "Rate Limits"."""


def limits_at(share: float) -> tuple[Limit, ...]:
    """Return the limits in force when only a share of them (0 to 1) is ours."""
    return tuple(limit._replace(requests=max(1, int(limit.requests * share))) for limit in LIMITS)


SLACK_MS = SECOND
"""Added (ms) to each window: a request reaches BloFin a little after it is entered here."""

HORIZON_MS = max(limit.seconds for limit in LIMITS) * SECOND + SLACK_MS
"""How far back (ms) requests matter."""

CARE_MS = SECOND
"""Added (ms) to each suspension: one request before its end is worse than one a second later, and
`Retry-After` is in whole seconds, rounded who knows how."""

BAN_S = 300
"""Seconds of a firewall ban. Source: BloFin's API documentation; repeated ones last longer."""

MAX_SUSPENSION_S = 24 * 3_600
"""No suspension is believed to be longer (s), whatever an answer says."""

TEST_REQUEST_TIMEOUT_MS = 60 * SECOND
"""After a suspension one request goes alone; when nothing is heard of it for this long (ms, the
process that sent it may be dead), another may."""


@dataclass(frozen=True, slots=True)
class Suspension:
    """What the exchange's 429s and 403s mean. Times in ms since the epoch.

    A request is known by the strikes that stood when it was let go, `under`: none is let go
    during a suspension but the one probe after it.
    """

    until: int = 0
    """No request before then."""
    strikes: int = 0
    """Suspensions in a row without an answered request between them."""
    probe: int = 0
    """When the one careful request after it was let go; 0 when none was."""
    banned: bool = False
    """Whether it is the firewall's ban (403), which holds for the websocket too."""
    reason: str = ""
    noted: int = 0
    """When the answer came that it follows from; 0 when that is not known."""
    share: float = 1.0
    """How much of the limits was ours at `share_since`; see `core.share`."""
    share_since: int = 0

    def next_at(self, now_ms: int) -> int:
        """Return when a request may go: `now_ms` or later."""
        if not self.strikes:
            return now_ms
        if now_ms < self.until:
            return self.until
        return max(now_ms, self.probe + TEST_REQUEST_TIMEOUT_MS) if self.probe else now_ms

    def share_at(self, now_ms: int) -> float:
        """Return how much of the limits is ours now: none comes back during a suspension."""
        if self.strikes:
            return self.share
        return recovered_fraction(self.share, self.share_since, now_ms)

    def let_go(self, now_ms: int) -> "Suspension":
        """Return the state once a request was let go."""
        return replace(self, probe=now_ms) if self.strikes else self

    def answered(self, under: int, now_ms: int) -> "Suspension":
        """Return the state once a request was answered without 429 or 403.

        Only that of the probe ends the suspension: another was under way before it.
        """
        if not self.strikes or under != self.strikes:
            return self
        return Suspension(share=self.share, share_since=now_ms if self.share < 1 else 0)


class RateLimitResponse(NamedTuple):
    """A 429, or a 403 when `banned`."""

    under: int
    """The strikes under which its request was let go; see `SuspensionModel`."""
    reason: str
    banned: bool
    retry_after: float | None
    """What the header Retry-After says, in seconds."""


def suspend(
    state: Suspension, starts: Sequence[int], refusal: RateLimitResponse, now_ms: int
) -> Suspension:
    """Return the suspension after a refusal. `starts`: when recent requests were let go (ms).

    `retry_after` is believed when given. Otherwise a 429 lasts as long as the limit that we are
    nearest to says, and a ban 5 minutes. The further ones in a row last longer: the next 429 an
    hour, each ban twice the last. Answers to requests that were already under way when the
    suspension began do not count again.

    The first 429, when we were within the limits: others use the address, or the limits were
    lowered, and our share of them is lowered too.
    """
    under_way = state.strikes and refusal.under != state.strikes
    strikes = state.strikes if under_way else state.strikes + 1
    if refusal.banned:
        seconds: float = BAN_S * 2 ** (strikes - 1)
    else:
        long_one = strikes > 1 or _used(starts, LIMITS[1], now_ms) >= LIMITS[1].requests
        seconds = LIMITS[int(long_one)].suspension
    if refusal.retry_after is not None:
        # An answer that says "at once" again and again is not believed for ever; NaN never.
        seconds = max(2 ** (strikes - 1), refusal.retry_after)
    until = now_ms + int(min(seconds, MAX_SUSPENSION_S) * SECOND) + CARE_MS
    share = state.share_at(now_ms)
    if not refusal.banned and not state.strikes and not _at_limit(starts, now_ms):
        share = decreased_fraction(share)
    return Suspension(
        until=max(until, state.until),
        strikes=strikes,
        banned=refusal.banned or bool(under_way and state.banned),
        reason=refusal.reason,
        noted=now_ms,
        share=share,
        share_since=now_ms if share < 1 else 0,
    )


def merge_suspensions(stored: Suspension, known: Suspension) -> Suspension:
    """Return the graver of two accounts of one address."""
    grave = max(stored, known, key=lambda one: (one.until, one.strikes))
    least = min(stored, known, key=lambda one: (one.share, -one.share_since))
    return replace(grave, share=least.share, share_since=least.share_since)


def next_request_at(
    starts: Sequence[int], now_ms: int, spacing_ms: int, allowed: Sequence[Limit] = LIMITS
) -> int:
    """Return when (ms) the next request may go by the limits and the spacing: now or later.

    `starts`: when recent requests of every process were let go, oldest first.
    """
    at = max(now_ms, starts[-1] + spacing_ms) if starts else now_ms
    for limit in allowed:
        if len(starts) >= limit.requests:
            at = max(at, starts[-limit.requests] + limit.seconds * SECOND + SLACK_MS)
    return at


def window_use(starts: Sequence[int], now_ms: int) -> dict[str, int]:
    """Return how many requests count in each window now, by the limit's label."""
    return {limit.label: _used(starts, limit, now_ms) for limit in LIMITS}


def least_seconds(
    requests: int,
    starts: Sequence[int],
    now_ms: int,
    spacing_ms: int,
    allowed: Sequence[Limit] = LIMITS,
) -> float:
    """Return the least time in seconds in which so many further requests can be let go."""
    times = list(starts)
    at = now_ms
    for _ in range(requests):
        at = next_request_at(times, at, spacing_ms, allowed)
        times.append(at)
    return (at - now_ms) / SECOND


def _at_limit(starts: Sequence[int], now_ms: int) -> bool:
    """Return whether our own requests filled a window: by its length alone, without the slack.

    One that waits whenever it must has its window and slack full all the time.
    """
    return any(_used(starts, limit, now_ms, slack=0) >= limit.requests for limit in LIMITS)


def _used(starts: Sequence[int], limit: Limit, now_ms: int, slack: int = SLACK_MS) -> int:
    since = now_ms - limit.seconds * SECOND - slack
    return sum(1 for start in starts if start > since)


MIN_LIMIT_FRACTION = 0.1
"""The share is never lowered below this: about a request in two seconds still goes."""


LIMIT_DECREASE_FACTOR = 0.5


LIMIT_INCREASE = 0.1


LIMIT_INCREASE_INTERVAL_S = 900
"""A tenth of the full limits comes back for each quarter of an hour without a 429. To be wrong
costs a suspension of 5 minutes, or of an hour: so from a half it takes 75 minutes, not five."""


def decreased_fraction(share: float) -> float:
    """Return the share once BloFin said that there was too much, although we kept to it."""
    return max(MIN_LIMIT_FRACTION, share * LIMIT_DECREASE_FACTOR)


def recovered_fraction(share: float, since_ms: int, now_ms: int) -> float:
    """Return the share that `share` has become if there was no 429 since `since_ms`."""
    steps = max(0, now_ms - since_ms) // (LIMIT_INCREASE_INTERVAL_S * 1000)
    return min(1.0, round(share + LIMIT_INCREASE * steps, 3))
