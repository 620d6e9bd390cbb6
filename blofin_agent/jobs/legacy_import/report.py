"""What an import found in a file of the old scripts, and what became of it."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

MAX_DIFFERENCES = 1_000
"""Closes that differ which are listed; further ones are counted."""


class CloseDifference(NamedTuple):
    """A minute whose close the old file has otherwise than the store."""

    symbol: str
    open_time: int
    old: float
    stored: float


@dataclass(slots=True)
class FileFinding:
    """What the file has of one symbol. Times in ms; minutes are those that its rows touch."""

    symbol: str
    rows: int = 0
    closes: int = 0
    """Rows that REST gave: a minute's close each."""
    first: int = 0
    last: int = 0
    minutes: int = 0
    stored: int = 0
    """Minutes of which the store holds the candle; of `minutes`, as all that follow."""
    equal: int = 0
    """Minutes whose old close is that of the stored candle."""
    different: int = 0
    """Minutes whose old close is another."""
    missing: int = 0
    """Minutes that are over, and of which the store holds no candle: a backfill asks for them."""
    since: int | None = None
    """The first of these."""
    unavailable: int = 0
    """Minutes of which BloFin was proven not to have a candle."""
    candles: int = 0
    """Rows that have all of a candle, and were judged to be one."""
    candles_stored: int = 0
    """Of these: stored now, as they were not there. With --dry-run: those that would be."""
    ticks: int = 0
    """Rows that have all of a trade, and were judged to be one."""
    ticks_stored: int = 0
    """Likewise; not known with --dry-run."""
    bits: dict[int, int] = field(default_factory=dict)
    """The minutes touched, as bits by UTC day (ms)."""
    new: dict[int, int] = field(default_factory=dict)
    """Likewise those of which a candle was stored, or would be."""


@dataclass(slots=True)
class ImportedRuns:
    """What became of the old runs."""

    rows: int = 0
    usable: int = 0
    """Rows that say all that a run says."""
    stored: int = 0
    """Stored now. With --dry-run: those that would be."""
    lacking: list[str] = field(default_factory=list)
    """What no column of the table tells."""


@dataclass(slots=True)
class ImportReport:
    """What an import found and did."""

    file: str
    target: str
    dry_run: bool
    symbols: dict[str, FileFinding] = field(default_factory=dict)
    left: Counter[str] = field(default_factory=Counter)
    """Rows that nothing was stored of, by why."""
    runs: ImportedRuns | None = None
    """None when there is no such table."""
    differences: list[CloseDifference] = field(default_factory=list)
    seconds: float = 0.0
    stopped: bool = False

    def found(self, symbol: str) -> FileFinding:
        """Return what was found of a symbol so far."""
        return self.symbols.setdefault(symbol, FileFinding(symbol))

    def total(self, name: str) -> int:
        """Return the sum of a figure over all symbols."""
        return sum(int(getattr(one, name)) for one in self.symbols.values())

    @property
    def complete(self) -> bool:
        """Whether a backfill need not ask for any minute that the file touches."""
        return not self.stopped and not self.total("missing")

    def as_json(self) -> dict[str, object]:
        """Return it as plain data; times in ms."""
        return {
            "file": self.file,
            "to": self.target,
            "dry_run": self.dry_run,
            "complete": self.complete,
            "stopped": self.stopped,
            "seconds": round(self.seconds, 3),
            "symbols": [
                {name: value for name, value in asdict(one).items() if name not in ("bits", "new")}
                for _, one in sorted(self.symbols.items())
            ],
            "left": dict(self.left.most_common()),
            "runs": None if self.runs is None else asdict(self.runs),
            "differences": [one._asdict() for one in self.differences],
        }
