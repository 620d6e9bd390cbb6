"""Doubts: a mismatch is believed once two answers say the same."""

from dataclasses import dataclass, field

from blofin_agent.core.candle import Candle
from blofin_agent.core.compare import Comparison, Difference


@dataclass(slots=True)
class Doubts:
    """Stored candles that did not agree with BloFin, by open time (ms), until that is settled."""

    said: dict[int, Candle | None] = field(default_factory=dict)
    """What BloFin last gave for each that differs; None when it has no such candle."""
    unsure: set[int] = field(default_factory=set)
    """Those of which an answer said nothing that could be believed."""

    def settle(self, found: Comparison) -> list[Difference]:
        """Take in what a page says; return the differences that two answers agree on.

        One answer is enough for a candle that is equal: what was said before was garbled.
        """
        agreed = []
        for time in found.equal:
            self._forget(time)
        for one in found.differences:
            time = one.open_time
            again = time in self.said and self.said[time] == one.given
            self._forget(time)
            if again:
                agreed.append(one)
            else:
                self.said[time] = one.given
        self.unsure.update(candle.open_time for candle in found.unsure)
        return agreed

    @property
    def times(self) -> set[int]:
        """Open times (ms) of all that is to be asked for again."""
        return self.unsure.union(self.said)

    def _forget(self, time: int) -> None:
        self.said.pop(time, None)
        self.unsure.discard(time)
