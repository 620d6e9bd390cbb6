"""Queries: the parameters of the JSON API, and what they may be."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from blofin_agent.domain.backfill_run import RunStatus
from blofin_agent.domain.candle import LATEST_MS
from blofin_agent.domain.symbols import SYMBOL
from blofin_agent.web import models

MAX_LIMIT = 10_080
"""Rows of one answer at most: a week of minutes."""
NAME = f"^{SYMBOL}$"

Name = Annotated[str, Field(pattern=NAME, examples=["BTC-USDT"])]
Names = Annotated[
    list[Name] | None, Field(description="only these; repeat it for several", max_length=1_000)
]
Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT, description="rows of this page at most")]


class _Query(BaseModel):
    """Parameters of a question; those that are not known are refused, not passed over."""

    model_config = ConfigDict(extra="forbid")


class SymbolsQuery(_Query):
    """Which symbols."""

    symbol: Names = None


class GapsQuery(SymbolsQuery):
    """Which gaps."""

    limit: Limit = 1_000
    after: Annotated[
        str | None,
        Field(pattern=f"^{SYMBOL}:[0-9]{{1,15}}$", description="from `next_url`"),
    ] = None


class MapQuery(SymbolsQuery):
    """How wide the map is."""

    columns: Annotated[int, Field(ge=2, le=2_000, description="columns at most")] = 400


class RunsQuery(SymbolsQuery):
    """Which runs."""

    status: Annotated[list[RunStatus] | None, Field(description="only those that ended so")] = None
    limit: Limit = 100
    before: Annotated[
        int | None, Field(ge=0, le=2**53, description="only runs with a lower id")
    ] = None


class CandlesQuery(_Query):
    """Which candles."""

    symbol: Name
    since: Annotated[models.Time, Field(description="first open time, ms")] = 0
    until: Annotated[models.Time, Field(description="open times before this, ms")] = LATEST_MS
    limit: Limit = 1_000
