"""Models: the shapes of the JSON API. Times are ms since the epoch, UTC; shares are 0 to 1."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

LATEST = 253_402_300_799_999
"""The last millisecond of the year 9999."""

Time = Annotated[int, Field(ge=0, le=LATEST, description="ms since the epoch, UTC")]
Symbol = Annotated[str, Field(pattern=r"^[A-Z0-9._-]{1,40}$", examples=["BTC-USDT"])]


class Model(BaseModel):
    """What all shapes have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True)
