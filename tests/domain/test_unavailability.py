"""Laws of proof: what one page proves, how long it is believed, and what takes it back."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from blofin_agent.domain.candle import DAY, HOUR, MINUTE, Timeframe
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.domain.unavailability import confirm_unavailable, page_holes, remove_refuted

bars = st.sampled_from(Timeframe)
rows = st.sets(st.integers(-50, 50), max_size=30)
edges = st.tuples(st.integers(0, 30), st.integers(1, 15)).map(lambda e: (e[0], e[0] + e[1]))
steps = st.lists(st.tuples(st.booleans(), edges, st.integers(1, 10**9)), max_size=12)


def numbers(spans: list[TimeRange], bar: Timeframe) -> list[int]:
    return [i for span in spans for i in range(span.start // bar.ms, span.end // bar.ms)]


@given(bars, rows)
def test_a_hole_lies_between_two_rows(bar, present):
    """All bars between two rows are shown, surely when these are no further apart than rows are."""
    ordered = sorted(present)
    sure, doubtful = [], []
    for older, newer in pairwise(ordered):
        told = sure if newer - older <= len(ordered) else doubtful
        told += range(older + 1, newer)
    found = page_holes([i * bar.ms for i in present] * 2, bar)
    assert numbers(found.sure, bar) == sure
    assert numbers(found.doubtful, bar) == doubtful
    assert all(found.sure + found.doubtful)


@given(bars, st.sets(st.integers(0, 20), max_size=20), st.integers(1, 10_000))
def test_edges_prove_nothing_and_stray_rows_nothing_surely(bar, present, far):
    """Outside a page's rows nothing is shown; the way to a far row is one doubtful hole."""
    times = [i * bar.ms for i in present]
    inside = page_holes(times, bar)
    ends = TimeRange(min(times, default=0), max(times, default=0))
    assert all(ends.meet(hole) == hole for hole in inside.sure + inside.doubtful)
    stray = (min(present, default=0) - len(present) - 1 - far) * bar.ms
    found = page_holes([*times, stray], bar)
    assert not any(hole.start < ends.start for hole in found.sure)
    way = [TimeRange(stray + bar.ms, ends.start)] if present else []
    assert [hole for hole in found.doubtful if hole.start < ends.start] == way


def test_belief_grows_with_each_check():
    """A proof is asked again after 1 h, 6 h, 24 h, and weekly from then on."""
    hole = TimeRange(0, 60_000)
    proofs, now, waits = [], 1_000, []
    for _ in range(6):
        proofs = confirm_unavailable(proofs, [hole], now)
        assert [(proof.span, proof.proven_at) for proof in proofs] == [(hole, 1_000)]
        waits.append(proofs[0].next_check - now)
        now = proofs[0].next_check
    assert waits == [HOUR, 6 * HOUR, DAY, 7 * DAY, 7 * DAY, 7 * DAY]
    assert proofs[0].checks == 6


def test_to_be_seen_again_before_its_check_is_due_makes_no_proof_stronger():
    """A candle that comes late is missing in every page of those minutes."""
    hole = TimeRange(0, 60_000)
    proofs = confirm_unavailable([], [hole], 1_000)
    for now in range(1_000, 1_000 + HOUR, MINUTE):
        assert confirm_unavailable(proofs, [hole], now) == proofs
    (checked,) = confirm_unavailable(proofs, [hole], 1_000 + HOUR)
    assert (checked.checks, checked.next_check) == (2, 1_000 + 7 * HOUR)


@given(bars, steps)
def test_proofs_are_a_record_per_bar(bar, taken):
    """Proving and refuting, in any order, leave for each bar its own first time and checks."""
    proofs, model, now = [], {}, 0
    for proving, edge, later in taken:
        now += later
        span = TimeRange(edge[0] * bar.ms, edge[1] * bar.ms)
        if proving:
            proofs = confirm_unavailable(proofs, [span], now)
            for i in range(*edge):
                first, checks, due = model.get(i, (now, 0, 0))
                if now < due:
                    continue
                wait = [HOUR, 6 * HOUR, DAY, 7 * DAY][min(checks, 3)]
                model[i] = (first, checks + 1, now + wait)
        else:
            proofs = remove_refuted(proofs, [span])
            model = {i: kept for i, kept in model.items() if i not in range(*edge)}
        known = [i for proof in proofs for i in numbers([proof.span], bar)]
        assert known == sorted(model), "in order, none overlapping, nothing lost"
        assert all(proof.span for proof in proofs)
        for proof in proofs:
            for i in numbers([proof.span], bar):
                assert model[i] == proof[1:]


@given(st.lists(edges, max_size=5), st.lists(edges, max_size=5))
def test_refuting_erases_exactly_the_rows_time(proven, held):
    """What is left is the time proven and not held."""
    proofs = confirm_unavailable([], [TimeRange(*edge) for edge in proven], 1)
    left = remove_refuted(proofs, [TimeRange(*edge) for edge in held])
    time = {ms for edge in proven for ms in range(*edge)}
    erased = {ms for edge in held for ms in range(*edge)}
    assert [ms for proof in left for ms in range(*proof.span)] == sorted(time - erased)
