"""Collector: the families that are a matter of the moment, built anew for each scrape.

So a symbol that was taken out vanishes, and the coverage sinks by itself while nothing arrives.
"""

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from prometheus_client.core import (
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
    StateSetMetricFamily,
)
from prometheus_client.registry import Collector

from blofin_agent.coverage.tracker import CoverageTracker, health_of
from blofin_agent.domain.rate_limit import limits_at
from blofin_agent.domain.symbol_coverage import Health
from blofin_agent.observability.symbol_metrics import build, labels
from blofin_agent.store.tables.verifications import VerificationTotals

VERIFY_RESULTS = ("equal", "different", "absent", "missing", "unanswered")
_BARS = {
    "expected": "Candles that should exist in the window.",
    "present": "Candles of the window that are held.",
    "missing": "Candles of the window that are not held: with 1m bars, minutes.",
    "unavailable": "Missing candles that BloFin was proven not to have.",
}
"""In the order of a Count."""


class ScrapeSources(Protocol):
    """Whom to ask at the scrape; see `Metrics`."""

    tracker: CoverageTracker
    messages: dict[str, int]
    used: Callable[[], dict[str, int]]
    share: Callable[[], float]
    suspended_until: Callable[[], int]
    eta: Callable[[], float]
    verified: Mapping[str, VerificationTotals] | None


class _Built(NamedTuple):
    """Families that were built, and what they were built from."""

    totals: Mapping[str, VerificationTotals]
    symbols: Sequence[str]
    families: Sequence[Metric]


class ScrapeCollector(Collector):
    """Builds them from memory, in the thread of the scrape."""

    def __init__(self, figures: ScrapeSources, version: str, store: str) -> None:
        self._figures = figures
        self._built: _Built | None = None
        self._build = {
            "version": version,
            "python": platform.python_version(),
            "store": store,
        }

    def describe(self) -> Iterable[Metric]:
        """Name no metric beforehand: registering must not count anything."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Build the families."""
        yield InfoMetricFamily("blofin_build", "What runs here.", self._build)
        yield from self._budget()
        yield from self._feed()
        if self._figures.tracker.counted:
            yield from self._coverage()
        yield from self._fleet()
        if self._figures.verified is not None:
            yield from self._verified_once(self._figures.verified)

    def _budget(self) -> Iterator[Metric]:
        used = self._figures.used()
        budget = GaugeMetricFamily(
            "blofin_rate_budget_used", "Requests that count in the window now.", labels=["window"]
        )
        allowed = GaugeMetricFamily(
            "blofin_rate_budget_limit",
            "Requests that the agent allows itself in the window: its share of BloFin's limit less "
            "a reserve.",
            labels=["window"],
        )
        share = self._figures.share()
        for limit in limits_at(share):
            budget.add_metric([limit.label], used[limit.label])
            allowed.add_metric([limit.label], limit.requests)
        yield budget
        yield allowed
        yield GaugeMetricFamily(
            "blofin_rate_budget_share",
            "How much of the limits the agent takes, 0 to 1: less than 1 after a 429 that another "
            "program behind the address seems to have caused.",
            share,
        )
        yield GaugeMetricFamily(
            "blofin_api_suspended_until_timestamp_seconds",
            "When BloFin's suspension of this address ends; 0 when there is none.",
            self._figures.suspended_until() / 1000,
        )

    def _fleet(self) -> Iterator[Metric]:
        tracker = self._figures.tracker
        if tracker.fleet_status is None:
            return
        fleet_status = tracker.fleet_status()
        yield GaugeMetricFamily(
            "blofin_fleet_agents",
            "Agents that share the symbols, this one among them.",
            fleet_status.agents,
        )
        yield GaugeMetricFamily(
            "blofin_fleet_symbols_owned",
            "Symbols that this agent keeps complete.",
            fleet_status.owned,
        )
        yield GaugeMetricFamily(
            "blofin_fleet_symbols_orphaned",
            "Symbols that an agent is set to watch, and that none keeps.",
            fleet_status.orphaned,
        )
        yield GaugeMetricFamily(
            "blofin_fleet_budget_load_ratio",
            "Requests that the symbols kept from this address may need, over those allowed: with "
            "more than 1 a page for each symbol in each periodic pass is too much.",
            fleet_status.load,
        )

    def _feed(self) -> Iterator[Metric]:
        yield build(
            "counter",
            "blofin_feed_messages",
            "Websocket messages received.",
            [(labels(("kind",), (kind,)), told) for kind, told in self._figures.messages.items()],
        )
        yield build(
            "gauge",
            "blofin_feed_last_push_timestamp_seconds",
            "When the symbol's last push arrived.",
            [(_of(one.symbol), one.pushed / 1000) for one in self._figures.tracker.all()],
        )

    def _coverage(self) -> Iterator[Metric]:
        """Build each family when the one before was written: few samples live at a time."""
        tracker = self._figures.tracker
        counts = tracker.counts()
        told = [(_of(symbol), count) for symbol, count in counts.items()]
        yield GaugeMetricFamily(
            "blofin_backfill_heal_eta_seconds",
            "Least time to fetch all pages that the gaps need, at the rate the limits allow.",
            self._figures.eta(),
        )
        yield build(
            "gauge",
            "blofin_coverage_ratio",
            "Candles held over candles expected in the window, 0 to 1.",
            [(here, count.ratio) for here, count in told],
        )
        for place, (name, text) in enumerate(_BARS.items()):
            found = [(here, count[place]) for here, count in told]
            yield build("gauge", f"blofin_candles_{name}", text, found)
        yield build(
            "gauge",
            "blofin_last_candle_timestamp_seconds",
            "Open time of the newest candle held.",
            [(_of(one.symbol), (one.held.newest or 0) / 1000) for one in tracker.all()],
        )
        if not counts and tracker.fleet_status is not None:
            # All symbols are other agents'.
            return
        now = health_of(counts.values())
        yield StateSetMetricFamily(
            "blofin_health",
            "The worst symbol's state: good at 99.5 % and more, warn at 97 % and more.",
            {state.value: state is now for state in Health},
        )

    def _verified_once(self, totals: Mapping[str, VerificationTotals]) -> Sequence[Metric]:
        """Build them again only when there is something new: seldom."""
        symbols = list(self._figures.tracker.histories)
        built = self._built
        if built is None or built.totals is not totals or built.symbols != symbols:
            built = self._built = _Built(totals, symbols, list(self._verified(totals)))
        return built.families

    def _verified(self, totals: Mapping[str, VerificationTotals]) -> Iterator[Metric]:
        """Build sums over the whole table: they go on where they were when the agent restarts."""
        none = VerificationTotals()
        found = [(one.symbol, totals.get(one.symbol, none)) for one in self._figures.tracker.all()]
        yield build(
            "counter",
            "blofin_verify_candles",
            "Candles that BloFin was asked for again, by how they compare with the stored ones.",
            [
                (labels(("symbol", "result"), (symbol, result)), getattr(told, result))
                for symbol, told in found
                for result in VERIFY_RESULTS
            ],
        )
        yield build(
            "counter",
            "blofin_verify_repaired",
            "Stored candles that differed and were replaced with BloFin's.",
            [(_of(symbol), told.repaired) for symbol, told in found],
        )
        yield build(
            "gauge",
            "blofin_verify_mismatches",
            "Stored candles that the symbol's last verification left otherwise than BloFin's.",
            [(_of(symbol), told.left) for symbol, told in found],
        )
        yield build(
            "gauge",
            "blofin_verify_last_timestamp_seconds",
            "When the last verification of the symbol ended that did not fail; 0 before the first.",
            [(_of(symbol), told.last / 1000) for symbol, told in found],
        )


def _of(symbol: str) -> dict[str, str]:
    return labels(("symbol",), (symbol,))
