"""Read and write the table `instruments`."""

from collections.abc import Iterable
from typing import NamedTuple

import sqlalchemy as sa

from blofin_agent.domain.instrument import Instrument
from blofin_agent.store.postgresql.connections import advisory_lock
from blofin_agent.store.schema import instruments


def save_instruments(connection: sa.Connection, found: Iterable[Instrument], now_ms: int) -> None:
    """Replace what is known of BloFin's instruments. An empty list changes nothing."""
    rows = {
        one.symbol: {
            "symbol": one.symbol,
            "list_time": one.list_time,
            "state": one.state,
            "seen": now_ms,
        }
        for one in found
    }
    if rows:
        advisory_lock(connection, "instruments")
        connection.execute(sa.delete(instruments))
        connection.execute(sa.insert(instruments), list(rows.values()))


class StoredInstruments(NamedTuple):
    """The instruments as last read, and when (ms; 0 when never)."""

    instruments: dict[str, Instrument]
    seen: int


def load_instruments(connection: sa.Connection) -> StoredInstruments:
    """Return the instruments as last read."""
    c = instruments.c
    rows = connection.execute(sa.select(c.symbol, c.list_time, c.state, c.seen)).all()
    return StoredInstruments(
        {symbol: Instrument(symbol, list_time, state) for symbol, list_time, state, _ in rows},
        min((seen for *_, seen in rows), default=0),
    )
