"""Laws of the plan: it covers the gaps, with the fewest pages, and asks for nothing needless."""

import itertools
import math

from hypothesis import example, given
from hypothesis import strategies as st

from blofin_agent.domain.bar_set import BarSet
from blofin_agent.domain.candle import Timeframe
from blofin_agent.domain.page_plan import PageRequest, next_page, plan, reached
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.domain.unavailability import page_holes

STEP = Timeframe.M1.ms
sizes = st.integers(1, 12)
runs = st.tuples(st.integers(0, 60), st.integers(1, 20)).map(lambda r: set(range(r[0], sum(r))))
wanted = st.one_of(
    st.sets(st.integers(0, 80), max_size=40),
    st.lists(runs, max_size=3).map(lambda several: set().union(*several)),
)
small = st.sets(st.integers(0, 11), max_size=12)


def gaps_of(missing: set[int]) -> list[TimeRange]:
    return BarSet.of(Timeframe.M1, [index * STEP for index in missing]).spans()


def covered(page: PageRequest) -> set[int]:
    span = page.span(Timeframe.M1)
    return set(range(span.start // STEP, span.end // STEP))


def fewest(missing: set[int], size: int) -> int:
    """The least number of stretches of `size` bars that cover the set, found by trying them all."""
    stretches = [set(range(start, start + size)) for start in missing]
    for number in itertools.count():
        for chosen in itertools.combinations(stretches, number):
            if missing <= set().union(*chosen):
                return number
    raise AssertionError


def fewest_upward(missing: set[int], size: int) -> int:
    """The same by dynamic programming, from the oldest bar upward."""
    points = sorted(missing)
    best = [0]
    for i, point in enumerate(points):
        best.append(1 + min(best[j] for j in range(i + 1) if point - points[j] < size))
    return best[-1]


@given(wanted, sizes, st.integers(0, 2))
def test_pages_cover_the_gaps(missing, size, room):
    """Every missing bar lies in a page, no page asks for more than `size` or above `newest`."""
    newest = (max(missing, default=0) + 1 + room) * STEP
    pages = plan(gaps_of(missing), Timeframe.M1, size, newest)
    assert missing <= set().union(*map(covered, pages))
    assert all(1 <= page.limit <= size and page.after <= newest for page in pages)
    assert pages == sorted(pages, reverse=True)


@given(small, st.integers(1, 5), st.integers(0, 2))
def test_no_smaller_set_of_pages_exists(missing, size, room):
    """Of all ways to lay pages none needs fewer: tried one by one."""
    newest = (max(missing, default=0) + 1 + room) * STEP
    pages = plan(gaps_of(missing), Timeframe.M1, size, newest)
    assert len(pages) == fewest(missing, size)


@given(wanted, sizes, st.integers(0, 2))
def test_the_number_of_pages_is_the_optimum(missing, size, room):
    """The same on larger sets, against dynamic programming from the other end."""
    newest = (max(missing, default=0) + 1 + room) * STEP
    assert len(plan(gaps_of(missing), Timeframe.M1, size, newest)) == fewest_upward(missing, size)


def test_a_week_costs_7_or_34_pages():
    """10,080 bars are 7 pages of 1,440 rows, 34 of 300; a complete store costs none."""
    week = [TimeRange(0, 10_080 * STEP)]
    assert len(plan(week, Timeframe.M1, 1_440, 10_080 * STEP)) == 7
    assert len(plan(week, Timeframe.M1, 300, 10_080 * STEP)) == 34
    assert plan([], Timeframe.M1, 1_440, 10_080 * STEP) == []
    assert next_page([], Timeframe.M1, 1_440, 10_080 * STEP) is None


@given(wanted.filter(bool), sizes, st.booleans())
@example(missing={7, 10, 11, 12, 13}, size=3, above=True)  # the next gap just clears the room
@example(missing={8, 10, 11, 12, 13}, size=3, above=True)
def test_a_page_asks_for_what_is_needed_and_its_neighbours(missing, size, above):
    """The newest gaps in reach, with a row on either side where there is room for it.

    Over a gap longer than the page it begins a bar above if the pages that the gap takes anyhow
    have room, which no other gap needs.
    """
    top = max(missing)
    page = next_page(gaps_of(missing), Timeframe.M1, size, (top + 1 + above) * STEP)
    lowest = min(index for index in missing if index > top - size)
    needed = set(range(lowest, top + 1))
    spare = size - len(needed)
    neighbours = [top + 1, lowest - 1] if above else [lowest - 1]
    run = gaps_of(missing)[-1].bars(Timeframe.M1)
    anyhow = set(range(top + 1 - math.ceil(run / size) * size, top + 1))
    if above and not spare and len(missing & anyhow) == run < len(anyhow):
        assert covered(page) == set(range(top + 2 - size, top + 2))
    else:
        assert covered(page) == needed | set(neighbours[:spare])


@given(st.integers(1, 200), st.integers(1, 40), st.booleans())
def test_pages_over_one_gap_overlap_as_far_as_they_have_room(length, size, above):
    """From the newest: the row above the gap, then the row at each border, then the row below."""
    gap = TimeRange(0, length * STEP)
    pages = plan([gap], Timeframe.M1, size, (length + above) * STEP)
    assert len(pages) == math.ceil(length / size)
    room = len(pages) * size - length
    edges = [length, *(page.span(Timeframe.M1).start // STEP for page in pages[:-1])]
    shared = [page.after // STEP - edge for page, edge in zip(pages, edges, strict=True)]
    first = [] if above else [0]
    assert shared == (first + [1] * room + [0] * len(pages))[: len(pages)]
    assert -pages[-1].span(Timeframe.M1).start // STEP == (sum(shared) < room)


@given(st.integers(1, 200), st.integers(2, 40), st.booleans())
def test_a_hole_is_shown_however_long(length, size, above):
    """By its first page, between the row above and those below, unless it just fills its pages."""
    hole = TimeRange(0, length * STEP)
    page = next_page([hole], Timeframe.M1, size, hole.end + above * STEP)
    rows = [hole.end, *(-index * STEP for index in range(1, size + 1))]
    answer = [time for time in rows if time < page.after][: page.limit]
    found = page_holes(answer, Timeframe.M1)
    shown = above and length % size != 0
    assert found.sure + found.doubtful == ([hole] if shown else [])


@st.composite
def answers(draw):
    """A page that was asked for, and the numbers of the rows that came."""
    missing = draw(wanted.filter(bool))
    gaps = gaps_of(missing)
    page = next_page(gaps, Timeframe.M1, draw(sizes), (max(missing) + 2) * STEP)
    rows = draw(st.lists(st.integers(-300, 90), max_size=15))
    return page, gaps, rows


@given(answers())
def test_an_answer_reaches_down_to_one_of_its_rows(answer):
    """The stretch ends at the cursor, begins with a row, and is empty when no row is older."""
    page, gaps, rows = answer
    found = reached([row * STEP for row in rows], page, gaps, Timeframe.M1)
    older = [row * STEP for row in rows if row * STEP < page.after]
    assert found.end == page.after
    assert found.start in [*older, page.after]
    assert bool(found) == bool(older)


@given(answers())
def test_an_answer_below_the_gaps_top_is_progress(answer):
    """If a row lies below the top of the newest gap, something of the gap is reached."""
    page, gaps, rows = answer
    found = reached([row * STEP for row in rows], page, gaps, Timeframe.M1)
    if any(row * STEP < gaps[-1].end for row in rows):
        assert found.meet(gaps[-1])


@given(answers(), st.randoms())
def test_the_order_of_rows_says_nothing(answer, chance):
    """Shuffled, or with a row repeated, an answer reaches as far."""
    page, gaps, rows = answer
    times = [row * STEP for row in rows]
    shuffled = times + times[:1]
    chance.shuffle(shuffled)
    assert reached(shuffled, page, gaps, Timeframe.M1) == reached(times, page, gaps, Timeframe.M1)


@given(st.integers(2, 60), st.integers(0, 3), st.sampled_from([1, 2, 10_000]))
def test_a_stray_row_is_not_followed(rows, short, far):
    """Neighbouring rows are followed, over holes up to the answer's length, one far away is not."""
    gaps = [TimeRange(-1_000 * STEP, 0)]
    page = next_page(gaps, Timeframe.M1, 100, 0)
    hole = max(0, rows - short)
    near = [-index * STEP for index in range(1, rows)]
    last = near[-1] - (hole + 1) * STEP
    times = [*near, last]
    assert reached(times, page, gaps, Timeframe.M1).start == (last if hole < rows else near[-1])
    stray = near[-1] - (rows + far) * STEP
    assert reached([*near, stray], page, gaps, Timeframe.M1).start == near[-1]
    above = [page.after, page.after + STEP]
    assert reached([*above, *near, stray], page, gaps, Timeframe.M1).start == near[-1]


def test_a_lone_far_row_is_followed():
    """With nothing of the gaps above it, even a far row is how far the answer reached."""
    gaps = [TimeRange(-1_000 * STEP, 0)]
    page = PageRequest(STEP, 100)
    assert reached([-500 * STEP], page, gaps, Timeframe.M1) == TimeRange(-500 * STEP, STEP)
    assert reached([0, -500 * STEP], page, gaps, Timeframe.M1) == TimeRange(-500 * STEP, STEP)
