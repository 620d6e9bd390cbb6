"""Publish: a one-shot run's metrics go to a textfile, a Pushgateway or both.

Either keeps what it was told until it is told anew. So a run that is no success leaves the last
success as it stands there: nothing else remembers it, and nothing else need.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.registry import Collector

from blofin_agent import pushgateway, textfile
from blofin_agent.metrics import Metrics
from blofin_agent.pushgateway import Gateway, PushError

_LIVE = ("blofin_feed_", "blofin_writer_", "blofin_candle_delay_")
_LAST_SUCCESS = "blofin_backfill_last_success_timestamp_seconds"


class Targets(NamedTuple):
    """Where the metrics go."""

    textfile: Path | None = None
    gateway: Gateway | None = None


NOWHERE = Targets()


class OneShotFamilies(Collector):
    """The families that a one-shot run knows: ours, less those of a live feed and those named.

    node_exporter has the families of a process itself, and would refuse a scrape that has them
    twice. Figures of a feed that is not there would say that it is down.
    """

    def __init__(self, registry: CollectorRegistry, *without: str) -> None:
        self._registry = registry
        self._without = (*_LIVE, *without)

    def collect(self) -> Iterator[Metric]:
        """Choose among the registry's families."""
        for family in self._registry.collect():
            if family.name.startswith("blofin_") and not family.name.startswith(self._without):
                yield family


async def publish(metrics: Metrics, targets: Targets, *, succeeded: bool) -> list[str]:
    """Hand the metrics over; return what went wrong, a sentence for a person each."""
    problems = []
    if targets.textfile is not None:
        if not succeeded:
            metrics.last_success.set(textfile.last_success(targets.textfile))
        try:
            textfile.write(targets.textfile, generate_latest(OneShotFamilies(metrics.registry)))
        except OSError as error:
            problems.append(
                f"the metrics cannot be written to {targets.textfile}: {error.strerror or error}; "
                "name a file in a folder that exists and where this user may write"
            )
    if targets.gateway is not None:
        families = OneShotFamilies(metrics.registry, *(() if succeeded else (_LAST_SUCCESS,)))
        try:
            await pushgateway.push(targets.gateway, families, whole=succeeded)
        except PushError as error:
            problems.append(
                f"the Pushgateway at {targets.gateway.url} did not take the metrics: {error}; "
                "check the URL, and whether it runs"
            )
    return problems
