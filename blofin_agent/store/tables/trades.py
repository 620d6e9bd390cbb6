"""Ticks in the store. Each function is what one transaction does; see `Database.write`."""

from collections.abc import Iterable

import sqlalchemy as sa

from blofin_agent.domain.candle import Source
from blofin_agent.domain.trade import Trade
from blofin_agent.store.schema import ticks

_COLUMNS = tuple(column.name for column in ticks.columns)


def insert_trades(connection: sa.Connection, found: Iterable[tuple[str, Trade]]) -> dict[str, int]:
    """Store the ticks, each with its symbol, that are not there yet; return how many were new.

    By symbol. A tick that is there already is left as it is.
    """
    # The driver's own tuples, as with candles.
    mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
    marks = ", ".join([mark] * len(_COLUMNS))
    names = ", ".join(_COLUMNS)
    statement = f"INSERT INTO ticks ({names}) VALUES ({marks}) ON CONFLICT DO NOTHING"  # noqa: S608
    rows: dict[str, list[tuple[object, ...]]] = {}
    for symbol, tick in found:
        rows.setdefault(symbol, []).append((symbol, *tick, Source.LIVE.value))
    return {
        symbol: connection.exec_driver_sql(statement, some).rowcount
        for symbol, some in rows.items()
    }


def delete_trades(connection: sa.Connection, now_ms: int, retention_ms: int, most: int) -> int:
    """Delete at most so many ticks that are too old, the oldest first; return how many.

    Age counts from the newest tick when the clock is ahead of it: a clock gone wrong, or an agent
    that was away for long, costs nothing that is stored.
    """
    t = ticks.c
    newest = connection.execute(sa.select(sa.func.max(t.ts))).scalar()
    if newest is None:
        return 0
    before_ms = min(now_ms, newest) - retention_ms
    oldest = sa.select(t.symbol, t.trade_id).where(t.ts < before_ms).order_by(t.ts).limit(most)
    return connection.execute(
        sa.delete(ticks).where(sa.tuple_(t.symbol, t.trade_id).in_(oldest))
    ).rowcount
