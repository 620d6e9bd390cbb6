"""Run: what one pass did to one symbol, and how it ended."""

from dataclasses import dataclass
from enum import StrEnum


class RunTrigger(StrEnum):
    """What began a run. The values are public."""

    START = "start"
    PERIODIC = "periodic"
    HEAL = "heal"
    ONESHOT = "oneshot"


class RunStatus(StrEnum):
    """How a run ended. The values are public."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(slots=True)
class BackfillRun:
    """One symbol in one pass; a row of `gap_fill_runs`. Times in ms, coverage from 0 to 1."""

    symbol: str
    bar: str
    trigger: RunTrigger
    started: int
    finished: int = 0
    missing_before: int = 0
    missing_after: int = 0
    gaps_found: int = 0
    requests: int = 0
    rate_limited: int = 0
    rows_fetched: int = 0
    rows_inserted: int = 0
    first_gap: int | None = None
    last_gap: int | None = None
    coverage_before: float = 1.0
    coverage_after: float = 1.0
    status: RunStatus = RunStatus.COMPLETE
    note: str = ""
    id: int = 0
    """Its number in the table, 0 before it is there; later ones are higher."""
