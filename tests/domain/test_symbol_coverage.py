"""Laws of a symbol's history: held, missing, unavailable and not yet listed are told apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blofin_agent.domain.candle import HOUR, Candle, Timeframe
from blofin_agent.domain.symbol_coverage import CoverageCounts, Health, SymbolCoverage, health
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.domain.unavailability import PageHoles, confirm_unavailable

STEP = Timeframe.M1.ms
START = 1_767_225_600_000
WEEK = TimeRange(START, START + 10_080 * STEP)

indices = st.sets(st.integers(0, 60), max_size=40)
edges = st.tuples(st.integers(-5, 60), st.integers(0, 25)).map(lambda e: (e[0], e[0] + e[1]))
listed = st.one_of(st.none(), st.integers(START - 10 * STEP, START + 80 * STEP))


def at(index: int) -> int:
    return START + index * STEP


def span(edge: tuple[int, int]) -> TimeRange:
    return TimeRange(at(edge[0]), at(edge[1]))


def numbers(spans: list[TimeRange]) -> set[int]:
    found = [(time - START) // STEP for one in spans for time in range(one.start, one.end, STEP)]
    assert len(found) == len(set(found)), "no bar is in two of the spans"
    return set(found)


def history(held: set[int], proven: list[tuple[int, int]], list_time: int | None) -> SymbolCoverage:
    made = SymbolCoverage("BTC-USDT", Timeframe.M1, list_time)
    made.hold(map(at, held))
    made.learn(PageHoles([span(edge) for edge in proven], []), START)
    return made


@given(indices, st.lists(edges, max_size=3), listed, edges)
def test_held_and_missing_make_the_expected(held, proven, list_time, window):
    """Each bar that can exist is held or missing; unavailable are those of the missing proven."""
    made = history(held, proven, list_time)
    can_be = {i for i in range(*window) if list_time is None or at(i) >= list_time}
    gone = set().union(*(range(*edge) for edge in proven)) - held
    count = made.count(span(window))
    assert count == (
        len(can_be),
        len(can_be & held),
        len(can_be - held),
        len(can_be & gone),
    )
    assert count.present + count.missing == count.expected
    assert count.unavailable <= count.missing
    assert numbers([made.expected(span(window))]) == can_be
    assert numbers(made.missing(span(window))) == can_be - held
    assert numbers(made.unavailable(span(window))) == set(range(*window)) & gone


@given(indices, st.lists(edges, min_size=1, max_size=3), listed, edges)
def test_what_is_proven_is_not_asked_until_its_check(held, proven, list_time, window):
    """Gaps are what is missing less what is proven, until a check is due: then all that is."""
    made = history(held, proven, list_time)
    missing = numbers(made.missing(span(window)))
    unavailable = numbers(made.unavailable(span(window)))
    first = min((proof.next_check for proof in made.proofs), default=START)
    last = max((proof.next_check for proof in made.proofs), default=START)
    assert numbers(made.gaps(span(window), first - 1)) == missing - unavailable
    assert numbers(made.gaps(span(window), last)) == missing
    assert made.gaps(span(window), last) == sorted(made.gaps(span(window), last))


@given(indices, st.lists(edges, max_size=3), indices)
def test_a_late_row_erases_its_proof(held, proven, late):
    """What is held is proven no longer, and the answer says whether a proof went."""
    made = history(held, proven, None)
    before = numbers([proof.span for proof in made.proofs])
    assert made.hold(map(at, late)) == bool(before & late)
    assert numbers([proof.span for proof in made.proofs]) == before - late
    assert numbers(made.held.spans()) == held | late
    assert not made.hold([])


@given(indices, edges.filter(lambda edge: edge[0] < edge[1]))
def test_a_stored_proof_does_not_count_what_is_held(held, hole):
    """Even if both come from the store, unavailable is a part of missing."""
    made = history(held, [], None)
    made.proofs = confirm_unavailable([], [span(hole)], START)
    window = TimeRange(at(-10), at(100))
    assert made.count(window).unavailable == len(set(range(*hole)) - held)


@given(indices, edges)
def test_held_bars_are_not_proven_missing(held, hole):
    """A hole over bars that are held proves only those that are not."""
    made = history(held, [], None)
    fresh = set(range(*hole)) - held
    assert made.learn(PageHoles([span(hole)], []), START) == bool(fresh)
    assert numbers([proof.span for proof in made.proofs]) == fresh


# Few enough edges that pages often show the very same hole, or one that only overlaps it.
few = st.sets(st.sampled_from([(0, 20), (0, 21), (1, 20), (10, 30), (25, 40)]), max_size=3)


@given(indices, st.lists(st.tuples(few, few), max_size=6))
def test_a_doubtful_hole_takes_a_second_page(held, pages):
    """A sure hole is proven at once, a doubtful one when an earlier page showed just the same."""
    made = history(held, [], None)
    doubted, gone = set(), set()
    for sure, doubtful in pages:
        believed = set().union(*(range(*edge) for edge in sure | (doubtful & doubted))) - held
        found = PageHoles(
            [span(edge) for edge in sorted(sure)], [span(e) for e in sorted(doubtful)]
        )
        assert made.learn(found, START) == bool(believed)
        doubted, gone = (doubted - sure) | doubtful, gone | believed
        assert numbers([proof.span for proof in made.proofs]) == gone


@given(st.integers(2, 8))
def test_each_further_page_that_was_due_checks_a_doubtful_hole(pages):
    """The first page only raises the doubt; each later one counts as a check of the proof."""
    made, now = history(set(), [], None), START
    for _ in range(pages):
        made.learn(PageHoles([], [span((0, 20))]), now)
        now = made.proofs[0].next_check if made.proofs else now
    assert [proof.checks for proof in made.proofs] == [pages - 1]


def test_a_symbol_listed_five_hours_ago_has_300_bars():
    """Expected bars start at the time of listing, or at the first bar that opens after it."""
    made = SymbolCoverage("NEW-USDT", Timeframe.M1, WEEK.end - 5 * HOUR)
    assert made.count(WEEK) == CoverageCounts(300, 0, 300, 0)
    made.list_time -= 1
    assert made.count(WEEK).expected == 300
    made.list_time = WEEK.end + STEP
    assert made.count(WEEK) == CoverageCounts(0, 0, 0, 0)
    assert made.count(WEEK).ratio == 1.0
    assert made.missing(WEEK) == []


@given(st.integers(1, 10_080), st.integers(0, 10_080))
def test_the_ratio_is_present_by_expected(expected, present):
    """From 0 to 1, and 1 only when nothing is missing."""
    present = min(present, expected)
    ratio = CoverageCounts(expected, present, expected - present, 0).ratio
    assert ratio == present / expected
    assert (ratio == 1.0) == (present == expected)


@given(st.integers(1, 10_080))
def test_health_changes_exactly_at_its_thresholds(scale):
    """GOOD from 99.5 % on, WARN from 97 % on, CRITICAL below, by one bar."""

    def of(present: int, expected: int) -> Health:
        return health(CoverageCounts(expected, present, expected - present, 0).ratio)

    assert of(995 * scale, 1_000 * scale) is Health.GOOD
    assert of(995 * scale - 1, 1_000 * scale) is Health.WARN
    assert of(97 * scale, 100 * scale) is Health.WARN
    assert of(97 * scale - 1, 100 * scale) is Health.CRITICAL


@pytest.mark.parametrize(
    ("worst", "name"), [(1.0, "good"), (0.995, "good"), (0.97, "warn"), (0.0, "critical")]
)
def test_health_has_public_names(worst, name):
    """The names are values of metrics and of the API."""
    assert health(worst) == name


@given(indices, indices, edges)
def test_what_came_live_is_told_from_what_was_filled(filled, pushed, window):
    """A bar belongs to the source that brought it first, as in the store."""
    made = history(filled, [], None)
    made.hold(map(at, pushed), live=True)
    here = set(range(*window))
    held = (filled | pushed) & here
    assert made.live_share(span(window)) == (
        len((pushed - filled) & here) / len(held) if held else None
    )
    made.forget(at(20))
    late = span((20, 61))
    assert made.held.count(WEEK) == made.held.count(late)
    assert made.live.count(WEEK) == len({i for i in pushed - filled if i >= 20})


@given(indices, st.sets(st.integers(0, 40)))
def test_only_candles_that_are_not_held_are_new(held, came):
    """Those of a page that the store lacks, in their order."""
    candles = [Candle(at(index), *[1.0] * 7) for index in sorted(came)]
    new = [candle for index, candle in zip(sorted(came), candles, strict=True) if index not in held]
    assert list(history(held, [], None).new(candles)) == new
