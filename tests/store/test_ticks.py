"""Laws of the ticks table."""

import shutil
import sqlite3
from contextlib import closing

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql

from blofin_agent.core.tick import Tick
from blofin_agent.store import migrate, ticks
from blofin_agent.store.engine import open_store


def tick(number, ts=None):
    return Tick(str(number), number if ts is None else ts, 2.5, 0.1, "buy")


def insert(store, *found):
    with store.engine.begin() as connection:
        return ticks.insert(connection, found)


def rows(store, query):
    return [tuple(row) for row in store.read_here(lambda db: db.exec_driver_sql(query).all())]


def test_a_trade_is_stored_once(store):
    """By its symbol and its id; the first stays, and only new ones count."""
    first = insert(store, ("A", tick(1)), ("B", tick(1)), ("A", tick(1)._replace(price=9.0)))
    assert first == {"A": 1, "B": 1}
    assert insert(store, ("A", tick(1)), ("A", tick(2)), ("B", tick(1))) == {"A": 1, "B": 0}
    assert insert(store) == {}
    assert rows(store, "SELECT * FROM ticks WHERE symbol = 'A' ORDER BY trade_id") == [
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
        ticks.insert(connection, [("A", tick(n, ts)) for n, ts in enumerate(times)])
        forgotten = ticks.forget(connection, now, retention, most)
        left = connection.exec_driver_sql("SELECT ts FROM ticks ORDER BY ts").scalars().all()
        connection.rollback()
    old = sorted(ts for ts in times if ts < before)
    assert forgotten == min(len(old), most)
    assert left == sorted(times)[forgotten:]


def test_old_ticks_are_found_by_an_index(store):
    """And the table is its own key, in order."""
    with closing(sqlite3.connect(store.where)) as connection:
        (sql,) = connection.execute("SELECT sql FROM sqlite_master WHERE name='ticks'").fetchone()
        plan = connection.execute(
            "EXPLAIN QUERY PLAN DELETE FROM ticks WHERE (symbol, trade_id) IN"
            " (SELECT symbol, trade_id FROM ticks WHERE ts < 5 ORDER BY ts LIMIT 9)"
        ).fetchall()
    assert "WITHOUT ROWID" in sql
    assert "PRIMARY KEY (symbol, trade_id)" in sql
    text = " ".join(row[3] for row in plan)
    assert "SEARCH ticks USING PRIMARY KEY" in text
    assert "USING COVERING INDEX ix_ticks_ts (ts<?)" in text
    assert "TEMP B-TREE" not in text.replace("TEMP B-TREE FOR IN", "")


def test_the_statements_are_ones_of_postgresql_too():
    """A pair of columns in a subquery, and its own marks."""
    t = ticks.ticks.c
    oldest = sa.select(t.symbol, t.trade_id).limit(1)
    text = str(
        sa.delete(ticks.ticks)
        .where(sa.tuple_(t.symbol, t.trade_id).in_(oldest))
        .compile(dialect=postgresql.dialect())
    )
    assert "(ticks.symbol, ticks.trade_id) IN (SELECT" in text


def test_a_database_of_the_first_schema_is_upgraded_without_loss(tmp_path):
    """What it holds is there afterwards, and ticks can be stored."""
    path = tmp_path / "old.db"
    engine = sa.create_engine(f"sqlite:///{path}")
    config = Config()
    config.set_main_option(
        "script_location", str(migrate.Path(migrate.__file__).parent / "migrations")
    )
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        names = sa.inspect(connection).get_table_names()
        assert "ticks" not in names
        connection.exec_driver_sql(
            "INSERT INTO candles VALUES ('A', '1m', 60000, 1, 2, 1, 1, 1, 1, 1, 'blofin_ws')"
        )
        connection.exec_driver_sql("UPDATE suspension SET until = 7, strikes = 2")
    engine.dispose()
    before = shutil.copy(path, tmp_path / "before.db")
    store = open_store(f"sqlite:///{path}")
    assert insert(store, ("A", tick(1))) == {"A": 1}
    store.close()
    with closing(sqlite3.connect(before)) as then, closing(sqlite3.connect(path)) as now:
        assert then.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)
        assert now.execute("SELECT version_num FROM alembic_version").fetchone() == ("0006",)
        for name in set(names) - {"alembic_version"}:
            columns = [row[1] for row in then.execute(f"PRAGMA table_info({name})")]
            listed = ", ".join(f'"{column}"' for column in columns)
            query = f"SELECT {listed} FROM {name}"
            assert then.execute(query).fetchall() == now.execute(query).fetchall()
