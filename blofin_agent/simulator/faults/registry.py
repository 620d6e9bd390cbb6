"""Faults: what the simulator does wrong on request, while it runs."""

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

KINDS = {
    # REST, instead of an answer
    "429": "too many requests; with seconds= the address is suspended for so long",
    "403": "the firewall's ban, for the websocket too; with seconds= for so long",
    "5xx": "HTTP 503",
    "hang": "no answer at all",
    "slow": "an answer after seconds=",
    "reset": "the connection is reset",
    "truncated": "the body ends half way",
    "html": "a page for people instead of JSON, with HTTP 200",
    "code": "an error of BloFin's own, with HTTP 200",
    "not-json": "bytes that are no JSON, with HTTP 200",
    "empty": "a page without rows",
    # REST, the rows of an answer
    "garbage-rows": "rows that are no candles among the others",
    "shuffled-rows": "rows in any order",
    "repeated-rows": "rows given twice",
    "foreign-rows": "rows of another symbol among the others",
    "edge-hole": "rows missing at both ends of a page",
    # candles, over REST and websocket
    "withhold": "the symbol is not given, as if its trading had stopped; from since= (ms) on",
    "late": "a candle is not given before it is over for seconds=",
    "corrected": "a candle has other figures until it is over for seconds=",
    # websocket
    "ws-refuse": "a handshake is refused with HTTP 503",
    "ws-drop": "a connection is closed",
    "ws-cut": "a connection is cut in the middle of a frame",
    "ws-silent": "nothing is sent any more; with symbol= no push of that symbol",
    "ws-pongs-only": "nothing but pongs is sent",
    "ws-no-pong": "no pong is sent",
    "ws-garbage": "frames that are not in BloFin's grammar, binary ones too",
    "ws-oversize": "a frame of 4 MB",
    "ws-no-ack": "subscriptions are not acknowledged",
    "ws-refuse-subscription": "subscriptions are refused",
    "ws-no-complete": 'no push carries confirm "1"',
    "ws-repeated": "pushes come twice",
    "ws-shuffled": "pushes come in the wrong order",
    "ws-foreign": "a push carries another symbol's candle under its name",
    # time
    "clock": "BloFin's clock is seconds= ahead of the machine's, or behind it",
}
"""Every kind of fault, and what it does."""

_SECONDS = {"slow": 2.0, "late": 120.0, "corrected": 120.0, "clock": 30.0}
_LONGEST_S = 1e9


@dataclass(slots=True)
class Fault:
    """A fault in force. Times in ms since the epoch."""

    kind: str
    symbol: str = ""
    """The symbol it is for; empty: all."""
    chance: float = 1.0
    """How likely it is to strike, each time that it can: 0 to 1."""
    times: int | None = None
    """How often it still strikes; None for ever."""
    until: int | None = None
    """When it ends by itself; None never."""
    seconds: float = 0.0
    """The figure that some kinds have: see `MESSAGE_KINDS`."""
    since: int = 0
    """From when on a symbol is withheld."""


class Faults:
    """The faults in force. Changed through `/control/faults`, read at every answer and push.

    `clock`: ms since the epoch. Chance is that of the seed.
    """

    def __init__(self, clock: Callable[[], int], seed: int = 1) -> None:
        self.struck: Counter[str] = Counter()
        """How often each kind struck."""
        self._clock = clock
        self._chance = random.Random(seed)
        self._all: dict[tuple[str, str], Fault] = {}

    def put(self, kind: str, options: Mapping[str, str]) -> Fault:
        """Put a fault in force, in the place of one of its kind and symbol. Raises ValueError."""
        if kind not in KINDS:
            raise ValueError(f"there is no fault {kind!r}; there are {', '.join(KINDS)}")
        fault = Fault(kind, seconds=_SECONDS.get(kind, 0.0), since=self._clock())
        for name, text in options.items():
            match name:
                case "symbol":
                    fault.symbol = text
                case "chance":
                    fault.chance = _figure(name, text, 0, 1)
                case "times":
                    fault.times = int(_figure(name, text, 1))
                case "for":
                    fault.until = self._clock() + int(_figure(name, text, 0) * 1000)
                case "seconds":
                    fault.seconds = _figure(name, text, -_LONGEST_S)
                case "since":
                    fault.since = int(_figure(name, text, 0, _LONGEST_S * 1000 * 1000))
                case _:
                    raise ValueError(f"a fault has no {name!r}")
        self._all[kind, fault.symbol] = fault
        return fault

    def parse(self, text: str) -> Fault:
        """Put a fault in force that is written as `KIND,name=value,...`. Raises ValueError."""
        kind, *options = text.split(",")
        return self.put(kind, dict(_option(one) for one in options))

    def clear(self, kind: str | None = None, symbol: str | None = None) -> None:
        """Take faults out of force: of a kind, for a symbol, or all."""
        for key in list(self._all):
            if kind in (None, key[0]) and symbol in (None, key[1]):
                del self._all[key]

    def all(self) -> list[Fault]:
        """Return those in force."""
        now = self._clock()
        for key, fault in list(self._all.items()):
            if fault.until is not None and now >= fault.until:
                del self._all[key]
        return list(self._all.values())

    def __bool__(self) -> bool:
        """Return whether any is in force."""
        return bool(self._all)

    def strikes(self, kind: str, symbol: str = "") -> Fault | None:
        """Return the fault if it strikes now; that is counted."""
        fault = self.standing(kind, symbol)
        if fault is None or (fault.chance < 1 and self._chance.random() >= fault.chance):
            return None
        self.struck[kind] += 1
        if fault.times is not None:
            fault.times -= 1
            if not fault.times:
                del self._all[kind, fault.symbol]
        return fault

    def standing(self, kind: str, symbol: str = "") -> Fault | None:
        """Return the fault for this symbol if it is in force."""
        fault = self._all.get((kind, symbol)) or self._all.get((kind, ""))
        if fault is None or fault.until is None or self._clock() < fault.until:
            return fault
        del self._all[kind, fault.symbol]
        return None

    @property
    def chance(self) -> random.Random:
        """The source of chance, for those who choose what to spoil."""
        return self._chance

    def skew_ms(self) -> int:
        """Return how far BloFin's clock is ahead of the machine's."""
        fault = self.standing("clock")
        return int(fault.seconds * 1000) if fault else 0

    def given(self, symbol: str, now_ms: int) -> bool:
        """Return whether the symbol's candle of this moment is given."""
        latest = self.latest(symbol, None)
        return latest is None or now_ms < latest

    def latest(self, symbol: str, after: int | None) -> int | None:
        """Return the time (ms) below which rows may be given, None for no bound."""
        fault = self.standing("withhold", symbol)
        since = fault.since if fault else None
        return min((time for time in (after, since) if time is not None), default=None)

    def report(self) -> dict[str, Any]:
        """Return everything as JSON can say it: what `GET /control/faults` answers."""
        standing = [
            {
                name: value
                for name in Fault.__dataclass_fields__
                if (value := getattr(fault, name)) not in (None, "")
            }
            for fault in self.all()
        ]
        return {"faults": standing, "struck": dict(self.struck), "kinds": KINDS}


def _figure(name: str, text: str, least: float, most: float = _LONGEST_S) -> float:
    try:
        figure = float(text)
    except ValueError:
        figure = float("nan")
    if not least <= figure <= most:
        raise ValueError(f"{name}={text} is not from {least:g} to {most:g}")
    return figure


def _option(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value
