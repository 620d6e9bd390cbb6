"""Subscriptions of one websocket connection: what stands, what is stale, what to send next.

All times are seconds of a clock that only goes forward.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto

ACK_TIMEOUT_S = 10.0
"""Without an acknowledgement for so long, a subscription is sent again."""
MAX_TRIES = 3
"""After so many without an answer a symbol is treated as refused."""
REJECTED_RETRY_DELAY_S = 300.0
"""When a refused symbol is tried again; twice as long each time, up to the next figure."""
MAX_REJECTED_RETRY_DELAY_S = 3_600.0
STALE_AFTER_S = 60.0
"""A symbol without a push for so long is subscribed anew; after as long again, the connection is
made anew. BloFin pushes about once a second. Where that did not help the patience doubles."""
SILENT_AFTER_S = 90.0
"""A connection without any push for so long is made anew. Here too the patience doubles."""
MAX_STALE_RETRY_DELAY_S = 3_600.0


class _State(Enum):
    WAITING = auto()
    STANDING = auto()
    REFUSED = auto()


@dataclass(slots=True)
class _Subscription:
    """A symbol's subscription. `since`: when it came into this state."""

    state: _State = _State.WAITING
    since: float = 0.0
    tries: int = 0
    last_push: float = 0.0
    renewed: bool = False
    """Subscribed anew because no push came."""
    again_s: float = REJECTED_RETRY_DELAY_S
    told: bool = False
    """Whether BloFin said that it refuses it, or only did not answer."""
    patience_s: float = STALE_AFTER_S


@dataclass(slots=True)
class DueMessages:
    """What is to be done now."""

    subscribe: list[str] = field(default_factory=list)
    """Send these together."""
    alone: list[str] = field(default_factory=list)
    """Send each of these in a message of its own, so that none can spoil another."""
    renew: list[str] = field(default_factory=list)
    """Unsubscribe and subscribe these."""
    leave: list[str] = field(default_factory=list)
    """Unsubscribe these."""
    lost: str = ""
    """Why the connection must be made anew, if it must."""


class Subscriptions:
    """The subscriptions of one connection. Lives on through reconnects; `opened` begins each.

    `may_be_quiet`: on a channel where nothing comes for hours as a rule, silence means nothing.
    """

    def __init__(self, symbols: Iterable[str], *, may_be_quiet: bool = False) -> None:
        self._may_be_quiet = may_be_quiet
        self._all = {symbol: _Subscription() for symbol in symbols}
        self._sent = False
        self._last_push = 0.0
        self._patience_s = SILENT_AFTER_S
        self._added: list[str] = []
        self._dropped: list[str] = []

    @property
    def symbols(self) -> list[str]:
        """All symbols, in the order given."""
        return list(self._all)

    def add(self, symbols: Iterable[str]) -> None:
        """Take further symbols, where they are further ones."""
        for symbol in symbols:
            if symbol not in self._all:
                self._all[symbol] = _Subscription()
                self._added.append(symbol)

    def drop(self, symbol: str) -> None:
        """Forget a symbol."""
        if self._all.pop(symbol, None) is not None:
            self._dropped.append(symbol)

    def standing(self, symbol: str) -> bool:
        """Return whether the symbol's subscription is acknowledged."""
        one = self._all.get(symbol)
        return one is not None and one.state is _State.STANDING

    def opened(self, now: float) -> None:
        """Begin anew: a new connection stands, and nothing is subscribed on it yet."""
        self._sent = False
        self._dropped.clear()
        self._last_push = now
        for one in self._all.values():
            one.state, one.since, one.tries = _State.WAITING, now, 0
            one.last_push, one.renewed, one.told = now, False, False

    def closed(self) -> None:
        """Note that the connection is gone: nothing stands."""
        for one in self._all.values():
            one.state = _State.WAITING

    def acked(self, symbol: str, now: float) -> None:
        """Note that BloFin acknowledged a subscription."""
        one = self._all.get(symbol)
        if one is not None and one.state is not _State.STANDING:
            one.state, one.since, one.tries, one.again_s = (
                _State.STANDING,
                now,
                0,
                REJECTED_RETRY_DELAY_S,
            )

    def pushed(self, symbol: str, now: float) -> bool:
        """Note a push. It stands for an acknowledgement that was lost: return whether it did."""
        one = self._all.get(symbol)
        if one is None:
            return False
        unanswered = one.state is not _State.STANDING
        if unanswered:
            self.acked(symbol, now)
        self._last_push, self._patience_s = now, SILENT_AFTER_S
        one.last_push, one.renewed, one.patience_s = now, False, STALE_AFTER_S
        return unanswered

    def refused(self, symbols: Iterable[str], now: float) -> None:
        """Note that BloFin refused these."""
        for symbol in symbols:
            one = self._all.get(symbol)
            if one is not None and one.state is not _State.REFUSED:
                self._refuse(one, now)
                one.told = True

    def send_alone(self, symbols: Iterable[str]) -> None:
        """Let each of these be sent in a message of its own, now."""
        for symbol in symbols:
            one = self._all.get(symbol)
            if one is not None and one.state is _State.WAITING:
                one.since -= ACK_TIMEOUT_S

    def waiting(self) -> list[str]:
        """Return the symbols that BloFin has not answered for: an error may mean one of them."""
        return [symbol for symbol, one in self._all.items() if one.state is _State.WAITING]

    def due(self, now: float) -> DueMessages:
        """Return what is to be done now, and take it as done."""
        due = DueMessages()
        if not self._all:
            due.lost = "no symbol is left for it"
            return due
        if not self._sent:
            self._sent = True
            self._added.clear()
            for one in self._all.values():
                one.since, one.tries = now, 1
            due.subscribe = self.symbols
            return due
        self._come_and_go(now, due)
        for symbol, one in self._all.items():
            if one.state is _State.WAITING:
                self._chase(symbol, one, now, due)
            elif one.state is _State.REFUSED:
                _try_again(symbol, one, now, due)
            elif not self._may_be_quiet:
                self._check_silence(symbol, one, now, due)
        if self._may_be_quiet:
            return due
        # With none answered at all it is the connection that is deaf.
        alive = self._any_standing() or not any(one.told for one in self._all.values())
        if alive and now - self._last_push >= self._patience_s:
            due.lost = f"no push for any symbol for {self._patience_s:g} s"
            self._patience_s = min(self._patience_s * 2, MAX_STALE_RETRY_DELAY_S)
        return due

    def _come_and_go(self, now: float, due: DueMessages) -> None:
        due.leave = [symbol for symbol in self._dropped if symbol not in self._all]
        due.subscribe = [symbol for symbol in self._added if symbol in self._all]
        self._dropped.clear()
        self._added.clear()
        for symbol in due.subscribe:
            one = self._all[symbol]
            one.since = one.last_push = now
            one.tries = 1

    def _chase(self, symbol: str, one: _Subscription, now: float, due: DueMessages) -> None:
        if now - one.since < ACK_TIMEOUT_S:
            return
        if one.tries >= MAX_TRIES:
            self._refuse(one, now)
            return
        one.since, one.tries = now, one.tries + 1
        due.alone.append(symbol)

    def _check_silence(self, symbol: str, one: _Subscription, now: float, due: DueMessages) -> None:
        quiet = now - max(one.last_push, one.since)
        if quiet < one.patience_s:
            return
        if one.renewed:
            one.patience_s = min(one.patience_s * 2, MAX_STALE_RETRY_DELAY_S)
            due.lost = f"no push for {symbol}, although subscribed anew"
        else:
            one.renewed, one.since = True, now
            due.renew.append(symbol)

    def _refuse(self, one: _Subscription, now: float) -> None:
        one.state, one.since, one.told = _State.REFUSED, now, False

    def _any_standing(self) -> bool:
        return any(one.state is _State.STANDING for one in self._all.values())


def _try_again(symbol: str, one: _Subscription, now: float, due: DueMessages) -> None:
    if now - one.since >= one.again_s:
        one.again_s = min(one.again_s * 2, MAX_REJECTED_RETRY_DELAY_S)
        one.state, one.since, one.tries = _State.WAITING, now, MAX_TRIES
        due.alone.append(symbol)
