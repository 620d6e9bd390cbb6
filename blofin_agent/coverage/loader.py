"""Stored: the coverage as the database has it, for commands that only look."""

from collections.abc import Callable

import sqlalchemy as sa

from blofin_agent.config import Settings
from blofin_agent.coverage.tracker import CoverageTracker
from blofin_agent.domain.symbol_coverage import SymbolCoverage
from blofin_agent.domain.symbols import choose
from blofin_agent.store.tables import coverage_blocks, instruments, unavailable


def read_coverage(
    connection: sa.Connection, *, settings: Settings, clock: Callable[[], int]
) -> CoverageTracker:
    """Return the watched symbols with what the store holds of them."""
    tracker = CoverageTracker(
        settings.backfill_timeframe,
        settings.backfill_lookback_hours,
        int(settings.coverage_settle_seconds * 1000),
        clock,
    )
    span = tracker.loading()
    listed = instruments.load_instruments(connection).instruments
    proofs = unavailable.load_proofs(connection, tracker.bar, span.start)
    chosen = choose(settings.blofin_symbols, listed).symbols
    stored = coverage_blocks.load(connection, tracker.bar, span, chosen)
    for symbol in chosen:
        history = SymbolCoverage(symbol, tracker.bar)
        history.list_time = listed[symbol].list_time if symbol in listed else None
        history.held, history.live = stored[symbol]
        history.proofs = proofs.get(symbol, [])
        tracker.histories[symbol] = history
    tracker.loaded = True
    return tracker
