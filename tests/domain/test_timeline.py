"""Laws of the strip: its columns hold what the window holds, and stay where they are."""

from hypothesis import given
from hypothesis import strategies as st

from blofin_agent.domain.bar_set import BarSet
from blofin_agent.domain.candle import DAY, HOUR, MINUTE, Timeframe
from blofin_agent.domain.symbol_coverage import SymbolCoverage
from blofin_agent.domain.time_range import TimeRange, intersect
from blofin_agent.domain.timeline import ColumnCounts, TimelineRun, make_timeline, timeline_runs
from blofin_agent.domain.unavailability import UnavailableRange

START = 1_790_000_000_000 // DAY * DAY


def history_of(held, *, listed=None, proven=()):
    history = SymbolCoverage("A", Timeframe.M1, listed)
    history.held = BarSet.of(Timeframe.M1, held)
    history.proofs = [UnavailableRange(span, 0, 1, 0) for span in proven]
    return history


def cells(history, window, most):
    """Return the strip written out, a cell a column."""
    over = make_timeline(window, history.bar, most)
    return [one.cell for one in timeline_runs(history, over) for _ in range(one.columns)]


@given(
    bar=st.sampled_from(Timeframe),
    first=st.integers(0, 2_000_000),
    bars=st.integers(0, 20_000),
    most=st.integers(2, 500),
)
def test_columns_tile_the_window(bar, first, bars, most):
    """No more than asked for, on the bar's grid, none empty."""
    start = bar.floor(first * bar.ms)
    window = TimeRange(start, start + bars * bar.ms)
    over = make_timeline(window, bar, most)
    columns = over.columns
    assert over.bars == [column.bars(bar) for column in columns]
    assert len(columns) <= most
    assert [a.end for a in columns[:-1]] == [b.start for b in columns[1:]]
    assert all(column and bar.floor(column.start) == column.start for column in columns)
    if bars:
        assert (columns[0].start, columns[-1].end) == window
    else:
        assert columns == []


def test_a_week_of_minutes_reads_in_half_hours():
    """336 half hours, and one more while the window lies across them."""
    week = TimeRange(START, START + 7 * DAY)
    assert make_timeline(week, Timeframe.M1, 400).columns[1] == TimeRange(
        START + HOUR // 2, START + HOUR
    )
    later = TimeRange(week.start + 7 * MINUTE, week.end + 7 * MINUTE)
    columns = make_timeline(later, Timeframe.M1, 400).columns
    assert len(columns) == 337
    assert columns[1:-1] == make_timeline(week, Timeframe.M1, 400).columns[1:]


def test_columns_longer_than_a_day_are_whole_days():
    """A year in 100 columns."""
    assert (
        make_timeline(TimeRange(START, START + 365 * DAY), Timeframe.H1, 100)
        .columns[5]
        .bars(Timeframe.D1)
        == 4
    )
    assert len(make_timeline(TimeRange(START, START + 365 * DAY), Timeframe.W1, 100).columns) <= 53


times = st.sets(st.integers(0, 299).map(lambda n: START + n * MINUTE))


@given(held=times, listed=st.none() | st.integers(-10, 310), edges=times, most=st.integers(2, 400))
def test_the_columns_add_up_to_the_count(held, listed, edges, most):
    """Column by column too: each bar is in one of the four."""
    window = TimeRange(START, START + 300 * MINUTE)
    marks = sorted(edges)
    proven = [TimeRange(a, b) for a, b in zip(marks[::2], marks[1::2], strict=False)]
    history = history_of(
        held, listed=None if listed is None else START + listed * MINUTE, proven=proven
    )
    found = cells(history, window, most)
    count = history.count(window)
    total = [sum(figures) for figures in zip(*found, strict=True)]
    assert total == [
        count.present,
        count.missing - count.unavailable,
        count.unavailable,
        300 - count.expected,
    ]
    for column, cell in zip(make_timeline(window, Timeframe.M1, most).columns, found, strict=True):
        assert cell.held == history.held.count(column.meet(history.expected(window)))
        assert sum(cell) == column.bars(Timeframe.M1)
        assert min(cell) >= 0


def test_neighbours_of_one_content_are_joined():
    """A whole symbol is one entry, whatever the number of columns."""
    window = TimeRange(START, START + 2 * HOUR)
    whole = history_of(range(START, window.end, MINUTE))
    over = make_timeline(window, Timeframe.M1, 13)
    assert timeline_runs(whole, over) == [TimelineRun(0, 12, ColumnCounts(10, 0, 0, 0))]
    whole.held = BarSet.of(
        Timeframe.M1, set(range(START, window.end, MINUTE)) - {START + 25 * MINUTE}
    )
    assert timeline_runs(whole, over) == [
        TimelineRun(0, 2, ColumnCounts(10, 0, 0, 0)),
        TimelineRun(2, 1, ColumnCounts(9, 1, 0, 0)),
        TimelineRun(3, 9, ColumnCounts(10, 0, 0, 0)),
    ]


spans = times.map(sorted).map(
    lambda marks: [TimeRange(a, b) for a, b in zip(marks[::2], marks[1::2], strict=False)]
)


@given(spans, spans)
def test_shared_time_is_in_both(these, those):
    """Minute by minute."""

    def minutes(found):
        return {time for span in found for time in range(span.start, span.end, MINUTE)}

    assert minutes(intersect(these, those)) == minutes(these) & minutes(those)
