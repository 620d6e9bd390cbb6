"""Sample: which stretches of what is stored are looked at, spread over all of it."""

from collections.abc import Callable, Sequence

from blofin_agent.core.candle import Bar
from blofin_agent.core.coverage import Coverage, Span


def whole(held: Coverage, window: Span, size: int) -> list[Span]:
    """Return the stretches of the window that are stored, oldest first.

    A gap shorter than a page (of `size` rows) belongs to them: what BloFin has there is seen.
    """
    joined: list[Span] = []
    for span in held.spans():
        part = span.meet(window)
        if not part:
            continue
        if joined and Span(joined[-1].end, part.start).bars(held.bar) < size:
            joined[-1] = Span(joined[-1].start, part.end)
        else:
            joined.append(part)
    return joined


def stretches(
    times: Sequence[int], bar: Bar, size: int, pages: int, draw: Callable[[int, int], int]
) -> list[Span]:
    """Return at most `pages` stretches, each of at most `size` bars, oldest first, none shared.

    `times`: the open times (ms) stored, oldest first: cut into as many parts of the same number,
    and one stretch drawn from each. `draw(low, high)` draws a number, both ends included.
    """
    found = []
    for number in range(pages):
        low, high = (len(times) * part // pages for part in (number, number + 1))
        if low == high:
            continue
        last = draw(low + min(size, high - low) - 1, high - 1)
        end = times[last] + bar.ms
        found.append(Span(max(times[low], end - size * bar.ms), end))
    return found
