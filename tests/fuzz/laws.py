"""What holds of everything that is taken in, and of everything that is said of the rest."""

from functools import cache

import sqlalchemy as sa

from blofin_agent.domain.candle import (
    LATEST_MS,
    Candle,
    CandleBatch,
    RejectedRow,
    RejectReason,
    Source,
    Timeframe,
)
from blofin_agent.domain.errors import OUTCOMES
from blofin_agent.domain.instrument import Instrument
from blofin_agent.domain.symbols import is_symbol
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.domain.trade import Trade
from blofin_agent.domain.unavailability import UnavailableRange
from blofin_agent.runtime.format import clock_text
from blofin_agent.store.schema import metadata
from blofin_agent.store.tables import candles, instruments, trades, unavailable

NOW = 1_790_000_040_000
INFINITE = float("inf")
SQLITE = 1 << 63


@cache
def _engine():
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    metadata.create_all(engine)
    return engine


def _kept(work):
    """Run work in a transaction that leaves nothing, and return what it returns."""
    with _engine().connect() as connection:
        found = work(connection)
        connection.rollback()
    return found


def is_said_in_one_line(text, most=2_500):
    """It can forge no line of a log, tell a terminal nothing, and is no flood."""
    assert isinstance(text, str)
    assert text.isprintable(), text
    assert len(text) <= most, len(text)


def is_an_error_of_ours(error):
    is_said_in_one_line(str(error))
    assert error.outcome in OUTCOMES


def is_rejected_with_a_reason(row):
    assert isinstance(row, RejectedRow)
    assert row.reason in RejectReason
    is_said_in_one_line(row.text)


def are_candles(found, bar, before):
    """Each is possible, on the grid and over; stored and read again they are the same."""
    for candle in found:
        time, o, h, low, c, *volumes = candle
        assert isinstance(candle, Candle)
        assert 0 <= time < min(before, SQLITE)
        assert bar.floor(time) == time
        assert 0 < low <= min(o, c) <= max(o, c) <= h < INFINITE
        assert all(0 <= volume < INFINITE for volume in volumes)
    unique = {candle.open_time: candle for candle in reversed(found)}
    if not unique:
        return
    rows = CandleBatch("BTC-USDT", Source.LIVE, found)
    whole = TimeRange(0, SQLITE - 1)

    def store_and_read(connection):
        assert candles.insert(connection, bar, [rows]) == [len(unique)]
        return candles.page(connection, "BTC-USDT", bar, whole, len(found))

    stored = _kept(store_and_read)
    assert [Candle(*one[:-1]) for one in stored] == [unique[time] for time in sorted(unique)]


def are_ticks(found):
    for tick in found:
        assert isinstance(tick, Trade)
        is_said_in_one_line(tick.trade_id, 64)
        assert 0 < tick.ts <= NOW + 60_000
        assert 0 < tick.price < INFINITE
        assert 0 < tick.size < INFINITE
        assert tick.side in ("buy", "sell")
    if found:
        new = _kept(
            lambda connection: trades.insert_trades(connection, [("A-B", one) for one in found])
        )
        assert new == {"A-B": len({one.trade_id for one in found})}


def are_instruments(found):
    """Each once, with a name for every use; stored and read again they are the same."""
    by_name = {one.symbol: one for one in found}
    assert len(by_name) == len(found)
    for one in found:
        assert isinstance(one, Instrument)
        assert is_symbol(one.symbol)
        assert "/" not in one.symbol
        assert not one.symbol.startswith(".")
        is_said_in_one_line(one.symbol, 40)
        is_said_in_one_line(one.state, 200)
        if one.list_time is not None:
            assert 0 < one.list_time <= LATEST_MS
            clock_text(one.list_time)

    def store_and_read(connection):
        instruments.save_instruments(connection, found, NOW)
        return instruments.load_instruments(connection).instruments

    assert _kept(store_and_read) == by_name


def are_proofs(proofs, bar):
    """What a page proves can be stored, and read again."""
    for proof in proofs:
        assert isinstance(proof, UnavailableRange)
        assert 0 <= proof.span.start < proof.span.end < SQLITE

    def store_and_read(connection):
        unavailable.save_proofs(connection, "BTC-USDT", bar, proofs, 0)
        return unavailable.load_proofs(connection, bar, 0).get("BTC-USDT", [])

    assert _kept(store_and_read) == list(proofs)


BARS = tuple(Timeframe)
