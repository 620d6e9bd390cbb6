"""Laws of the blocks of coverage: they say what the candles say, whoever writes to those."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql

from blofin_agent.core.blocks import BARS, Block, length_ms, pack, starts
from blofin_agent.core.candle import DAY, Bar, Candle, Source
from blofin_agent.core.compare import Difference
from blofin_agent.core.coverage import Coverage, Span
from blofin_agent.store import blocks, candles, verifications
from blofin_agent.store.candles import Rows
from blofin_agent.store.engine import open_store

SYMBOLS = ("A", "B")
VALUES = (2.5, 3.0, 1.0, 2.0, 10.0, 0.5, 20.0)
LAST = 2 * BARS + 9
"""The bars that the laws play with: the end of a block, a whole one, and the begin of a third."""


def first(bar, end):
    return bar.floor(starts(bar, Span(end, end + 1))[0] - 9 * bar.ms)


def write(store, work):
    with store.engine.begin() as connection:
        return work(connection)


def insert(store, symbol, source, times, bar=Bar.M1):
    rows = [Candle(time, *VALUES) for time in times]
    write(store, lambda db: candles.insert(db, bar, [Rows(symbol, source, rows)]))


def load(store, span, bar=Bar.M1, symbols=SYMBOLS):
    return store.read_here(lambda db: blocks.load(db, bar, span, symbols))


def query(store, text):
    return store.read_here(lambda db: [tuple(row) for row in db.exec_driver_sql(text)])


def by_rows(store, span, bar=Bar.M1):
    """What the candles say, by the simplest means there are."""
    found = {}
    for symbol in SYMBOLS:
        held, live = (
            Coverage.of(
                bar,
                [
                    time
                    for (time,) in query(
                        store,
                        "SELECT open_time FROM candles WHERE "
                        f"symbol = '{symbol}' AND bar = '{bar.value}' AND source LIKE '{source}' "
                        f"AND open_time >= {span.start} AND open_time < {span.end}",
                    )
                ],
            )
            for source in ("%", Source.LIVE.value)
        )
        found[symbol] = (held.within(span), live.within(span))
    return found


def claimed(store, bar=Bar.M1):
    """The blocks as they are stored."""
    text = "SELECT symbol, start, held, live FROM coverage_blocks WHERE bar = '{}'"
    return {
        (symbol, start): Block(int.from_bytes(held, "little"), int.from_bytes(live, "little"))
        for symbol, start, held, live in query(store, text.format(bar.value))
    }


def counted(store, keys, bar=Bar.M1):
    """What they would be if they were made of the candles now."""
    return {
        key: store.read_here(lambda db, key=key: blocks._counted(db, bar, *key)) for key in keys
    }


# -- whoever writes -------------------------------------------------------------------------------

bits = st.integers(0, LAST)
pieces = st.tuples(bits, st.integers(1, BARS)).map(lambda run: range(run[0], run[0] + run[1]))
times = st.lists(bits, max_size=20) | pieces
symbols = st.sampled_from(SYMBOLS)
sources = st.sampled_from(list(Source))
deeds = st.one_of(
    st.tuples(st.just("insert"), st.booleans(), symbols, sources, times),
    st.tuples(st.just("insert and die"), st.booleans(), symbols, sources, times),
    st.tuples(st.just("repair"), st.booleans(), symbols, bits, times),
    st.tuples(st.just("their insert"), symbols, sources, bits),
    st.tuples(st.just("their delete"), symbols, pieces),
    st.tuples(st.just("their update"), symbols, bits, bits, sources),
    st.tuples(st.just("mend"), symbols),
)


class House:
    """Two processes of ours on a database, and somebody with an SQL prompt."""

    def __init__(self, path, bar, origin):
        self.ours = [open_store(f"sqlite:///{path}") for _ in range(2)]
        self.theirs = sqlite3.connect(path, isolation_level=None)
        self.bar, self.origin = bar, origin
        self.span = Span(origin, origin + (LAST + BARS + 1) * bar.ms)

    def at(self, number):
        return self.origin + number * self.bar.ms

    def candle(self, number):
        return Candle(self.at(number), *VALUES)

    def do(self, deed, *how):
        getattr(self, deed.replace(" ", "_"))(*how)

    def insert(self, which, symbol, source, numbers):
        insert(self.ours[which], symbol, source, map(self.at, numbers), self.bar)

    def insert_and_die(self, which, symbol, source, numbers):
        rows = Rows(symbol, source, [self.candle(number) for number in numbers])
        with self.ours[which].engine.connect() as connection, connection.begin() as dying:
            candles.insert(connection, self.bar, [rows])
            dying.rollback()

    def repair(self, which, symbol, number, missing):
        old = self.candle(number)
        differences = [Difference(old, old._replace(close=2.25))]
        rows = [self.candle(one) for one in missing]
        write(
            self.ours[which],
            lambda db: verifications.repair(db, symbol, self.bar, differences, rows, 1),
        )

    def their_insert(self, symbol, source, number):
        self.theirs.execute(
            "INSERT OR IGNORE INTO candles VALUES (?,?,?,?,?,?,?,?,?,?,?)",
            (symbol, self.bar.value, *self.candle(number), source.value),
        )

    def their_delete(self, symbol, numbers):
        self.theirs.execute(
            "DELETE FROM candles WHERE symbol = ? AND open_time BETWEEN ? AND ?",
            (symbol, self.at(numbers[0]), self.at(numbers[-1])),
        )

    def their_update(self, symbol, number, to, source):
        self.theirs.execute(
            "UPDATE OR IGNORE candles SET open_time = ?, source = ? WHERE symbol = ? "
            "AND open_time = ?",
            (self.at(to), source.value, symbol, self.at(number)),
        )

    def mend(self, symbol):
        these = list(starts(self.bar, self.span))
        write(self.ours[0], lambda db: blocks.mend(db, self.bar, symbol, these))

    def close(self):
        self.theirs.close()
        for store in self.ours:
            store.close()


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    bar=st.sampled_from([Bar.M1, Bar.H4, Bar.W1]),
    done=st.lists(st.lists(deeds, min_size=1, max_size=3), max_size=6),
)
def test_blocks_as_they_are_read_are_what_the_rows_say(tmp_path, empty_database, end, bar, done):
    """After whatever was done, by however many; and none ever claims more than there is."""
    path = tmp_path / "played.db"
    path.write_bytes(Path(empty_database).read_bytes())
    house = House(path, bar, first(bar, end))
    try:
        for deeds_now in done:
            for deed in deeds_now:
                house.do(*deed)
            assert load(house.ours[0], house.span, bar) == by_rows(house.ours[1], house.span, bar)
            told = claimed(house.ours[0], bar)
            for key, rows in counted(house.ours[1], told, bar).items():
                assert not told[key].held & ~rows.held
    finally:
        house.close()
        path.unlink()


@pytest.mark.parametrize("bar", Bar)
def test_a_deleted_candle_takes_its_block_with_it(store, end, bar):
    """Of every bar that there is, in all programs that write to the database; no other block."""
    origin = first(bar, end)
    insert(store, "A", Source.LIVE, [origin + n * bar.ms for n in range(20)], bar)
    insert(store, "B", Source.LIVE, [origin], bar)
    before = set(claimed(store, bar))
    assert len(before) == 3
    with closing(sqlite3.connect(store.where)) as other, other:
        other.execute("DELETE FROM candles WHERE symbol = 'A' AND open_time = ?", (origin,))
    (gone,) = before - set(claimed(store, bar))
    assert gone == ("A", origin // length_ms(bar) * length_ms(bar))


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ("symbol = 'C'", {"B"}),
        ("bar = '5m'", {"B"}),
        ("source = 'x'", {"B"}),
        (f"open_time = open_time + {DAY}", {"B"}),
        ("close = 9", {"A", "B"}),
    ],
)
def test_a_candle_that_is_moved_takes_its_block_with_it(store, end, change, left):
    """A price that is changed does not."""
    insert(store, "A", Source.LIVE, [end])
    insert(store, "B", Source.LIVE, [end])
    with closing(sqlite3.connect(store.where)) as other, other:
        other.execute(f"UPDATE candles SET {change} WHERE symbol = 'A'")
    assert {symbol for symbol, _ in claimed(store)} == left


def test_all_candles_deleted_at_once_take_all_blocks_with_them(store, end):
    """SQLite may not empty the table in one stroke."""
    insert(store, "A", Source.FILL, range(end - 2 * DAY, end, Bar.M1.ms))
    with closing(sqlite3.connect(store.where)) as other, other:
        other.execute("DELETE FROM candles")
    assert claimed(store) == {}
    assert load(store, Span(end - 2 * DAY, end))["A"].held.bits == 0


def test_what_somebody_inserted_before_us_is_not_called_live(store, end):
    """The block did not know of it; then it is made of the candles."""
    insert(store, "A", Source.LIVE, [end])
    with closing(sqlite3.connect(store.where)) as other, other:
        other.execute(
            "INSERT INTO candles VALUES ('A','1m',?,?,?,?,?,?,?,?,'x')", (end + Bar.M1.ms, *VALUES)
        )
    insert(store, "A", Source.LIVE, [end + n * Bar.M1.ms for n in range(3)])
    told = claimed(store)
    assert told == counted(store, told)
    assert [one.live.bit_count() for one in told.values()] == [2]


# -- what is read ---------------------------------------------------------------------------------


def test_what_is_loaded_costs_the_same_however_many_candles_are_stored(store, steps, end):
    """Where the blocks are whole no candle is read: not those in the window, nor others."""
    span = Span(end - 7 * DAY, end)
    for symbol in SYMBOLS:
        insert(store, symbol, Source.LIVE, [end - 7 * DAY])
    few = steps(lambda db: blocks.load(db, Bar.M1, span, SYMBOLS))
    for symbol in SYMBOLS:
        insert(store, symbol, Source.FILL, range(end - 30 * DAY, end, Bar.M1.ms))
    many = steps(lambda db: blocks.load(db, Bar.M1, span, SYMBOLS))
    blocks_more = 2 * 6
    assert many < few + 30 * blocks_more
    write(store, lambda db: db.exec_driver_sql("DELETE FROM coverage_blocks"))
    assert steps(lambda db: blocks.load(db, Bar.M1, span, SYMBOLS)) > 2 * 7 * BARS


def test_a_scattered_window_is_looked_at_without_reading_it(store, steps, end):
    """Every other bar is missing: they are counted by the index alone, and not looked up."""
    span = Span(end - DAY, end)
    held = range(span.start, span.end, 2 * Bar.M1.ms)
    insert(store, "A", Source.FILL, held)
    assert load(store, span, symbols=["A"])["A"].held.count(span) == len(held)
    assert steps(lambda db: blocks.load(db, Bar.M1, span, ["A"])) < 6 * len(held)
    with closing(sqlite3.connect(store.where)) as other, other:
        other.execute(
            "INSERT INTO candles VALUES ('A','1m',?,?,?,?,?,?,?,?,'blofin_ws')",
            (span.start + Bar.M1.ms, *VALUES),
        )
    stored = load(store, span, symbols=["A"])["A"]
    assert stored.held.count(span) == len(held) + 1
    assert stored.live.count(span) == 1


def test_blocks_of_many_symbols_are_found_by_their_key(store):
    """Never by going through the table."""
    plan = query(
        store,
        "EXPLAIN QUERY PLAN SELECT held FROM coverage_blocks "
        "WHERE bar = '1m' AND start IN (1, 2) AND symbol IN ('A', 'B')",
    )
    assert [detail for *_, detail in plan] == [
        "SEARCH coverage_blocks USING PRIMARY KEY (bar=? AND start=? AND symbol=?)"
    ]


def test_portions_are_all_symbols_and_small(end):
    """A few milliseconds each: a commit waits no longer."""
    names = [f"S{number}" for number in range(95)]
    parts = blocks.portions(names, Bar.M1, Span(end - 7 * DAY, end))
    assert [name for part in parts for name in part] == names
    assert {len(part) for part in parts} == {9, 5}
    assert len(blocks.portions(names, Bar.M1, Span(end - 700 * DAY, end))) == 95


# -- the proof ------------------------------------------------------------------------------------


def tamper(store, text, *values):
    with closing(sqlite3.connect(store.where)) as other, other:
        other.execute(text, values)


def test_a_block_that_is_wrong_is_found_and_mended(store, end):
    """Too much, too little, or none where there should be one; one that says nothing is no lie."""
    span = Span(end - 3 * DAY, end)
    insert(store, "A", Source.LIVE, range(span.start + DAY, span.end, Bar.M1.ms))
    these = list(starts(Bar.M1, span))

    def wrong():
        return store.read_here(lambda db: blocks.wrong(db, Bar.M1, "A", these))

    assert wrong() == []
    full = pack((1 << BARS) - 1)
    tamper(store, "UPDATE coverage_blocks SET held = ? WHERE start = ?", full, these[-1])
    tamper(store, "UPDATE coverage_blocks SET live = ? WHERE start = ?", b"", these[-2])
    tamper(store, "DELETE FROM coverage_blocks WHERE start = ?", these[-3])
    tamper(store, "INSERT INTO coverage_blocks VALUES ('1m', ?, 'A', ?, ?)", these[0], b"", b"")
    assert wrong() == these[-3:]
    write(store, lambda db: blocks.mend(db, Bar.M1, "A", these[-3:]))
    assert wrong() == []
    assert load(store, span) == by_rows(store, span)


def test_a_database_without_blocks_is_read_by_its_candles(store, end):
    """As after an upgrade, or when somebody emptied the table."""
    span = Span(end - 3 * DAY, end)
    insert(store, "A", Source.LIVE, range(span.start, span.end, 2 * Bar.M1.ms))
    insert(store, "A", Source.FILL, range(span.start, span.end, 3 * Bar.M1.ms))
    tamper(store, "DELETE FROM coverage_blocks")
    assert load(store, span) == by_rows(store, span)
    insert(store, "A", Source.LIVE, [span.start + Bar.M1.ms])
    told = claimed(store)
    assert told == counted(store, told)
    assert load(store, span) == by_rows(store, span)


class Recorder:
    """A connection to a PostgreSQL that is not there: it compiles what it is given."""

    rowcount = 1

    def __init__(self):
        self.dialect = postgresql.psycopg.dialect()
        self.texts = []

    def execute(self, statement, _values=None):
        self.texts.append(str(statement.compile(dialect=self.dialect)))
        return self

    def scalar(self, statement, values):
        self.execute(statement, values)
        return 1

    def exec_driver_sql(self, text, _rows=None):
        self.texts.append(text)
        return self

    def all(self):
        return []

    def __iter__(self):
        return iter(())


def test_the_statements_compile_for_postgresql(end):
    """There one who writes keeps others who do from the table of blocks."""
    recorder = Recorder()
    rows = [Rows("A", Source.LIVE, [Candle(end, *VALUES)])]
    blocks.enter(recorder, Bar.M1, rows, [1])
    lock, *_, write_them = recorder.texts
    assert lock == "LOCK TABLE coverage_blocks IN SHARE ROW EXCLUSIVE MODE"
    assert "VALUES (%s, %s, %s, %s, %s) ON CONFLICT (bar, start, symbol) DO UPDATE" in write_them
    blocks.load(recorder, Bar.M1, Span(end - DAY, end), ["A"])
    blocks.wrong(recorder, Bar.M1, "A", [end])
    blocks.mend(recorder, Bar.M1, "A", [end])
