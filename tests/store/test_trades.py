"""Laws of the ticks table."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blofin_agent.domain.trade import Trade
from blofin_agent.store.tables import trades


def tick(number, ts=None):
    return Trade(str(number), number if ts is None else ts, 2.5, 0.1, "buy")


def insert(store, *found):
    with store.engine.begin() as connection:
        return trades.insert_trades(connection, found)


def test_a_trade_is_stored_once(store, rows):
    """By its symbol and its id; the first stays, and only new ones count."""
    first = insert(store, ("A", tick(1)), ("B", tick(1)), ("A", tick(1)._replace(price=9.0)))
    assert first == {"A": 1, "B": 1}
    assert insert(store, ("A", tick(1)), ("A", tick(2)), ("B", tick(1))) == {"A": 1, "B": 0}
    assert insert(store) == {}
    assert rows("SELECT * FROM ticks WHERE symbol = 'A' ORDER BY trade_id") == [
        ("A", "1", 1, 2.5, 0.1, "buy", "blofin_ws"),
        ("A", "2", 2, 2.5, 0.1, "buy", "blofin_ws"),
    ]


@given(
    st.lists(st.integers(0, 20), max_size=12),
    st.integers(0, 40),
    st.integers(0, 20),
    st.integers(1, 15),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_oldest_are_forgotten_first_and_no_younger_ones(store, times, now, retention, most):
    """At most as many as were asked for; a clock that runs ahead of all ticks costs none."""
    before = min(now, max(times, default=0)) - retention
    with store.engine.connect() as connection:
        trades.insert_trades(connection, [("A", tick(n, ts)) for n, ts in enumerate(times)])
        forgotten = trades.delete_trades(connection, now, retention, most)
        left = connection.exec_driver_sql("SELECT ts FROM ticks ORDER BY ts").scalars().all()
        connection.rollback()
    old = sorted(ts for ts in times if ts < before)
    assert forgotten == min(len(old), most)
    assert left == sorted(times)[forgotten:]


FORGET = (
    "DELETE FROM ticks WHERE (symbol, trade_id) IN"
    " (SELECT symbol, trade_id FROM ticks WHERE ts < 5 ORDER BY ts LIMIT 9)"
)


def test_old_ticks_are_found_by_an_index(store, plan):
    """And those that are deleted by their key."""
    found = " ".join(plan(FORGET))
    if store.engine.dialect.name == "sqlite":
        assert "SEARCH ticks USING PRIMARY KEY" in found
        assert "USING COVERING INDEX ix_ticks_ts (ts<?)" in found
        assert "TEMP B-TREE" not in found.replace("TEMP B-TREE FOR IN", "")
    else:
        assert "Index Scan using pk_ticks on ticks" in found
        assert "Index Scan using ix_ticks_ts on ticks" in found
        assert "Sort" not in found


@pytest.mark.sqlite
def test_ticks_are_their_own_key_in_order(store, rows):
    """No second tree beside it."""
    ((text,),) = rows("SELECT sql FROM sqlite_master WHERE name='ticks'")
    assert "WITHOUT ROWID" in text
    assert "PRIMARY KEY (symbol, trade_id)" in text
