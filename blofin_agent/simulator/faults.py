"""Faults: what the simulator does wrong on request, while it runs."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Faults:
    """The faults in force. Changed through `/control/faults`, read at every answer and push."""

    withheld: dict[str, int] = field(default_factory=dict)
    """Symbols that are not given, as if their trading had stopped: no candle that opens at this
    time (ms) or later, no push."""

    def given(self, symbol: str, now_ms: int) -> bool:
        """Return whether the symbol's candle of this moment is given."""
        return now_ms < self.withheld.get(symbol, now_ms + 1)

    def latest(self, symbol: str, after: int | None) -> int | None:
        """Return the time (ms) below which rows may be given, None for no bound."""
        return min(
            (time for time in (after, self.withheld.get(symbol)) if time is not None), default=None
        )
