"""Hindsight: how long ago it really was, though the machine's clock may have been set meanwhile.

The ledger's times are by the machine's clock, as all processes share it. A clock set forward
makes them look old, so that a limit could be passed and a suspension end early; one set back puts
them into the future, where they would last until it has caught up. A process knows better, by a
clock that nobody sets, what it saw happen, and puts the ledger right for the others. Of what it
did not see it takes the youngest that can be.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from blofin_agent.domain.rate_limit import HORIZON_MS, SECOND, Suspension

TOLERANCE_MS = SECOND // 2
"""Differences so small (ms) are no step of the clock; the slack of the limits is for those."""


class WallAndMonotonic(NamedTuple):
    """Now, in ms by two clocks."""

    wall: int
    """Since the epoch, by the machine's clock, which may be set at any time."""
    steady: int
    """By a clock that nobody sets; where it began means nothing."""


class LedgerEntry(NamedTuple):
    """A request in the ledger, and when it was let go (ms since the epoch)."""

    id: int
    started: int


class TimePair(NamedTuple):
    """A time (ms) as the ledger has it, and the same by the steady clock."""

    started: int
    steady: int


class CorrectedLedger(NamedTuple):
    """The ledger as it must be understood now."""

    starts: list[int]
    """When recent requests were let go (ms since the epoch, as the clock has it now)."""
    suspension: Suspension
    moved: list[LedgerEntry]
    """Entries with a wrong time, and the right one."""
    lost: list[LedgerEntry]
    """Requests that this process knows of and the ledger does not; the ids mean nothing there."""
    old: bool
    """Whether the ledger has entries that no longer matter."""
    clock_correction: "ClockCorrection"


@dataclass(frozen=True, slots=True)
class ClockCorrection:
    """What one process knows of the ledger from looking at it before."""

    seen: Mapping[int, TimePair] = field(default_factory=dict)
    """The ledger's entries, by id."""
    ahead: int | None = None
    """By how much the machine's clock was ahead of the steady one; None before the first look."""
    noted: TimePair | None = None
    """When the suspension in force was."""
    probe: TimePair | None = None
    """When that after it was let go."""

    def look(
        self, entries: Sequence[tuple[int, int]], state: Suspension, now: WallAndMonotonic
    ) -> CorrectedLedger:
        """Return what the ledger and its suspension mean now. `entries`: as `Entry` has them."""
        seen: dict[int, TimePair] = {}
        starts: list[int] = []
        moved: list[LedgerEntry] = []
        oldest = now.wall - HORIZON_MS
        for id_, entered in entries:
            started, one = self._now(entered, _same(self.seen.get(id_), entered), now)
            if started > oldest:
                seen[id_] = one
                starts.append(started)
                if one.started != entered:
                    moved.append(LedgerEntry(id_, started))
        old = len(starts) < len(entries)
        lost = self._lost(entries, now)
        for id_, started in lost:
            seen[id_] = self.seen[id_]
            starts.append(started)
        state, noted, probe = self._suspension(state, now)
        after = ClockCorrection(seen, now.wall - now.steady, noted, probe)
        return CorrectedLedger(sorted(starts), state, moved, lost, old, after)

    def elsewhere(self, entries: Sequence[tuple[int, int]]) -> "ClockCorrection":
        """Return what is known before another ledger, put in this one's place.

        `entries`: its own, which another process may have told it already.
        """
        there: dict[int, list[int]] = {}
        for id_, started in entries:
            there.setdefault(started, []).append(id_)
        seen = {
            ids.pop() if (ids := there.get(one.started)) else -number: one
            for number, one in enumerate(self.seen.values(), 1)
        }
        return replace(self, seen=seen)

    def entered(
        self, entries: Sequence[LedgerEntry], lost: Sequence[LedgerEntry], now: WallAndMonotonic
    ) -> "ClockCorrection":
        """Return what is known once these were entered, among them all that the ledger had lost."""
        gone = {id_ for id_, _ in lost}
        seen = {id_: one for id_, one in self.seen.items() if id_ not in gone}
        for id_, started in entries:
            seen[id_] = TimePair(started, now.steady - (now.wall - started))
        return replace(self, seen=seen)

    def _now(
        self, noted: int, known: TimePair | None, now: WallAndMonotonic
    ) -> tuple[int, TimePair]:
        """Return when it was, as the clock has it now, and what is to be known of it."""
        age = self._age(noted, known, now)
        started = now.wall - age
        if abs(started - noted) > TOLERANCE_MS:
            return started, TimePair(started, now.steady - age)
        return started, known or TimePair(noted, now.steady - age)

    def _age(self, noted: int, known: TimePair | None, now: WallAndMonotonic) -> int:
        if known:
            return now.steady - known.steady
        # Noted since we looked last: before the clock was set, if it was, or after that.
        by_clock = now.wall - noted
        step = 0 if self.ahead is None else now.wall - now.steady - self.ahead
        if abs(step) <= TOLERANCE_MS:
            step = 0
        return min((age for age in (by_clock, by_clock - step) if age >= 0), default=0)

    def _lost(self, entries: Sequence[tuple[int, int]], now: WallAndMonotonic) -> list[LedgerEntry]:
        lost = []
        for id_ in self.seen.keys() - {id_ for id_, _ in entries}:
            one = self.seen[id_]
            age = now.steady - one.steady
            if age < HORIZON_MS:
                started = now.wall - age
                # The very time that was entered, so that two processes know it for one request.
                same = abs(started - one.started) <= TOLERANCE_MS
                lost.append(LedgerEntry(id_, one.started if same else started))
        return lost

    def _suspension(
        self, state: Suspension, now: WallAndMonotonic
    ) -> tuple[Suspension, TimePair | None, TimePair | None]:
        state = replace(state, share_since=min(state.share_since, now.wall))
        if not state.strikes:
            return state, None, None
        noted, noted_seen = self._now(state.noted, _same(self.noted, state.noted), now)
        if noted_seen.started != state.noted:
            state = replace(state, until=noted + state.until - state.noted, noted=noted)
        if not state.probe:
            return state, noted_seen, None
        probe, probe_seen = self._now(state.probe, _same(self.probe, state.probe), now)
        if probe_seen.started != state.probe:
            state = replace(state, probe=probe)
        return state, noted_seen, probe_seen


def _same(seen: TimePair | None, noted: int) -> TimePair | None:
    """Return what was seen if it stands there still: else another process put it right."""
    return seen if seen and seen.started == noted else None
