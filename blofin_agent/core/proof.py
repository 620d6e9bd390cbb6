"""Proof: a missing bar is *unavailable* only when an answer of the exchange proves it."""

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from blofin_agent.core.candle import DAY, HOUR, Bar
from blofin_agent.core.coverage import Span, subtract

RECHECK = (HOUR, 6 * HOUR, DAY, 7 * DAY)
"""How long (ms) a proof is believed before the exchange is asked again; the last one for ever."""


class Proof(NamedTuple):
    """A stretch that the exchange was seen not to have. Times in ms; `checks` counts proofs."""

    span: Span
    proven_at: int
    checks: int
    next_check: int


def holes(times: Iterable[int], bar: Bar) -> list[Span]:
    """Return the stretches that one page proves empty: between two of its rows.

    `times`: the open times of all rows of the page, complete or not, in any order. The page's
    edges prove nothing. Nor does a page speak of a stretch longer than itself: one stray row far
    away would else condemn everything in between.
    """
    rows = sorted(set(times))
    return [
        Span(older + bar.ms, newer)
        for older, newer in itertools.pairwise(rows)
        if 1 < (newer - older) // bar.ms <= len(rows)
    ]


def prove(proofs: Sequence[Proof], found: Iterable[Span], now_ms: int) -> list[Proof]:
    """Return the proofs with the holes `found` now: new ones added, known ones confirmed.

    A confirmed one is believed for longer, by `RECHECK`. Where a hole covers only a part of a
    known proof, that part alone is confirmed. Oldest first.
    """
    result = list(proofs)
    for hole in found:
        kept: list[Proof] = []
        fresh = [hole]
        for proof in result:
            shared = proof.span.meet(hole)
            if not shared:
                kept.append(proof)
                continue
            kept += [proof._replace(span=part) for part in proof.span.less(shared)]
            kept.append(_proof(shared, proof.proven_at, proof.checks + 1, now_ms))
            fresh = subtract(fresh, shared)
        result = kept + [_proof(span, now_ms, 1, now_ms) for span in fresh]
    return sorted(result)


def refute(proofs: Sequence[Proof], held: Iterable[Span]) -> list[Proof]:
    """Return the proofs without the time of rows that came after all."""
    result = list(proofs)
    for span in held:
        result = [proof._replace(span=part) for proof in result for part in proof.span.less(span)]
    return result


def _proof(span: Span, proven_at: int, checks: int, now_ms: int) -> Proof:
    return Proof(span, proven_at, checks, now_ms + RECHECK[min(checks, len(RECHECK)) - 1])
