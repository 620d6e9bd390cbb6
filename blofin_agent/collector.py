"""Collector: the families that are a matter of the moment, built anew for each scrape.

So a symbol that was taken out vanishes, and the coverage sinks by itself while nothing arrives.
"""

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
    StateSetMetricFamily,
)
from prometheus_client.registry import Collector

from blofin_agent.core.budget import limits
from blofin_agent.core.history import Health
from blofin_agent.store.verifications import Totals
from blofin_agent.watch import Watch, health_of

VERIFY_RESULTS = ("equal", "different", "absent", "missing", "unanswered")


class Figures(Protocol):
    """Whom to ask at the scrape; see `Metrics`."""

    watch: Watch
    used: Callable[[], dict[str, int]]
    share: Callable[[], float]
    suspended_until: Callable[[], int]
    eta: Callable[[], float]
    verified: Mapping[str, Totals] | None


class Moment(Collector):
    """Builds them from memory, in the thread of the scrape."""

    def __init__(self, figures: Figures, version: str, store: str) -> None:
        self._figures = figures
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
        if self._figures.watch.loaded:
            yield from self._coverage()
        if self._figures.verified is not None:
            yield from self._verified(self._figures.verified)

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
        for limit in limits(share):
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

    def _coverage(self) -> Iterator[Metric]:
        watch = self._figures.watch
        counts = watch.counts()
        ratio = GaugeMetricFamily(
            "blofin_coverage_ratio",
            "Candles held over candles expected in the window, 0 to 1.",
            labels=["symbol"],
        )
        bars = {
            name: GaugeMetricFamily(f"blofin_candles_{name}", text, labels=["symbol"])
            for name, text in (
                ("expected", "Candles that should exist in the window."),
                ("present", "Candles of the window that are held."),
                ("missing", "Candles of the window that are not held: with 1m bars, minutes."),
                ("unavailable", "Missing candles that BloFin was proven not to have."),
            )
        }
        newest = GaugeMetricFamily(
            "blofin_last_candle_timestamp_seconds",
            "Open time of the newest candle held.",
            labels=["symbol"],
        )
        for symbol, count in counts.items():
            ratio.add_metric([symbol], count.ratio)
            for name, family in bars.items():
                family.add_metric([symbol], getattr(count, name))
        for history in watch.all():
            last = history.held.newest
            newest.add_metric([history.symbol], 0 if last is None else last / 1000)
        now = health_of(counts.values())
        yield GaugeMetricFamily(
            "blofin_backfill_heal_eta_seconds",
            "Least time to fetch all pages that the gaps need, at the rate the limits allow.",
            self._figures.eta(),
        )
        yield ratio
        yield from bars.values()
        yield newest
        yield StateSetMetricFamily(
            "blofin_health",
            "The worst symbol's state: good at 99.5 % and more, warn at 97 % and more.",
            {state.value: state is now for state in Health},
        )

    def _verified(self, totals: Mapping[str, Totals]) -> Iterator[Metric]:
        """Build sums over the whole table: they go on where they were when the agent restarts."""
        candles = CounterMetricFamily(
            "blofin_verify_candles",
            "Candles that BloFin was asked for again, by how they compare with the stored ones.",
            labels=["symbol", "result"],
        )
        repaired = CounterMetricFamily(
            "blofin_verify_repaired",
            "Stored candles that differed and were replaced with BloFin's.",
            labels=["symbol"],
        )
        left = GaugeMetricFamily(
            "blofin_verify_mismatches",
            "Stored candles that the symbol's last verification left otherwise than BloFin's.",
            labels=["symbol"],
        )
        last = GaugeMetricFamily(
            "blofin_verify_last_timestamp_seconds",
            "When the last verification of the symbol ended that did not fail; 0 before the first.",
            labels=["symbol"],
        )
        for history in self._figures.watch.all():
            told = totals.get(history.symbol, Totals())
            for result in VERIFY_RESULTS:
                candles.add_metric([history.symbol, result], getattr(told, result))
            repaired.add_metric([history.symbol], told.repaired)
            left.add_metric([history.symbol], told.left)
            last.add_metric([history.symbol], told.last / 1000)
        yield candles
        yield repaired
        yield left
        yield last
