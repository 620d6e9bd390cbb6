"""Laws of what is watched, and the window in which it is judged."""

from blofin_agent.config import load
from blofin_agent.coverage.loader import read_coverage
from blofin_agent.coverage.tracker import CoverageTracker, health_of, worst_first
from blofin_agent.domain.candle import DAY, HOUR, MINUTE, CandleBatch, Source, Timeframe
from blofin_agent.domain.instrument import Instrument
from blofin_agent.domain.symbol_coverage import CoverageCounts, Health, SymbolCoverage
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.domain.unavailability import UnavailableRange
from blofin_agent.store.tables import candles, instruments, unavailable


def tracker(now, hours=168):
    return CoverageTracker(Timeframe.M1, hours, 15_000, lambda: now)


def test_the_window_ends_where_the_last_bar_has_settled(end):
    """A candle just closed is not called missing for 15 s; a week is 10,080 bars."""
    assert tracker(end + 15_000).window() == TimeRange(end - 7 * DAY, end)
    assert tracker(end + 14_999).window().end == end - MINUTE
    assert tracker(end).window().bars(Timeframe.M1) == 10_080


def test_a_fixed_window_does_not_move_nor_reach_into_the_future(end):
    """A one-shot backfill between two times."""
    one = tracker(end + 15_000)
    one.fixed = TimeRange(end - 2 * HOUR, end - HOUR)
    assert one.window() == one.fixed
    one.fixed = TimeRange(end - HOUR, end + HOUR)
    assert one.window() == TimeRange(end - HOUR, end)
    one.fixed = TimeRange(end + HOUR, end + 2 * HOUR)
    assert not one.window()


def test_all_that_came_after_the_window_belongs_in_memory_too(end):
    """It will be in the window soon."""
    one = tracker(end + 15_000)
    assert one.loading() == TimeRange(end - 7 * DAY, end + 15_000 + DAY)


def test_all_is_a_list_of_its_own(end):
    """Another thread may go over it while symbols come and go."""
    one = tracker(end)
    one.histories["A"] = SymbolCoverage("A", Timeframe.M1)
    found = one.all()
    one.histories.clear()
    assert [history.symbol for history in found] == ["A"]


def test_the_worst_comes_first_and_gives_the_health():
    """Ties by name; what watches nothing is not well."""
    counts = {
        "B": CoverageCounts(100, 100, 0, 0),
        "A": CoverageCounts(100, 100, 0, 0),
        "C": CoverageCounts(100, 98, 2, 0),
    }
    assert [symbol for symbol, _ in worst_first(counts)] == ["C", "A", "B"]
    assert health_of(counts.values()) is Health.WARN
    assert health_of([]) is Health.CRITICAL


def test_commands_read_the_same_coverage_from_the_store(store, candle, end, monkeypatch, tmp_path):
    """Candles, proofs and listing times, without an agent."""
    monkeypatch.chdir(tmp_path)
    hole = TimeRange(end - 9 * MINUTE, end - 8 * MINUTE)
    with store.engine.begin() as connection:
        rows = CandleBatch("BTC-USDT", Source.LIVE, [candle(end - MINUTE)])
        candles.insert(connection, Timeframe.M1, [rows])
        unavailable.save_proofs(
            connection, "BTC-USDT", Timeframe.M1, [UnavailableRange(hole, end, 1, end)], 0
        )
        listed = [Instrument("BTC-USDT", end - 30 * MINUTE, "live")]
        instruments.save_instruments(connection, listed, end)
    settings = load(blofin_symbols="BTC-USDT,ETH-USDT", backfill_lookback_hours=1)
    found = store.read_here(
        lambda db: read_coverage(db, settings=settings, clock=lambda: end + 15_000)
    )
    assert found.loaded
    assert found.counts() == {"BTC-USDT": (30, 1, 29, 1), "ETH-USDT": (60, 0, 60, 0)}
