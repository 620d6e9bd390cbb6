"""Links: the websocket connections, as a person sees them."""

from collections.abc import Callable
from dataclasses import dataclass

from blofin_agent.protocol.subscriptions import Subscriptions

TRADES = "trades-"
"""How the names of connections for trades begin."""


@dataclass(frozen=True, slots=True)
class ConnectionStatus:
    """A websocket connection. `since`: when it came into this state (ms since the epoch)."""

    name: str
    connected: bool
    symbols: int
    subscribed: int
    """Symbols whose subscription is acknowledged."""
    since: int
    lost: str = ""
    """Why it was lost last, in words."""

    @property
    def of_trades(self) -> bool:
        """Whether it carries trades, and so no candles."""
        return self.name.startswith(TRADES)


@dataclass(slots=True)
class _SubscriptionState:
    subscriptions: Subscriptions
    since: int
    connected: bool = False
    lost: str = ""


class Connections:
    """Keeps the state of each connection by its name. `clock` gives ms since the epoch."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._states: dict[str, _SubscriptionState] = {}

    def add(self, name: str, subscriptions: Subscriptions) -> None:
        """Enter a connection that is to be made."""
        self._states[name] = _SubscriptionState(subscriptions, self._clock())

    def opened(self, name: str) -> None:
        """Note that it stands."""
        state = self._states[name]
        state.connected, state.since = True, self._clock()

    def lost(self, name: str, why: str) -> None:
        """Note that it is gone, or that it could not be made."""
        state = self._states[name]
        if state.connected:
            state.since = self._clock()
        state.connected, state.lost = False, why

    def remove(self, name: str) -> None:
        """Forget a connection that is not wanted any more."""
        del self._states[name]

    def all(self) -> list[ConnectionStatus]:
        """Return them, in the order in which they were added. May be called in any thread."""
        return [
            ConnectionStatus(
                name,
                state.connected,
                len(symbols := state.subscriptions.symbols),
                sum(map(state.subscriptions.standing, symbols)),
                state.since,
                state.lost,
            )
            for name, state in list(self._states.items())
        ]
