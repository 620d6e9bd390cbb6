"""Notes: why a run left something missing, as `gap_fill_runs` tells it to a person."""

from blofin_agent.coverage.gap_reasons import span_text, spans_text
from blofin_agent.domain.candle_page import NO_SUCH_INSTRUMENT
from blofin_agent.domain.errors import ExchangeError, Refused
from blofin_agent.domain.symbol_coverage import History
from blofin_agent.domain.time_range import Span, subtract

GIVEN_UP = "broken off: BloFin no longer lists the symbol, or another agent keeps it now"


def why_missing(history: History, window: Span, *, empty: bool) -> str:
    """Say why bars are missing after a run in which nothing failed.

    `empty`: a page came without a row.
    """
    parts, proven = [], history.unavailable(window)
    unavailable = history.count(window).unavailable
    if unavailable:
        parts.append(
            f"{unavailable} unavailable: BloFin has no such candles ({spans_text(proven)})"
        )
    rest = history.missing(window)
    for span in proven:
        rest = subtract(rest, span)
    if rest and rest[-1].end >= window.end and _holds_older(history, window, rest[-1]):
        newest = rest.pop()
        parts.append(
            f"{newest.bars(history.bar)} not given ({span_text(newest)}): BloFin has no newer "
            "candles so far, which proves nothing yet: asked for again; if that lasts, trading "
            "has stopped"
        )
    if rest:
        bars = sum(span.bars(history.bar) for span in rest)
        why = (
            "BloFin sent an empty page: it may not keep candles so old"
            if empty
            else "BloFin's pages do not hold them, which proves nothing yet: asked for again"
        )
        parts.append(f"{bars} not given ({spans_text(rest)}): {why}")
    return "; ".join(parts)


def _holds_older(history: History, window: Span, gap: Span) -> bool:
    """Return whether something older than the gap is held, or may be: then it is not too old."""
    oldest = history.held.oldest
    return gap.start > window.start or (oldest is not None and oldest < gap.start)


def complaint(symbol: str, error: ExchangeError) -> str:
    """Say what went wrong with a symbol."""
    if isinstance(error, Refused) and error.code == NO_SUCH_INSTRUMENT:
        return f"{symbol} is not a BloFin instrument"
    return str(error)
