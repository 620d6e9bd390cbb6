"""Laws of the blocks of coverage: they say what the candles say, whoever writes to those."""

from contextlib import suppress

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blofin_agent.domain.bar_set import BarSet
from blofin_agent.domain.candle import DAY, Candle, CandleBatch, Source, Timeframe
from blofin_agent.domain.coverage_blocks import (
    BARS_PER_BLOCK,
    CoverageBlock,
    block_ms,
    block_starts,
    pack,
)
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.domain.verification import CandleDifference
from blofin_agent.store.database import open_store
from blofin_agent.store.tables import candles, coverage_block_sql, coverage_blocks, verifications
from blofin_agent.store.url import parse

SYMBOLS = ("A", "B")
VALUES = (2.5, 3.0, 1.0, 2.0, 10.0, 0.5, 20.0)
LAST = 2 * BARS_PER_BLOCK + 9
"""The bars that the laws play with: the end of a block, a whole one, and the begin of a third."""


def first(bar, end):
    return bar.floor(block_starts(bar, TimeRange(end, end + 1))[0] - 9 * bar.ms)


def write(store, work):
    with store.engine.begin() as connection:
        return work(connection)


def insert(store, symbol, source, times, bar=Timeframe.M1):
    rows = [Candle(time, *VALUES) for time in times]
    write(store, lambda db: candles.insert(db, bar, [CandleBatch(symbol, source, rows)]))


def load(store, span, bar=Timeframe.M1, symbols=SYMBOLS):
    return store.read_here(lambda db: coverage_blocks.load(db, bar, span, symbols))


def query(store, text):
    return store.read_here(lambda db: [tuple(row) for row in db.exec_driver_sql(text)])


def inserted(time, source, otherwise=""):
    """The statement by which somebody else inserts a candle of A."""
    return (
        f"INSERT INTO candles VALUES ('A', '1m', {time}, 2.5, 3, 1, 2, 10, 0.5, 20, '{source}') "
        f"{otherwise}"
    )


def by_rows(store, span, bar=Timeframe.M1):
    """What the candles say, by the simplest means there are."""
    text = (
        f"SELECT symbol, open_time, source FROM candles WHERE bar = '{bar.value}' "
        f"AND open_time >= {span.start} AND open_time < {span.end}"
    )
    found = {}
    stored = query(store, text)
    for one in SYMBOLS:
        held = [time for symbol, time, _ in stored if symbol == one]
        live = [time for symbol, time, source in stored if (symbol, source) == (one, "blofin_ws")]
        found[one] = tuple(BarSet.of(bar, times).within(span) for times in (held, live))
    return found


def claimed(store, bar=Timeframe.M1):
    """The blocks as they are stored."""
    text = "SELECT symbol, start, held, live FROM coverage_blocks WHERE bar = '{}'"
    return {
        (symbol, start): CoverageBlock(
            int.from_bytes(held, "little"), int.from_bytes(live, "little")
        )
        for symbol, start, held, live in query(store, text.format(bar.value))
    }


def counted(store, keys, bar=Timeframe.M1):
    """What they would be if they were made of the candles now."""
    return store.read_here(lambda db: coverage_blocks._counted(db, bar, list(keys)))


# -- whoever writes -------------------------------------------------------------------------------

bits = st.integers(0, LAST)
pieces = st.tuples(bits, st.integers(1, BARS_PER_BLOCK)).map(
    lambda run: range(run[0], run[0] + run[1])
)
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
    """Those on an emptied database."""

    def __init__(self, ours, theirs, bar, origin):
        self.ours, self.theirs = ours, theirs
        self.bar, self.origin = bar, origin
        self.span = TimeRange(origin, origin + (LAST + BARS_PER_BLOCK + 1) * bar.ms)
        for table in ("candles", "coverage_blocks", "replaced_candles"):
            self.theirs(f"DELETE FROM {table}")

    def at(self, number):
        return self.origin + number * self.bar.ms

    def candle(self, number):
        return Candle(self.at(number), *VALUES)

    def do(self, deed, *how):
        getattr(self, deed.replace(" ", "_"))(*how)

    def insert(self, which, symbol, source, numbers):
        insert(self.ours[which], symbol, source, map(self.at, numbers), self.bar)

    def insert_and_die(self, which, symbol, source, numbers):
        rows = CandleBatch(symbol, source, [self.candle(number) for number in numbers])
        with self.ours[which].engine.connect() as connection, connection.begin() as dying:
            candles.insert(connection, self.bar, [rows])
            dying.rollback()

    def repair(self, which, symbol, number, missing):
        old = self.candle(number)
        differences = [CandleDifference(old, old._replace(close=2.25))]
        rows = [self.candle(one) for one in missing]
        write(
            self.ours[which],
            lambda db: verifications.repair(db, symbol, self.bar, differences, rows, 1),
        )

    def their_insert(self, symbol, source, number):
        with suppress(sa.exc.IntegrityError):
            self.theirs(
                "INSERT INTO candles VALUES (:symbol, :bar, :time, 2.5, 3, 1, 2, 10, 0.5, 20, "
                ":source) ON CONFLICT DO NOTHING",
                symbol=symbol,
                bar=self.bar.value,
                source=source.value,
                time=self.at(number),
            )

    def their_delete(self, symbol, numbers):
        self.theirs(
            "DELETE FROM candles WHERE symbol = :symbol AND open_time BETWEEN :first AND :last",
            symbol=symbol,
            first=self.at(numbers[0]),
            last=self.at(numbers[-1]),
        )

    def their_update(self, symbol, number, to, source):
        # There may be one at that time already; or, on PostgreSQL, no partition for it.
        with suppress(sa.exc.IntegrityError):
            self.theirs(
                "UPDATE candles SET open_time = :to, source = :source WHERE symbol = :symbol "
                "AND open_time = :time",
                symbol=symbol,
                source=source.value,
                time=self.at(number),
                to=self.at(to),
            )

    def mend(self, symbol):
        these = list(block_starts(self.bar, self.span))
        write(self.ours[0], lambda db: coverage_blocks.repair_blocks(db, self.bar, symbol, these))


@pytest.fixture
def two(database):
    """Two processes of ours, and somebody with an SQL prompt."""
    engine = sa.create_engine(parse(database))

    def tell(text, **values):
        with engine.begin() as connection:
            connection.execute(sa.text(text), values)

    ours = [open_store(database) for _ in range(2)]
    yield ours, tell
    engine.dispose()
    for store in ours:
        store.close()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), done=st.lists(st.lists(deeds, min_size=1, max_size=3), max_size=6))
@pytest.mark.slow("hypothesis on a real database")
def test_blocks_as_they_are_read_are_what_the_rows_say(two, end, data, done):
    """After whatever was done, by however many; and none ever claims more than there is."""
    ours, theirs = two
    # A candle a week is a partition a candle, on PostgreSQL: that takes too long here.
    weekly = [Timeframe.W1] if ours[0].file_monitor else []
    bar = data.draw(st.sampled_from([Timeframe.M1, Timeframe.H4, *weekly]))
    house = House(ours, theirs, bar, first(bar, end))
    for deeds_now in done:
        for deed in deeds_now:
            house.do(*deed)
        assert load(ours[0], house.span, bar) == by_rows(ours[1], house.span, bar)
        told = claimed(ours[0], bar)
        for key, rows in counted(ours[1], told, bar).items():
            assert not told[key].held & ~rows.held


@pytest.mark.parametrize("bar", Timeframe)
def test_a_deleted_candle_takes_its_block_with_it(store, other, end, bar):
    """Of every bar that there is, in all programs that write to the database; no other block."""
    origin = first(bar, end)
    insert(store, "A", Source.LIVE, [origin + n * bar.ms for n in range(20)], bar)
    insert(store, "B", Source.LIVE, [origin], bar)
    before = set(claimed(store, bar))
    assert len(before) == 3
    other("DELETE FROM candles WHERE symbol = 'A' AND open_time = :time", time=origin)
    (gone,) = before - set(claimed(store, bar))
    assert gone == ("A", origin // block_ms(bar) * block_ms(bar))


@pytest.mark.parametrize(
    "change",
    ["symbol = 'C'", "bar = '5m'", "source = 'x'", f"open_time = open_time + {DAY}"],
)
def test_a_candle_that_is_moved_takes_its_block_with_it(store, other, end, change):
    """No other's."""
    insert(store, "A", Source.LIVE, [end])
    insert(store, "B", Source.LIVE, [end])
    other(f"UPDATE candles SET {change} WHERE symbol = 'A'")
    assert {symbol for symbol, _ in claimed(store)} == {"B"}


def test_a_candle_that_moves_to_another_week_takes_its_block_with_it(store, other, end):
    """On PostgreSQL it goes to another partition."""
    insert(store, "A", Source.LIVE, [end, end + 7 * DAY])
    other(f"UPDATE candles SET open_time = open_time + {6 * DAY} WHERE open_time = {end}")
    assert set(claimed(store)) == {("A", (end + 7 * DAY) // DAY * DAY)}
    span = TimeRange(end - DAY, end + 8 * DAY)
    assert load(store, span) == by_rows(store, span)


@pytest.mark.sqlite
def test_a_price_that_is_changed_takes_no_block(store, other, end):
    """PostgreSQL's triggers are not told which columns were changed; it is made anew there."""
    insert(store, "A", Source.LIVE, [end])
    other("UPDATE candles SET close = 9")
    assert {symbol for symbol, _ in claimed(store)} == {"A"}


@pytest.mark.parametrize("way", ["DELETE FROM candles", "TRUNCATE candles"])
def test_all_candles_deleted_at_once_take_all_blocks_with_them(store, other, end, way):
    """SQLite may not empty the table in one stroke; PostgreSQL can be asked to."""
    if "TRUNCATE" in way and store.engine.dialect.name == "sqlite":
        way = "DELETE FROM candles WHERE true"
    insert(store, "A", Source.FILL, range(end - 2 * DAY, end, Timeframe.M1.ms))
    other(way)
    assert claimed(store) == {}
    assert load(store, TimeRange(end - 2 * DAY, end))["A"].held.bits == 0


def test_what_somebody_inserted_before_us_is_not_called_live(store, other, end):
    """The block did not know of it; then it is made of the candles."""
    insert(store, "A", Source.LIVE, [end])
    other(inserted(end + Timeframe.M1.ms, "x"))
    insert(store, "A", Source.LIVE, [end + n * Timeframe.M1.ms for n in range(3)])
    told = claimed(store)
    assert told == counted(store, told)
    assert [one.live.bit_count() for one in told.values()] == [2]


# -- what is read ---------------------------------------------------------------------------------


def test_what_is_loaded_costs_the_same_however_many_candles_are_stored(store, steps, end):
    """Where the blocks are whole no candle is read: not those in the window, nor others."""
    span = TimeRange(end - 7 * DAY, end)
    for symbol in SYMBOLS:
        insert(store, symbol, Source.LIVE, [end - 7 * DAY])
    few = steps(lambda db: coverage_blocks.load(db, Timeframe.M1, span, SYMBOLS))
    for symbol in SYMBOLS:
        insert(store, symbol, Source.FILL, range(end - 30 * DAY, end, Timeframe.M1.ms))
    many = steps(lambda db: coverage_blocks.load(db, Timeframe.M1, span, SYMBOLS))
    blocks_more = 2 * 6
    assert many < few + 30 * blocks_more
    write(store, lambda db: db.exec_driver_sql("DELETE FROM coverage_blocks"))
    assert (
        steps(lambda db: coverage_blocks.load(db, Timeframe.M1, span, SYMBOLS))
        > 2 * 7 * BARS_PER_BLOCK
    )


def test_a_scattered_window_is_looked_at_without_reading_it(store, other, steps, end):
    """Every other bar is missing: they are counted by the index alone, and not looked up."""
    span = TimeRange(end - DAY, end)
    held = range(span.start, span.end, 2 * Timeframe.M1.ms)
    insert(store, "A", Source.FILL, held)
    assert load(store, span, symbols=["A"])["A"].held.count(span) == len(held)
    assert steps(lambda db: coverage_blocks.load(db, Timeframe.M1, span, ["A"])) < 6 * len(held)
    other(inserted(span.start + Timeframe.M1.ms, "blofin_ws"))
    stored = load(store, span, symbols=["A"])["A"]
    assert stored.held.count(span) == len(held) + 1
    assert stored.live.count(span) == 1


def test_blocks_of_many_symbols_are_found_by_their_key(store, other, steps, end):
    """Never by going through the table."""
    span = TimeRange(end - DAY, end)
    other(f"INSERT INTO coverage_blocks VALUES ('1m', {span.start // DAY * DAY}, 'A', '', '')")
    few = steps(
        lambda db: coverage_block_sql.read(
            db, Timeframe.M1, block_starts(Timeframe.M1, span), SYMBOLS
        )
    )
    these = [f"('1m', {day * DAY}, 'S{n}', '', '')" for day in range(40) for n in range(100)]
    other(f"INSERT INTO coverage_blocks VALUES {', '.join(these)}")
    many = steps(
        lambda db: coverage_block_sql.read(
            db, Timeframe.M1, block_starts(Timeframe.M1, span), SYMBOLS
        )
    )
    assert many < few + 20


def test_portions_are_all_symbols_and_small(end):
    """A few milliseconds each: a commit waits no longer."""
    names = [f"S{number}" for number in range(95)]
    parts = coverage_blocks.portions(names, Timeframe.M1, TimeRange(end - 7 * DAY, end))
    assert [name for part in parts for name in part] == names
    assert {len(part) for part in parts} == {9, 5}
    assert len(coverage_blocks.portions(names, Timeframe.M1, TimeRange(end - 700 * DAY, end))) == 95


# -- the proof ------------------------------------------------------------------------------------


def test_a_block_that_is_wrong_is_found_and_mended(store, other, end):
    """Too much, too little, or none where there should be one; one that says nothing is no lie."""
    span = TimeRange(end - 3 * DAY, end)
    insert(store, "A", Source.LIVE, range(span.start + DAY, span.end, Timeframe.M1.ms))
    these = list(block_starts(Timeframe.M1, span))

    def wrong():
        return store.read_here(
            lambda db: coverage_blocks.find_wrong_blocks(db, Timeframe.M1, "A", these)
        )

    assert wrong() == []
    full = pack((1 << BARS_PER_BLOCK) - 1)
    other("UPDATE coverage_blocks SET held = :x WHERE start = :at", x=full, at=these[-1])
    other("UPDATE coverage_blocks SET live = :x WHERE start = :at", x=b"", at=these[-2])
    other("DELETE FROM coverage_blocks WHERE start = :at", at=these[-3])
    other("INSERT INTO coverage_blocks VALUES ('1m', :at, 'A', :x, :x)", at=these[0], x=b"")
    assert wrong() == these[-3:]
    write(store, lambda db: coverage_blocks.repair_blocks(db, Timeframe.M1, "A", these[-3:]))
    assert wrong() == []
    assert load(store, span) == by_rows(store, span)


def test_a_database_without_blocks_is_read_by_its_candles(store, other, end):
    """As after an upgrade, or when somebody emptied the table."""
    span = TimeRange(end - 3 * DAY, end)
    insert(store, "A", Source.LIVE, range(span.start, span.end, 2 * Timeframe.M1.ms))
    insert(store, "A", Source.FILL, range(span.start, span.end, 3 * Timeframe.M1.ms))
    other("DELETE FROM coverage_blocks")
    assert load(store, span) == by_rows(store, span)
    insert(store, "A", Source.LIVE, [span.start + Timeframe.M1.ms])
    told = claimed(store)
    assert told == counted(store, told)
    assert load(store, span) == by_rows(store, span)
