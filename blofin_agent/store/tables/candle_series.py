"""Series: which symbols and bars there are candles of, found by a look for each and no scan."""

from typing import NamedTuple

import sqlalchemy as sa

from blofin_agent.domain.candle import LATEST_MS
from blofin_agent.store.schema import candles

_c = candles.c


class CandleSeries(NamedTuple):
    """The candles of a symbol and a bar, by the bar's name, and the first and last open time (ms).

    Both are None when no candle lies in the time that a calendar has.
    """

    symbol: str
    bar: str
    first: int | None
    last: int | None


def next_series(connection: sa.Connection, after: tuple[str, str] | None) -> CandleSeries | None:
    """Return the series that comes after this symbol and bar, the first one after None."""
    query = sa.select(_c.symbol, _c.bar).order_by(_c.symbol, _c.bar).limit(1)
    if after is not None:
        query = query.where(sa.tuple_(_c.symbol, _c.bar) > sa.tuple_(*after))
    found = connection.execute(query).first()
    if found is None:
        return None
    symbol, bar = found
    times = (
        sa.select(_c.open_time)
        .where(_c.symbol == symbol, _c.bar == bar, _c.open_time.between(0, LATEST_MS))
        .limit(1)
    )
    first = connection.scalar(times.order_by(_c.open_time))
    last = connection.scalar(times.order_by(_c.open_time.desc()))
    return CandleSeries(symbol, bar, first, last)
