"""What the agent's own registry holds: the words that rules, dashboards and the runbook may use."""

from collections import defaultdict

from blofin_agent.coverage.tracker import CoverageTracker
from blofin_agent.domain.candle import Timeframe
from blofin_agent.domain.symbol_coverage import SymbolCoverage
from blofin_agent.fleet.status import FleetStatus
from blofin_agent.observability.metrics import Metrics


def _read():
    tracker = CoverageTracker(Timeframe.M1, 1, 0, lambda: 0, loaded=True)
    tracker.histories["A-USDT"] = SymbolCoverage("A-USDT", Timeframe.M1)
    # On PostgreSQL, as one of a fleet: that has all series that there are.
    crew = FleetStatus(agents=1, owned=1, orphaned=0, load=0.1, holds=True, joined=True)
    tracker.fleet_status = lambda: crew
    metrics = Metrics(tracker, "1", "postgresql")
    metrics.count_ticks()
    metrics.add_symbol("A-USDT")
    metrics.verified = {}
    metrics.add_connection("1")
    metrics.add_connection("trades-1")
    series, values = {}, defaultdict(set)
    for family in metrics.registry.collect():
        for sample in family.samples:
            series[sample.name] = (family.type, set(sample.labels))
            for label, value in sample.labels.items():
                values[sample.name, label].add(value)
    return series, values


SERIES, VALUES = _read()
"""Each series' type and labels, and the values each label can have."""
