"""Counts: what the simulator was asked for, so that tests can tell what a client did."""

from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from typing import Any

from blofin_agent.simulator.rate_limits import SimulatedRateLimits

MAX_REMEMBERED = 5_000
"""How many of the latest requests' times are kept."""


@dataclass(slots=True)
class RequestStats:
    """Plain counters that whoever serves keeps up to date. Requests are counted as they arrive."""

    endpoints: Counter[str] = field(default_factory=Counter)
    symbols: Counter[str] = field(default_factory=Counter)
    """Requests for candles, by symbol."""
    times: deque[int] = field(default_factory=lambda: deque(maxlen=MAX_REMEMBERED))
    """When the latest requests arrived, ms since the epoch."""
    connections_opened: int = 0
    connections: int = 0
    """Open now."""
    subscriptions: int = 0
    """Of all connections that are open now."""
    pushes: int = 0
    too_slow: int = 0
    """Connections that were dropped because they did not read."""
    silent: int = 0
    """Connections that were dropped for want of traffic or of a subscription."""

    def request(self, endpoint: str, symbol: str, now_ms: int) -> None:
        """Enter a REST request; `symbol` is empty when it named none."""
        self.endpoints[endpoint] += 1
        if endpoint == "candles":
            self.symbols[symbol] += 1
        self.times.append(now_ms)

    def report(self, limits: SimulatedRateLimits) -> dict[str, Any]:
        """Return everything as JSON can say it: what `GET /control/stats` answers."""
        return {
            "limits": asdict(limits.counters()),
            "endpoints": dict(self.endpoints),
            "symbols": dict(self.symbols),
            "times": list(self.times),
            "connections_opened": self.connections_opened,
            "connections": self.connections,
            "subscriptions": self.subscriptions,
            "pushes": self.pushes,
            "too_slow": self.too_slow,
            "silent": self.silent,
        }
