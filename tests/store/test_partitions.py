"""Laws of the partitions of candles: a table a week, on PostgreSQL."""

import random
import threading
from functools import partial
from itertools import pairwise

import pytest

from blofin_agent.domain.bar_set import BarSet
from blofin_agent.domain.candle import DAY, HOUR, MINUTE, Candle, CandleBatch, Source, Timeframe
from blofin_agent.domain.coverage_blocks import block_starts
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.store.errors import StoreUnavailable, translate_errors
from blofin_agent.store.postgresql import partitions
from blofin_agent.store.postgresql.partitions import WEEK, WEEKS_AHEAD, Partition
from blofin_agent.store.tables import candles, coverage_blocks

pytestmark = pytest.mark.postgresql

START = 2_900 * WEEK
"""A week in 2025 that begins then (ms)."""


def insert(store, *times, symbol="A", bar=Timeframe.M1):
    rows = [Candle(time, 2.5, 3, 1, 2, 10, 0.5, 20) for time in times]
    return write(store, candles.insert, bar, [CandleBatch(symbol, Source.FILL, rows)])


def write(store, work, *args):
    with translate_errors("it"), store.engine.begin() as connection:
        return work(connection, *args)


def found(store):
    return store.read_here(partitions.found)


def weeks(store):
    """The starts of the partitions that are there, in weeks after START."""
    return [(one.start - START) / WEEK for one in found(store)]


def agree(store, rows, span, symbol="A", bar=Timeframe.M1):
    """See that the blocks say what the rows say."""
    wrong = partial(
        coverage_blocks.find_wrong_blocks,
        bar=bar,
        symbol=symbol,
        these=list(block_starts(bar, span)),
    )
    assert store.read_here(wrong) == []
    held = rows(f"SELECT open_time FROM candles WHERE symbol = '{symbol}' AND bar = '{bar.value}'")
    loaded = store.read_here(partial(coverage_blocks.load, bar=bar, span=span, symbols=[symbol]))
    assert loaded[symbol].held == BarSet.of(bar, [time for (time,) in held]).within(span)


def test_a_partition_is_made_with_the_first_candle_of_its_week(store, rows):
    """From the first millisecond of it to the last; there is none before."""
    assert found(store) == []
    assert insert(store, START, START + WEEK - 1, START + 3 * WEEK) == [3]
    assert found(store) == [
        Partition(START, START + WEEK, "candles_20250731"),
        Partition(START + 3 * WEEK, START + 4 * WEEK, "candles_20250821"),
    ]
    assert rows("SELECT open_time FROM candles_20250731 ORDER BY 1") == [
        (START,),
        (START + WEEK - 1,),
    ]
    assert insert(store, START + MINUTE, START - 1) == [2]
    assert weeks(store) == [-1, 0, 3]


def test_a_partition_finds_its_candles_by_their_key(store, rows):
    """It has the same key, and refuses what is there already."""
    insert(store, START)
    ((definition,),) = rows("SELECT indexdef FROM pg_indexes WHERE tablename = 'candles_20250731'")
    assert "UNIQUE" in definition
    assert definition.endswith("(symbol, bar, open_time)")
    assert insert(store, START) == [0]


def test_partitions_are_made_ahead(store):
    """Of this week and some to come, once; the first candle of a week makes none then."""
    for _ in range(2):
        write(store, partitions.make_ahead, START + 3 * DAY)
        assert weeks(store) == list(range(WEEKS_AHEAD + 1))
    insert(store, START + WEEK)
    assert weeks(store) == list(range(WEEKS_AHEAD + 1))


def test_candles_of_any_year_are_stored(store, rows):
    """From 1970 to 2100."""
    times = [0, 60_000, 1_000_000_000_000, 4_102_444_800_000 - MINUTE, 4_102_444_800_000]
    assert insert(store, *times) == [5]
    assert rows("SELECT open_time FROM candles ORDER BY 1") == [(time,) for time in times]
    assert [one.table for one in found(store)] == [
        "candles_19700101",
        "candles_20010906",
        "candles_20991231",
    ]
    agree(store, rows, TimeRange(0, DAY))
    agree(store, rows, TimeRange(times[-2] - DAY, times[-1] + DAY))


def test_partitions_that_a_failed_transaction_made_are_made_again(store):
    """They went with it."""
    with store.engine.connect() as connection, connection.begin() as dying:
        partitions.make(connection, [START])
        dying.rollback()
    assert found(store) == []
    assert insert(store, START) == [1]
    assert weeks(store) == [0]


def test_two_who_need_a_partition_at_once_both_get_it(reopened, rows):
    """One makes it, and the other waits for it."""
    stores = [reopened() for _ in range(4)]
    failed = []
    ready = threading.Barrier(len(stores))

    def agent(number):
        try:
            for week in range(8):
                ready.wait(20)
                insert(stores[number], START + week * WEEK, symbol=f"S{number}")
        except Exception as error:  # noqa: BLE001 - shown by the assertion below
            failed.append(error)
            ready.abort()

    threads = [threading.Thread(target=agent, args=(number,)) for number in range(len(stores))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert weeks(stores[0]) == list(range(8))
    assert rows("SELECT count(*) FROM candles") == [(8 * len(stores),)]


# -- dropped --------------------------------------------------------------------------------------


def test_only_partitions_in_which_all_is_too_old_are_dropped(store, rows):
    """To the millisecond; and what is dropped can be stored again."""
    insert(store, *(START + week * WEEK for week in range(5)))
    assert write(store, partitions.drop_before, START + 2 * WEEK - 1) == 1
    assert weeks(store) == [1, 2, 3, 4]
    assert write(store, partitions.drop_before, START + 3 * WEEK) == 2
    assert weeks(store) == [3, 4]
    assert write(store, partitions.drop_before, START + 3 * WEEK) == 0
    assert rows("SELECT count(*) FROM candles") == [(2,)]
    assert insert(store, START) == [1]
    assert weeks(store) == [0, 3, 4]


@pytest.mark.parametrize("bar", [Timeframe.M1, Timeframe.H4, Timeframe.W1])
def test_what_is_dropped_is_no_longer_called_held(store, rows, bar):
    """No trigger tells of it; and a block may reach far beyond what is dropped."""
    times = range(bar.floor(START + WEEK), START + 8 * WEEK, max(bar.ms, HOUR))
    insert(store, *times, bar=bar)
    span = TimeRange(bar.floor(START), bar.floor(START + 9 * WEEK))
    agree(store, rows, span, bar=bar)
    assert write(store, partitions.drop_before, START + 4 * WEEK) > 0
    ((oldest,),) = rows("SELECT min(open_time) FROM candles")
    assert oldest >= START + 4 * WEEK
    loaded = store.read_here(partial(coverage_blocks.load, bar=bar, span=span, symbols=["A"]))
    assert loaded["A"].held == BarSet.of(bar, [t for t in times if t >= oldest]).within(span)
    insert(store, *times, bar=bar)
    agree(store, rows, span, bar=bar)


def test_a_partition_that_another_agent_dropped_is_made_anew(reopened, rows):
    """Who knew of it is told once, and its next try works."""
    ours, theirs = reopened(), reopened()
    for _ in range(2):
        insert(ours, START, START + WEEK)
    write(theirs, partitions.drop_before, START + WEEK)
    with pytest.raises(StoreUnavailable, match="a partition of candles is gone; it is made anew"):
        insert(ours, START, START + WEEK + MINUTE)
    assert insert(ours, START, START + WEEK + MINUTE) == [2]
    assert weeks(ours) == [0, 1]
    agree(ours, rows, TimeRange(START, START + 2 * WEEK))


def test_who_drops_and_who_stores_at_once_leave_no_false_block(reopened, rows):
    """In whatever order they come."""
    ours, theirs = reopened(), reopened()
    chance = random.Random(5)
    done, failed = threading.Event(), []

    def drop():
        try:
            while not done.is_set():
                write(theirs, partitions.drop_before, START + chance.randint(1, 3) * WEEK)
                done.wait(chance.random() / 50)
        except Exception as error:  # noqa: BLE001 - shown by the assertion below
            failed.append(error)

    dropper = threading.Thread(target=drop)
    dropper.start()
    refused = []
    try:
        for number in range(150):
            times = [START + week * WEEK + number * MINUTE for week in range(4)]
            try:
                assert insert(ours, *times) == [4]
            except StoreUnavailable as error:
                refused.append(str(error))
    finally:
        done.set()
        dropper.join()
    assert failed == []
    assert len(refused) < 100
    assert all("is gone" in text for text in refused)
    agree(ours, rows, TimeRange(START, START + 4 * WEEK))
    ((kept,),) = rows(f"SELECT count(*) FROM candles WHERE open_time >= {START + 3 * WEEK}")
    assert kept == 150 - len(refused)


# -- cut by hand ----------------------------------------------------------------------------------


def join(other, first, weeks):
    """Put so many weeks' candles into one table, as somebody with an SQL prompt does."""
    start = START + first * WEEK
    names = [partitions.name(start + week * WEEK) for week in range(weeks)]
    other(f"CREATE TABLE joined_{first} (LIKE candles)")
    for name in names:
        other(f"INSERT INTO joined_{first} SELECT * FROM {name}")
        other(f"DROP TABLE {name}")
    other(
        f"ALTER TABLE candles ATTACH PARTITION joined_{first} FOR VALUES "
        f"FROM ({start}) TO ({start + weeks * WEEK})"
    )


def test_partitions_that_somebody_joined_are_respected(store, other, rows):
    """One table for two weeks takes the candles of both, and is dropped when both are old."""
    insert(store, START, START + WEEK, START + 2 * WEEK)
    join(other, 0, 2)
    assert insert(store, START + MINUTE, START + WEEK, START + 2 * WEEK - 1) == [2]
    assert weeks(store) == [0, 2]
    assert rows("SELECT count(*) FROM joined_0") == [(4,)]
    assert write(store, partitions.drop_before, START + 2 * WEEK - 1) == 0
    assert write(store, partitions.drop_before, START + 2 * WEEK) == 1
    assert rows("SELECT open_time FROM candles") == [(START + 2 * WEEK,)]


def test_what_partitions_of_another_cut_leave_of_a_week_is_filled(store, other, rows):
    """A table a day, or a month, that somebody made: nothing overlaps, and nothing is missing."""
    for number, (start, end) in enumerate([(1, 2), (4, 5), (13, 20)]):
        other(
            f"CREATE TABLE theirs_{number} PARTITION OF candles FOR VALUES "
            f"FROM ({START + start * DAY}) TO ({START + end * DAY - HOUR})"
        )
    times = range(START, START + 3 * WEEK, HOUR)
    assert insert(store, *times) == [len(times)]
    there = found(store)
    assert all(one.end == two.start for one, two in pairwise(there))
    assert (there[0].start, there[-1].end) == (START, START + 3 * WEEK)
    assert rows("SELECT count(*) FROM theirs_2") == [(7 * 24 - 1,)]
    agree(store, rows, TimeRange(START, START + 3 * WEEK))


def test_where_a_table_takes_all_that_no_other_takes_none_is_made(store, other, rows):
    """It would be refused, once the other holds what belongs there."""
    insert(store, START)
    other("CREATE TABLE rest PARTITION OF candles DEFAULT")
    assert insert(store, START + WEEK) == [1]
    assert [one.table for one in found(store)] == ["rest", "candles_20250731"]
    assert rows("SELECT open_time FROM rest") == [(START + WEEK,)]
    assert write(store, partitions.drop_before, START + 9 * WEEK) == 1


def test_a_partition_that_was_taken_out_is_not_put_back(store, other, rows):
    """Somebody keeps it apart: it is left alone, and named."""
    insert(store, START)
    other("ALTER TABLE candles DETACH PARTITION candles_20250731")
    with pytest.raises(StoreUnavailable, match="a table candles_20250731 that is no partition"):
        insert(store, START + MINUTE)
    assert rows("SELECT open_time FROM candles_20250731") == [(START,)]
    other("ALTER TABLE candles_20250731 RENAME TO kept")
    assert insert(store, START + MINUTE) == [1]
    assert rows("SELECT open_time FROM candles") == [(START + MINUTE,)]
