"""Limits: what BloFin allows one address; says no, and remembers what it saw."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

SECOND = 1_000


class RateRule(NamedTuple):
    """At most `requests` in any `seconds`; one more and the address is suspended.

    `suspension`: how long, in seconds.
    """

    requests: int
    seconds: int
    suspension: int


RULES = (RateRule(500, 60, 300), RateRule(1_500, 300, 3_600))
"""Source: BloFin's API documentation, "Rate Limits"."""

BANNED_STATUS = 403

CONNECT_INTERVAL_S = 1.0
"""Least seconds between two websocket connections. Source: the same, "WebSocket"."""


@dataclass(slots=True)
class AddressCounters:
    """What one address did so far. Tests read these; nothing here decides."""

    requests: int = 0
    """All requests, refused ones too."""
    refused: int = 0
    """Answered with 429."""
    during_suspension: int = 0
    """Made while the address was suspended; the request that began a suspension is not."""
    suspensions: int = 0
    most: dict[int, int] = field(default_factory=dict)
    """The most requests ever seen in a window, by the window's seconds; suspended ones left out."""
    least_spacing_ms: int | None = None
    """Between the two closest requests; None before the second one."""
    connections: int = 0
    """All tries to open a websocket, refused ones too."""
    connections_refused: int = 0
    least_connection_spacing_ms: int | None = None


@dataclass(slots=True)
class _Address:
    recent: dict[int, deque[int]]
    counters: AddressCounters = field(default_factory=AddressCounters)
    suspended_until: int = 0
    status: int = 429
    last_request: int | None = None
    last_try: int | None = None
    last_connection: int | None = None


class SimulatedRateLimits:
    """Both windows and the suspensions, for each address by itself.

    Pure but for its memory: every method is told the time (ms since the epoch). A window is
    half-open, so a request no longer counts exactly `seconds` after it was made. Requests during
    a suspension neither prolong it nor count in a window. With `enforced` off everything is
    counted the same and nothing is refused.
    """

    def __init__(
        self,
        rules: Sequence[RateRule] = RULES,
        *,
        connect_spacing: float = CONNECT_INTERVAL_S,
        enforced: bool = True,
    ) -> None:
        self.rules = tuple(rules)
        self.enforced = enforced
        self._connect_spacing_ms = round(connect_spacing * SECOND)
        self._addresses: dict[str, _Address] = {}

    def request(self, address: str, now_ms: int) -> int:
        """Count a request and return 0 when it is allowed, else the ms its suspension still lasts.

        A request that passes a limit is refused, and the suspension begins with it.
        """
        state = self._state(address)
        counters = state.counters
        counters.requests += 1
        counters.least_spacing_ms = _less(counters.least_spacing_ms, state.last_request, now_ms)
        state.last_request = now_ms
        if now_ms < state.suspended_until:
            counters.refused += 1
            counters.during_suspension += 1
            return state.suspended_until - now_ms
        passed = [rule for rule in self.rules if self._enter(state, rule, now_ms) > rule.requests]
        if not passed or not self.enforced:
            return 0
        lasts = max(rule.suspension for rule in passed) * SECOND
        state.suspended_until, state.status = now_ms + lasts, 429
        counters.suspensions += 1
        counters.refused += 1
        return lasts

    def connect(self, address: str, now_ms: int) -> bool:
        """Count a try to open a websocket and say whether it is allowed.

        It is when the last allowed one of the address was a second ago or longer, and the firewall
        has not banned the address.
        """
        state = self._state(address)
        counters = state.counters
        counters.connections += 1
        counters.least_connection_spacing_ms = _less(
            counters.least_connection_spacing_ms, state.last_try, now_ms
        )
        state.last_try = now_ms
        if state.status == BANNED_STATUS and now_ms < state.suspended_until:
            counters.connections_refused += 1
            return False
        last = state.last_connection
        if self.enforced and last is not None and now_ms - last < self._connect_spacing_ms:
            counters.connections_refused += 1
            return False
        state.last_connection = now_ms
        return True

    def suspend(self, address: str, now_ms: int, seconds: float, status: int) -> None:
        """Suspend an address whatever it did; `status` is what its requests are answered with."""
        state = self._state(address)
        state.counters.refused += 1
        if seconds > 0:
            state.counters.suspensions += 1
            state.suspended_until, state.status = now_ms + int(seconds * SECOND), status

    def status(self, address: str) -> int:
        """Return what a suspended address is answered with: 429, or 403 from the firewall."""
        return self._state(address).status

    def suspended_until(self, address: str) -> int:
        """Return when (ms since the epoch) its last suspension ends; 0 if it never had one."""
        return self._state(address).suspended_until

    def counters(self, address: str | None = None) -> AddressCounters:
        """Return what an address did, or all addresses: sums, the most and the least of any one."""
        if address is not None:
            return self._state(address).counters
        total = AddressCounters(most={rule.seconds: 0 for rule in self.rules})
        for state in self._addresses.values():
            _add(total, state.counters)
        return total

    def _state(self, address: str) -> _Address:
        if address not in self._addresses:
            counters = AddressCounters(most={rule.seconds: 0 for rule in self.rules})
            windows = {rule.seconds: deque[int]() for rule in self.rules}
            self._addresses[address] = _Address(windows, counters)
        return self._addresses[address]

    def _enter(self, state: _Address, rule: RateRule, now_ms: int) -> int:
        """Enter a request in a window and return how many are in it now."""
        window, most = state.recent[rule.seconds], state.counters.most
        while window and window[0] <= now_ms - rule.seconds * SECOND:
            window.popleft()
        window.append(now_ms)
        most[rule.seconds] = max(most[rule.seconds], len(window))
        return len(window)


def _add(total: AddressCounters, one: AddressCounters) -> None:
    total.requests += one.requests
    total.refused += one.refused
    total.during_suspension += one.during_suspension
    total.suspensions += one.suspensions
    total.connections += one.connections
    total.connections_refused += one.connections_refused
    for seconds, most in one.most.items():
        total.most[seconds] = max(total.most[seconds], most)
    total.least_spacing_ms = _least(total.least_spacing_ms, one.least_spacing_ms)
    total.least_connection_spacing_ms = _least(
        total.least_connection_spacing_ms, one.least_connection_spacing_ms
    )


def _less(least: int | None, last_ms: int | None, now_ms: int) -> int | None:
    return least if last_ms is None else _least(least, now_ms - last_ms)


def _least(one: int | None, other: int | None) -> int | None:
    return min((value for value in (one, other) if value is not None), default=None)
