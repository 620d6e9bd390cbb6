"""Laws of the candles table."""

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateTable

from blofin_agent.domain.candle import MINUTE, Candle, CandleBatch, Source, Timeframe
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.store.database import open_store
from blofin_agent.store.schema import metadata
from blofin_agent.store.sqlite.driver import driver_of
from blofin_agent.store.tables import candles, coverage_blocks


def insert(store, *batches, bar=Timeframe.M1):
    with store.engine.begin() as connection:
        return candles.insert(connection, bar, batches)


def read(store, work):
    return store.read_here(work)


def test_insert_counts_new_rows_only_and_never_overwrites(store, candle, end):
    """What is stored stays, whoever brings it again."""
    first = [candle(end - n * MINUTE) for n in (1, 2, 3)]
    changed = [one._replace(close=9.0, high=9.0) for one in first]
    more = [*changed, candle(end - 4 * MINUTE)]
    assert insert(
        store, CandleBatch("A", Source.LIVE, first), CandleBatch("A", Source.FILL, more)
    ) == [3, 1]
    assert insert(
        store, CandleBatch("A", Source.FILL, more), CandleBatch("B", Source.FILL, first)
    ) == [0, 3]
    query = "SELECT DISTINCT close, source FROM candles WHERE symbol = 'A' ORDER BY source"
    rows = read(store, lambda db: db.exec_driver_sql(query).all())
    assert [tuple(row) for row in rows] == [(2.0, "blofin_ws"), (2.0, "historical_fill")]


@pytest.mark.parametrize("rows", [239, 240, 241, 1_440])
def test_a_page_of_any_length_is_stored_row_by_row_as_it_is(store, candle, end, rows):
    """However many rows go in one statement: each is stored as it came, and only new ones count."""
    page = [
        candle(end - n * MINUTE)._replace(open=2 + n / 4096, volume=float(n)) for n in range(rows)
    ]
    some = page[10:20] + page[-5:]
    assert insert(store, CandleBatch("A", Source.LIVE, some)) == [15]
    assert insert(
        store, CandleBatch("A", Source.FILL, page), CandleBatch("B", Source.FILL, page)
    ) == [
        rows - 15,
        rows,
    ]
    names = ", ".join(Candle._fields)
    query = f"SELECT {names} FROM candles WHERE symbol = 'B' AND bar = '1m' ORDER BY open_time DESC"
    stored = read(store, lambda db: db.exec_driver_sql(query).all())
    assert [Candle(*row) for row in stored] == page
    query = "SELECT symbol, source, count(*) FROM candles GROUP BY 1, 2 ORDER BY 1, 2"
    counted = read(store, lambda db: db.exec_driver_sql(query).all())
    assert [tuple(row) for row in counted] == [
        ("A", "blofin_ws", 15),
        ("A", "historical_fill", rows - 15),
        ("B", "historical_fill", rows),
    ]


def test_single_candles_of_many_symbols_are_counted_apart(store, candle, end):
    """As they come when a minute ends; those that are there already cost the others nothing."""
    one, other = [candle(end - MINUTE)], [candle(end - 2 * MINUTE)]
    some = [CandleBatch(symbol, Source.LIVE, one) for symbol in "BDF"]
    assert insert(store, *some) == [1, 1, 1]
    every = [CandleBatch(symbol, Source.LIVE, one) for symbol in "ABCDE"]
    assert insert(store, *every, CandleBatch("F", Source.FILL, other)) == [1, 0, 1, 0, 1, 1]
    twice = [CandleBatch("A", Source.FILL, other), CandleBatch("A", Source.LIVE, other)]
    assert insert(store, *twice) == [1, 0]
    query = "SELECT symbol, source FROM candles ORDER BY symbol, open_time"
    found = "".join(symbol for symbol, _ in read(store, lambda db: db.exec_driver_sql(query).all()))
    assert found == "AABCDEFF"
    span = TimeRange(end - 2 * MINUTE, end)
    stored = read(store, lambda db: coverage_blocks.load(db, Timeframe.M1, span, list("ABCDEF")))
    assert [stored[symbol].held.count(span) for symbol in "ABCDEF"] == [2, 1, 1, 1, 1, 2]


def test_a_minute_of_500_symbols_takes_few_statements(store, candle, end):
    """After each one the writer's thread waits for Python's lock, which the event loop has."""
    names = [f"S{number}-USDT" for number in range(500)]
    insert(store, *[CandleBatch(name, Source.LIVE, [candle(end - MINUTE)]) for name in names])
    batches = [CandleBatch(name, Source.LIVE, [candle(end)]) for name in names]
    asked: list[str] = []
    with store.engine.begin() as connection:
        if store.file_monitor:
            driver_of(connection).set_trace_callback(asked.append)
        else:
            sa.event.listen(connection, "before_cursor_execute", lambda *how: asked.append(how[2]))
        inserted = candles.insert(connection, Timeframe.M1, batches)
        if store.file_monitor:
            driver_of(connection).set_trace_callback(None)
    assert inserted == [1] * 500
    assert len(asked) < 20
    span = TimeRange(end - MINUTE, end + MINUTE)
    stored = read(store, lambda db: coverage_blocks.load(db, Timeframe.M1, span, names))
    assert {stored[name].live.count(span) for name in names} == {2}


def test_an_empty_batch_inserts_nothing(store, candle, end):
    """And does not shift the counts of the others."""
    batches = [CandleBatch("A", Source.LIVE, []), CandleBatch("A", Source.LIVE, [candle(end)])]
    assert insert(store, *batches) == [0, 1]
    assert insert(store) == []


@pytest.mark.parametrize(
    "text",
    ["0.1", "96432.123456789", "0.000000012345678", "123456789012345", "1e-7", "99999.99999999999"],
)
def test_a_decimal_of_15_digits_survives(store, candle, end, text):
    """The wire's own strings go in and come out as the same number."""
    insert(store, CandleBatch("A", Source.LIVE, [candle(end)._replace(close=float(text))]))
    query = "SELECT close FROM candles"
    stored = read(store, lambda db: db.exec_driver_sql(query).scalar())
    assert stored == float(text)
    assert f"{stored:.15g}" == f"{float(text):.15g}"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.floats(0, allow_infinity=False), min_size=7, max_size=7))
def test_doubles_survive_to_the_last_bit(store, values):
    """Any finite ones."""
    with store.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM candles")
        candles.insert(
            connection, Timeframe.M1, [CandleBatch("A", Source.LIVE, [Candle(0, *values)])]
        )
        row = connection.exec_driver_sql("SELECT * FROM candles").one()
    assert list(row[3:10]) == values


@pytest.mark.sqlite
def test_what_another_process_writes_is_noticed(store, database, candle, end):
    """`changes` differs after others wrote, and only then."""
    other = open_store(database)
    try:
        before = read(store, candles.changes)
        insert(store, CandleBatch("A", Source.LIVE, [candle(end)]))
        assert read(store, candles.changes) == before
        insert(other, CandleBatch("B", Source.LIVE, [candle(end)]))
        assert read(store, candles.changes) != before
    finally:
        other.close()


@pytest.mark.parametrize("dialect", [sqlite.dialect(), postgresql.dialect()])
@pytest.mark.parametrize("table", metadata.sorted_tables, ids=lambda table: table.name)
def test_every_table_can_be_made_on_both_engines(table, dialect):
    """Long integers for times, doubles for prices."""
    text = str(CreateTable(table).compile(dialect=dialect))
    assert "BIGINT" in text or table.name == "suspension"
    if table.name == "candles":
        assert text.count("DOUBLE") == 7
