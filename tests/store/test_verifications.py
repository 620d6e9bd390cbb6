"""Laws of what verifications leave in the store."""

import sqlite3
from contextlib import closing

import pytest
from alembic import command
from sqlalchemy.dialects import postgresql

from blofin_agent.core.candle import MINUTE, Bar, Source
from blofin_agent.core.compare import Difference
from blofin_agent.core.coverage import Span
from blofin_agent.store import candles, migrate, verifications
from blofin_agent.store.candles import Rows
from blofin_agent.store.engine import open_store
from blofin_agent.store.errors import StoreUnusable
from blofin_agent.store.verifications import Outcome, Totals, Verification


def write(store, work):
    with store.engine.begin() as connection:
        return work(connection)


def rows(store, query):
    return store.read_here(lambda db: [tuple(row) for row in db.exec_driver_sql(query)])


def put(store, *found, symbol="A", bar=Bar.M1, source=Source.LIVE):
    write(store, lambda db: candles.insert(db, bar, [Rows(symbol, source, found)]))


def repair(store, differences, missing=(), now_ms=7):
    return write(
        store, lambda db: verifications.repair(db, "A", Bar.M1, differences, missing, now_ms)
    )


def test_a_verification_comes_back_column_by_column(store):
    """With a public word for its status, and its own number."""
    one = Verification("A", "1m", 1, 3, 4, 5, 6, 2, *range(7, 17), Outcome.PARTIAL, "why")
    write(store, lambda db: verifications.record(db, one))
    write(store, lambda db: verifications.record(db, Verification("B", "5m", 1, 2, 3)))
    assert rows(store, "SELECT * FROM verifications ORDER BY id") == [
        (1, 1, 2, "A", "1m", 3, 4, 5, 6, *range(7, 17), "partial", "why"),
        (2, 1, 0, "B", "5m", 2, 3, None, None, *[0] * 10, "equal", ""),
    ]


def test_the_totals_are_sums_by_symbol_and_what_the_last_left_that_did_not_fail(store):
    """Of one bar; what a failed one compared counts all the same."""
    told = [
        Verification("A", "1m", 0, 0, 0, finished=50, compared=10, different=2, repaired=1),
        Verification(
            "A",
            "1m",
            0,
            0,
            0,
            finished=60,
            compared=5,
            different=3,
            repaired=1,
            absent=1,
            missing=3,
        ),
        Verification("A", "1m", 0, 0, 0, finished=70, compared=4, unanswered=2),
        Verification("B", "1m", 0, 0, 0, finished=80),
        Verification("A", "5m", 0, 0, 0, finished=90, compared=1),
    ]
    told[2].status = told[3].status = Outcome.FAILED
    for one in told:
        write(store, lambda db, one=one: verifications.record(db, one))
    assert write(store, lambda db: verifications.totals(db, Bar.M1)) == {
        "A": Totals(14, 5, 1, 3, 2, 2, 60, 3),
        "B": Totals(),
    }


def test_stored_gives_the_candles_of_the_span(store, candle, end):
    """Oldest first; its end is not in it, nor what is of another symbol or bar."""
    times = [end + n * MINUTE for n in (3, 1, 2, 0)]
    put(store, *[candle(time) for time in times])
    put(store, candle(end), symbol="B")
    put(store, candle(end), bar=Bar.M5)
    span = Span(end + MINUTE, end + 3 * MINUTE)
    found = write(store, lambda db: verifications.stored(db, "A", Bar.M1, span))
    assert found == [candle(end + MINUTE), candle(end + 2 * MINUTE)]


def test_a_repair_replaces_what_differs_and_keeps_what_was_there(store, candle, end):
    """The source becomes that of a fill; the old row stands whole in replaced_candles."""
    old, other = candle(end), candle(end + MINUTE)
    put(store, old, other)
    new = old._replace(close=2.5, volume=11.0)
    put(store, old, symbol="B")
    put(store, old, bar=Bar.M5)
    done = repair(store, [Difference(old, new)])
    assert (done.replaced, done.added) == ({end}, 0)
    assert rows(store, "SELECT * FROM candles WHERE symbol = 'A' AND bar = '1m'") == [
        ("A", "1m", *new, "historical_fill"),
        ("A", "1m", *other, "blofin_ws"),
    ]
    assert rows(store, "SELECT * FROM replaced_candles") == [(1, "A", "1m", *old, "blofin_ws", 7)]
    untouched = "SELECT * FROM candles WHERE symbol = 'B' OR bar = '5m' ORDER BY symbol"
    assert rows(store, untouched) == [
        ("A", "5m", *old, "blofin_ws"),
        ("B", "1m", *old, "blofin_ws"),
    ]


def test_what_has_changed_since_it_was_compared_is_left_alone(store, candle, end):
    """Another repair was there first, say."""
    old = candle(end)
    put(store, old._replace(close=1.5))
    assert repair(store, [Difference(old, old._replace(close=2.5))]).replaced == set()
    assert rows(store, "SELECT close, source FROM candles") == [(1.5, "blofin_ws")]
    assert rows(store, "SELECT * FROM replaced_candles") == []


def test_what_blofin_does_not_have_is_never_deleted(store, candle, end):
    """It may have lost it."""
    put(store, candle(end))
    assert repair(store, [Difference(candle(end), None)]).replaced == set()
    assert len(rows(store, "SELECT * FROM candles")) == 1


def test_what_is_missing_is_stored_as_a_fill_does_it(store, candle, end):
    """Only where nothing stands."""
    put(store, candle(end))
    missing = [candle(end)._replace(close=9.0), candle(end + MINUTE)]
    assert repair(store, [], missing).added == 1
    assert rows(store, "SELECT open_time, close, source FROM candles ORDER BY open_time") == [
        (end, 2.0, "blofin_ws"),
        (end + MINUTE, 2.0, "historical_fill"),
    ]


def test_a_row_that_somebody_wrote_by_hand_can_be_repaired(store, candle, end):
    """Even where a price is no number at all, or endless."""
    put(store, candle(end), candle(end + MINUTE))
    with store.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE candles SET open = 'x' WHERE open_time = {end}")
        connection.exec_driver_sql(f"UPDATE candles SET high = 9e999 WHERE open_time > {end}")
    span = Span(end, end + 2 * MINUTE)
    found = write(store, lambda db: verifications.stored(db, "A", Bar.M1, span))
    done = repair(store, [Difference(one, candle(one.open_time)) for one in found])
    assert done.replaced == {end, end + MINUTE}
    assert write(store, lambda db: verifications.stored(db, "A", Bar.M1, span)) == [
        candle(end),
        candle(end + MINUTE),
    ]
    kept = "SELECT open, high FROM replaced_candles ORDER BY id"
    assert rows(store, kept) == [("x", 3.0), (2.5, float("inf"))]


class Recorder:
    """A connection to a PostgreSQL that is not there: it compiles what it is given."""

    rowcount = 1

    def __init__(self):
        self.dialect = postgresql.psycopg.dialect()
        self.texts = []

    def execute(self, statement, _values=None):
        self.texts.append(str(statement.compile(dialect=self.dialect)))
        return self

    def scalar(self, statement, _values):
        self.execute(statement)
        return 1

    def exec_driver_sql(self, text, _rows=None):
        self.texts.append(text)
        return self

    def __iter__(self):
        return iter(())


def test_the_statements_compile_for_postgresql(candle, end):
    """So that the store can grow; times are long there, too."""
    recorder = Recorder()
    verifications.record(recorder, Verification("A", "1m", 1, 2, 3))
    assert verifications.totals(recorder, Bar.M1) == {}
    assert verifications.stored(recorder, "A", Bar.M1, Span(0, end)) == []
    missing = [candle(end + MINUTE)]
    old = candle(end)
    done = verifications.repair(
        recorder, "A", Bar.M1, [Difference(old, old._replace(close=2.5))], missing, end
    )
    assert (done.replaced, done.added) == ({end}, 1)
    (kept,) = (text for text in recorder.texts if text.startswith("INSERT INTO replaced_candles"))
    assert "%(param_1)s::BIGINT" in kept
    assert any(text.startswith("UPDATE candles SET") for text in recorder.texts)


@pytest.fixture
def old(tmp_path, monkeypatch):
    """Return the path of a database of the first schema, with a candle and a run."""
    path = tmp_path / "old.db"
    upgrade = command.upgrade
    with monkeypatch.context() as patch:
        patch.setattr(command, "upgrade", lambda config, _to: upgrade(config, "0001"))
        open_store(f"sqlite:///{path}").close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "INSERT INTO candles VALUES ('A', '1m', 0, 2.5, 3, 1, 2, 10, 0.5, 20, 'blofin_ws')"
        )
        connection.execute("INSERT INTO service_heartbeats VALUES ('agent', 1, 2, 'x')")
    return path


def dump(path, *tables):
    with closing(sqlite3.connect(path)) as connection:
        return [connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables]


def test_a_database_of_the_first_schema_is_migrated_without_loss(old):
    """What stood there stands there; the two tables are new and empty."""
    tables = ("candles", "service_heartbeats", "suspension")
    before = dump(old, *tables)
    assert dump(old, "alembic_version") == [[("0001",)]]
    open_store(f"sqlite:///{old}").close()
    candles_now, beats_now, (suspension,) = dump(old, *tables)
    assert [candles_now, beats_now] == before[:2]
    assert suspension[:6] == before[2][0]
    assert before[0][0][0] == "A"
    assert dump(old, "verifications", "replaced_candles") == [[], []]
    assert dump(old, "alembic_version") == [[(migrate.HEAD,)]]


def test_who_only_reads_an_old_database_is_told_in_one_line(old):
    """And changes nothing in it."""
    before = old.read_bytes()
    with pytest.raises(StoreUnusable, match="is not set up for this version"):
        open_store(f"sqlite:///{old}", read_only=True)
    assert old.read_bytes() == before
