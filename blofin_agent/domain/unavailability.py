"""Proof: a missing bar is *unavailable* only when an answer of the exchange proves it."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from blofin_agent.domain.candle import DAY, HOUR, Timeframe
from blofin_agent.domain.time_range import TimeRange, ranges_of_times, subtract

RECHECK_DELAYS_MS = (HOUR, 6 * HOUR, DAY, 7 * DAY)
"""How long (ms) a proof is believed before the exchange is asked again; the last one for ever."""


class UnavailableRange(NamedTuple):
    """A stretch that the exchange was seen not to have. Times in ms; `checks` counts proofs."""

    span: TimeRange
    proven_at: int
    checks: int
    next_check: int


class PageHoles(NamedTuple):
    """The stretches between two rows of one page, oldest first."""

    sure: list[TimeRange]
    doubtful: list[TimeRange]
    """As long as the page itself or longer: one stray row far away would condemn everything in
    between. It takes a second page that says the same."""


def page_holes(times: Iterable[int], bar: Timeframe) -> PageHoles:
    """Return the stretches that a page shows to be empty: with rows of it on both sides.

    `times`: the open times of all rows of the page, complete or not, in any order. The page's
    edges prove nothing.
    """
    spans = ranges_of_times(times, bar)
    rows = sum(span.bars(bar) for span in spans)
    found = PageHoles([], [])
    for older, newer in pairwise(spans):
        hole = TimeRange(older.end, newer.start)
        (found.sure if hole.bars(bar) < rows else found.doubtful).append(hole)
    return found


def confirm_unavailable(
    proofs: Sequence[UnavailableRange], found: Iterable[TimeRange], now_ms: int
) -> list[UnavailableRange]:
    """Return the proofs with the holes `found` now: new ones added, known ones confirmed.

    A range that is confirmed again when its check is due is trusted for longer, by
    `RECHECK_DELAYS_MS`. A confirmation before that changes nothing: the candle may only be late.
    If a hole covers only a part of a known range, only that part is confirmed. Oldest first.
    """
    result = list(proofs)
    for hole in found:
        kept: list[UnavailableRange] = []
        fresh = [hole]
        for proof in result:
            shared = proof.span.meet(hole)
            if not shared:
                kept.append(proof)
                continue
            kept += [proof._replace(span=part) for part in proof.span.less(shared)]
            kept.append(
                proof._replace(span=shared)
                if now_ms < proof.next_check
                else _proof(shared, proof.proven_at, proof.checks + 1, now_ms)
            )
            fresh = subtract(fresh, shared)
        result = kept + [_proof(span, now_ms, 1, now_ms) for span in fresh]
    return sorted(result)


def remove_refuted(
    proofs: Sequence[UnavailableRange], held: Iterable[TimeRange]
) -> list[UnavailableRange]:
    """Return the proofs without the time of rows that came after all."""
    result = list(proofs)
    for span in held:
        result = [proof._replace(span=part) for proof in result for part in proof.span.less(span)]
    return result


def _proof(span: TimeRange, proven_at: int, checks: int, now_ms: int) -> UnavailableRange:
    return UnavailableRange(
        span, proven_at, checks, now_ms + RECHECK_DELAYS_MS[min(checks, len(RECHECK_DELAYS_MS)) - 1]
    )
