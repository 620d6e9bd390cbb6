"""Models: the shapes of the JSON API. Times are ms since the epoch, UTC; shares are 0 to 1."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from blofin_agent.coverage.gap_reasons import Gap as BoardGap
from blofin_agent.domain.backfill_run import BackfillRun as PastRun
from blofin_agent.domain.backfill_run import RunStatus, RunTrigger
from blofin_agent.domain.candle import LATEST_MS
from blofin_agent.domain.symbol_coverage import Health
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.status.snapshot import GapMapData as BoardMap
from blofin_agent.status.snapshot import SymbolRow

Time = Annotated[int, Field(ge=0, le=LATEST_MS, description="ms since the epoch, UTC")]
Share = Annotated[float, Field(ge=0, le=1)]
Number = Annotated[int, Field(ge=0)]


class Model(BaseModel):
    """What all shapes have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class WindowModel(Model):
    """A half-open stretch of time: `end` is not in it."""

    start: Time
    end: Time

    @classmethod
    def of(cls, span: TimeRange) -> "WindowModel":
        """Make it of a span."""
        return cls(start=span.start, end=span.end)


class CountsModel(Model):
    """Bars, counted. `unavailable` is the part of `missing` that BloFin was proven not to have."""

    coverage: Share
    expected: Number
    present: Number
    missing: Number
    unavailable: Number


class RunModel(Model):
    """What one pass did to one symbol: a row of the table `gap_fill_runs`."""

    id: Number
    symbol: str
    bar: str
    trigger: RunTrigger
    status: RunStatus
    started: Time
    finished: Time
    missing_before: Number
    missing_after: Number
    gaps_found: Number
    requests: Number
    rate_limited: Number
    rows_fetched: Number
    rows_inserted: Number
    first_gap: Time | None
    last_gap: Time | None
    coverage_before: Share
    coverage_after: Share
    note: str

    @classmethod
    def of(cls, run: PastRun) -> "RunModel":
        """Make it of a run."""
        return cls(**{name: getattr(run, name) for name in cls.model_fields})


class SymbolModel(CountsModel):
    """One symbol. The last run is null before the first one."""

    symbol: str
    newest: Time | None = Field(description="open time of the newest candle held")
    live_share: Share | None = Field(
        description="of the candles held, those that came over the websocket (source blofin_ws); "
        "the rest came over REST (historical_fill)"
    )
    list_time: Time | None = Field(description="when BloFin listed it, if that is known")
    last_run: RunModel | None

    @classmethod
    def of(cls, row: SymbolRow) -> "SymbolModel":
        """Make it of a row of the board."""
        return cls(
            symbol=row.symbol,
            coverage=row.count.ratio,
            **row.count._asdict(),
            newest=row.newest,
            live_share=row.live_share,
            list_time=row.list_time,
            last_run=None if row.last_run is None else RunModel.of(row.last_run),
        )


class CoverageModel(Model):
    """Every symbol asked for, the least complete first."""

    health: Health
    bar: str
    window: WindowModel
    symbols: list[SymbolModel]


class GapModel(Model):
    """A missing stretch. `unavailable`: BloFin was proven not to have it."""

    symbol: str
    start: Time
    end: Time = Field(description="the end, which is not in it")
    bars: Number
    unavailable: bool
    why: str

    @classmethod
    def of(cls, gap: BoardGap) -> "GapModel":
        """Make it of a gap."""
        return cls(
            symbol=gap.symbol,
            start=gap.span.start,
            end=gap.span.end,
            bars=gap.bars,
            unavailable=gap.unavailable,
            why=gap.why,
        )


class GapsModel(Model):
    """Missing stretches of the window, by symbol and time."""

    bar: str
    window: WindowModel
    gaps: list[GapModel]
    next_url: str | None = Field(description="where the next page is; null on the last one")


class StripModel(Model):
    """One symbol's row of the gap map.

    `cells`: `[first column, columns, held, missing, unavailable, not yet listed]`: neighbouring
    columns of the same content are one entry, whose four counts of bars hold for each of them.
    `missing` are those that are not proven unavailable.
    """

    symbol: str
    cells: list[tuple[Number, Number, Number, Number, Number, Number]]


class GapMapModel(Model):
    """Symbols by time. `columns`: where each begins; the last one ends with the window."""

    bar: str
    window: WindowModel
    columns: list[Time]
    strips: list[StripModel]

    @classmethod
    def of(cls, found: BoardMap, bar: str) -> "GapMapModel":
        """Make it of the board's map."""
        return cls(
            bar=bar,
            window=WindowModel.of(found.grid.window),
            columns=list(found.grid.starts),
            strips=[
                StripModel(
                    symbol=symbol, cells=[(one.first, one.columns, *one.cell) for one in strip]
                )
                for symbol, strip in found.strips
            ],
        )


class RunsModel(Model):
    """Past runs, the newest first."""

    runs: list[RunModel]
    next_url: str | None = Field(description="where older ones are; null when there are none")


class CandleModel(Model):
    """A stored candle. `volume` is in contracts."""

    open_time: Time
    open: float
    high: float
    low: float
    close: float
    volume: float
    volume_base: float
    volume_quote: float
    source: str = Field(examples=["blofin_ws", "historical_fill"])


class CandlesModel(Model):
    """Stored candles of one symbol, the oldest first. What is not held has no row."""

    symbol: str
    bar: str
    candles: list[CandleModel]
    next_url: str | None = Field(description="where the next page is; null on the last one")


class WrongParameter(Model):
    """A parameter that cannot be."""

    parameter: str
    detail: str


class ProblemModel(BaseModel):
    """What went wrong, as RFC 9457 has it."""

    type: Literal["about:blank"]
    title: str
    status: int
    detail: str
    errors: list[WrongParameter] | None = None
