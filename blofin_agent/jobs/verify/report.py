"""What a verification tells: how it goes, what it found, what came of it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from blofin_agent.domain.candle_page import CandlePage
from blofin_agent.domain.page_plan import PageRequest
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.domain.verification import CandleDifference
from blofin_agent.store.tables.verifications import Verification, VerificationOutcome


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A stored candle that is not as BloFin gives it, by two answers."""

    symbol: str
    difference: CandleDifference
    repaired: bool


@dataclass(slots=True)
class SymbolVerification:
    """What came of one symbol."""

    verification: Verification
    mismatches: list[Mismatch] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    """Open times (ms) of what BloFin gave and was not stored."""
    away: bool = False
    """Whether it failed for a reason that is no matter of the symbol: BloFin is not there."""


@dataclass(slots=True)
class VerifyProgress:
    """What a verification tells while it goes on. Each must not wait."""

    planned: Callable[[str, int], None] = lambda _symbol, _pages: None
    """So many pages are left for the symbol, as far as is known."""
    fetched: Callable[[str, PageRequest, CandlePage], None] = lambda _symbol, _page, _answer: None


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What came of it."""

    window: TimeRange
    sample: int | None
    seed: int | None
    seconds: float
    found: list[SymbolVerification] = field(default_factory=list)
    stopped: bool = False
    """Whether a signal ended it before its end."""
    away: bool = False
    """Whether it was broken off because BloFin was not to be reached."""
    published: bool = True

    @property
    def verifications(self) -> list[Verification]:
        """One a symbol, in the order in which they were made."""
        return [one.verification for one in self.found]

    @property
    def mismatches(self) -> list[Mismatch]:
        """All that was stored otherwise than BloFin gives it, by symbol, the oldest first."""
        return [
            mismatch
            for one in self.found
            for mismatch in sorted(one.mismatches, key=lambda found: found.difference.open_time)
        ]

    @property
    def failed(self) -> bool:
        """Whether it did not come to its end, or to nothing."""
        ends = {one.status for one in self.verifications}
        return self.stopped or self.away or ends == {VerificationOutcome.FAILED}

    @property
    def clean(self) -> bool:
        """Whether all that was looked at is stored as BloFin gives it, now at least."""
        ends = {one.status for one in self.verifications}
        return not self.failed and ends <= {VerificationOutcome.EQUAL, VerificationOutcome.REPAIRED}

    def total(self, name: str) -> int:
        """Return the sum of a figure over all symbols."""
        return sum(getattr(one, name) for one in self.verifications)

    def as_json(self) -> dict[str, object]:
        """Return it as plain data; times in ms, figures as they are compared."""
        figures = ("requests", "compared", "different", "absent", "missing", "unanswered")
        return {
            "window": {"start": self.window.start, "end": self.window.end},
            "sample": self.sample,
            "seed": self.seed,
            "clean": self.clean,
            **{name: self.total(name) for name in (*figures, "repaired", "added")},
            "seconds": round(self.seconds, 3),
            "mismatches": [_plain(one) for one in self.mismatches],
            "missing_candles": [
                {"symbol": one.verification.symbol, "open_time": time}
                for one in self.found
                for time in one.missing
            ],
            "symbols": [asdict(one) for one in self.verifications],
        }


def _plain(mismatch: Mismatch) -> dict[str, object]:
    stored, given = mismatch.difference
    return {
        "symbol": mismatch.symbol,
        "open_time": stored.open_time,
        "fields": {
            # What stands in the database may be anything, once somebody wrote there by hand.
            name: {"stored": _number(getattr(stored, name)), "blofin": getattr(given, name)}
            for name in mismatch.difference.fields
        },
        "absent": given is None,
        "repaired": mismatch.repaired,
    }


def _number(value: object) -> object:
    return value if isinstance(value, float) and abs(value) < float("inf") else str(value)


@dataclass(slots=True)
class VerifyCallbacks:
    """Whom to tell how it goes. Each function is called in the event loop and must not wait."""

    begun: Callable[[TimeRange, dict[str, int]], None]
    """The window, and how many pages each symbol takes of which something is stored."""
    progress: VerifyProgress
    finished: Callable[[Verification], None]
    unpublished: Callable[[str], None]
