"""What a copy did: figures by symbol and by table, and what was kept as the target had it."""

import math
from dataclasses import asdict, dataclass, field, fields
from typing import NamedTuple

from blofin_agent.domain.candle import Candle, Timeframe
from blofin_agent.domain.candle_diff import BlockDiff

MAX_DIFFERING_DAYS = 1_000
"""Days with other candles that are listed; further ones are counted."""


class DifferingDay(NamedTuple):
    """A day of which the target has some candles with other figures than the source."""

    symbol: str
    bar: str
    start: int
    """When the day begins (ms); of bars longer than a minute it is a block of 1,440 bars."""
    candles: int
    """How many."""
    first: int
    """The first of these opens then (ms)."""
    fields: dict[str, tuple[object, object]]
    """Of that one, what differs: as the source has it, and the target."""


@dataclass(kw_only=True, slots=True)
class CopiedRows:
    """What came of some rows."""

    copied: int = 0
    different: int = 0
    """Rows of which the target has others, with other figures: these were kept."""
    refused: int = 0
    """Rows that the target cannot hold as they are."""
    lacking: int = 0
    """Rows that were written, and were not there when they were read again."""

    @property
    def complete(self) -> bool:
        """Whether nothing of the source is lost."""
        return not (self.different or self.refused or self.lacking)


@dataclass(slots=True)
class CopiedSeries(CopiedRows):
    """What came of the candles of one symbol and bar."""

    symbol: str
    bar: str
    candles: int = 0
    """Those of the source."""
    days: int = 0
    """Days with candles in the source: each was compared by count and checksum."""
    equal: int = 0
    """Days that were equal before, so that nothing of them was written."""
    renamed: int = 0
    """Candles that it has with the same figures from another source (`source`): likewise."""
    extra: int = 0
    """Candles of these days that it has and the source has not."""

    def compared(self, before: list[BlockDiff], after: list[BlockDiff]) -> None:
        """Enter days that were compared before and after what the target lacked was written."""
        self.days += len(before)
        self.equal += sum(day.equal for day in before)
        for day in after:
            self.lacking += len(day.lacking)
            self.different += len(day.different)
            self.renamed += day.renamed
            self.extra += day.extra


@dataclass(slots=True)
class CopiedTable(CopiedRows):
    """What came of the rows of another table."""

    table: str
    rows: int = 0
    """Those of the source."""
    kept: int = 0
    """Rows that were left out, as what the target knows of the same is as good."""


@dataclass(slots=True)
class CopyReport:
    """What a copy did."""

    source: str
    target: str
    series: list[CopiedSeries] = field(default_factory=list)
    tables: list[CopiedTable] = field(default_factory=list)
    kept: list[DifferingDay] = field(default_factory=list)
    days_kept: int = 0
    """Days with candles that were kept, those included that are not listed."""
    seconds: float = 0.0
    candle_seconds: float = 0.0
    """Those of `seconds` that the candles took."""
    stopped: bool = False

    @property
    def complete(self) -> bool:
        """Whether all that the source had is in the target."""
        return self.losses().complete and not self.stopped

    def total(self, name: str) -> int:
        """Return the sum of a figure over all symbols."""
        return sum(getattr(one, name) for one in self.series)

    def losses(self) -> CopiedRows:
        """Return what came of all of it: of candles and of the rows of other tables."""
        every = (*self.series, *self.tables)
        names = [one.name for one in fields(CopiedRows)]
        return CopiedRows(**{name: sum(getattr(one, name) for one in every) for name in names})

    def keep(self, told: CopiedSeries, day: BlockDiff) -> None:
        """Note a day with candles that the target has with other figures."""
        if not day.different:
            return
        self.days_kept += 1
        if len(self.kept) < MAX_DIFFERING_DAYS:
            ours, theirs = day.different[0]
            pairs = zip(Candle._fields[1:], ours[1:8], theirs[1:8], strict=True)
            differing = {
                name: (_plain(one), _plain(other)) for name, one, other in pairs if one != other
            }
            count = len(day.different)
            self.kept.append(
                DifferingDay(told.symbol, told.bar, day.start, count, ours[0], differing)
            )

    def as_json(self) -> dict[str, object]:
        """Return it as plain data; times in ms."""
        figures = [one.name for one in fields(CopiedSeries) if one.name not in ("symbol", "bar")]
        return {
            "from": self.source,
            "to": self.target,
            "complete": self.complete,
            "stopped": self.stopped,
            "seconds": round(self.seconds, 3),
            "candle_seconds": round(self.candle_seconds, 3),
            **{name: self.total(name) for name in figures},
            "symbols": [asdict(one) for one in self.series],
            "tables": [asdict(one) for one in self.tables],
            "days_kept": self.days_kept,
            "kept": [one._asdict() for one in self.kept],
        }


def _plain(figure: object) -> object:
    """Return a figure as JSON can hold it."""
    return figure if isinstance(figure, float) and math.isfinite(figure) else repr(figure)


def unit(bar: str) -> str:
    """Return what a block of such bars is called."""
    return "day" if bar == Timeframe.M1.value else "block"
