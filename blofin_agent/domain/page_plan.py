"""The fewest pages that cover the gaps.

A page of `n` rows covers `n` neighbouring bars that end where its cursor `after` stands. Laid
from the newest gap backward, each page as far down as it goes, pages cover any set of bars with
the least number of them (the classic greedy cover of points by intervals of one length). How far
a page really reached is told by the rows that came back: the caller takes that off the gaps and
asks for the next page.
"""

from collections.abc import Sequence
from typing import NamedTuple

from blofin_agent.domain.candle import Timeframe
from blofin_agent.domain.time_range import TimeRange, ranges_of_times, subtract


class PageRequest(NamedTuple):
    """One request: `limit` rows strictly older than `after` (ms)."""

    after: int
    limit: int

    def span(self, bar: Timeframe) -> TimeRange:
        """Return the stretch it covers if the exchange has all of its rows."""
        return TimeRange(self.after - self.limit * bar.ms, self.after)


def next_page(
    gaps: Sequence[TimeRange], bar: Timeframe, size: int, newest: int
) -> PageRequest | None:
    """Return the page to ask for first: the newest. None when there are no gaps.

    `gaps`: oldest first. `size`: rows a page brings. `newest` (ms): no page starts above it, as
    that candle may be incomplete.

    It asks for no more rows than the gaps in its reach need, and for one row more on either side
    of them where that costs no further page: with rows on both sides, a hole is proven.
    """
    if not gaps:
        return None
    step = bar.ms
    after = gaps[-1].end
    reach = TimeRange(after - size * step, after)
    lowest = next(wanted.start for gap in gaps if (wanted := gap.meet(reach)))
    spare = size - (after - lowest) // step
    if spare and after + step <= newest:
        after += step
        spare -= 1
    elif not spare and after + step <= newest and _has_room(gaps, bar, size):
        return PageRequest(after + step, size)
    if spare:
        lowest -= step
    return PageRequest(after, (after - lowest) // step)


def _has_room(gaps: Sequence[TimeRange], bar: Timeframe, size: int) -> bool:
    """Return whether the pages over the newest gap, longer than one, may begin a bar above it.

    They may when the last of them does not end just where the gap does, and what it reaches below
    the gap is not wanted.
    """
    top = gaps[-1]
    room = -top.bars(bar) % size
    below = top.start - room * bar.ms
    return room > 0 and (len(gaps) == 1 or gaps[-2].end <= below)


def plan(gaps: Sequence[TimeRange], bar: Timeframe, size: int, newest: int) -> list[PageRequest]:
    """Return the fewest pages that cover the gaps, newest first, if each page comes back whole."""
    pages: list[PageRequest] = []
    left = list(gaps)
    while page := next_page(left, bar, size, newest):
        pages.append(page)
        left = subtract(left, page.span(bar))
    return pages


def reached(
    times: Sequence[int], page: PageRequest, gaps: Sequence[TimeRange], bar: Timeframe
) -> TimeRange:
    """Return the stretch that an answer to `page` speaks of: from its oldest row up to its cursor.

    `times`: the open times (ms) of its rows, in any order. A row further below the others than
    the page is long is a stray one and is not followed, unless nothing of the gaps (oldest first)
    lies above it. Empty when no row is older than the cursor.
    """
    if max(times, default=0) >= page.after:
        times = [time for time in times if time < page.after]
    spans = ranges_of_times(times, bar)
    rows = sum(span.bars(bar) for span in spans)
    low = page.after
    for span in reversed(spans):
        newest = span.end - bar.ms
        if low < gaps[-1].end and (low - newest) // bar.ms > rows:
            break
        low = span.start
    return TimeRange(low, page.after)
