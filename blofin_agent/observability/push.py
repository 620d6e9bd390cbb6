"""Publish: a one-shot run's metrics go to a textfile, a Pushgateway or both.

Either keeps what it was told until it is told anew. So a run that is no success leaves the last
success as it stands there: nothing else remembers it, and nothing else need.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.registry import Collector

from blofin_agent.observability import pushgateway, textfile
from blofin_agent.observability.metrics import Metrics
from blofin_agent.observability.pushgateway import PushError, Pushgateway

_LIVE = ("blofin_feed_", "blofin_writer_", "blofin_candle_delay_")
_FOLDER = "name a file in a folder that exists and where this user may write"
_GATEWAY = "check the URL, and whether it runs"
_LAST_SUCCESS = "blofin_backfill_last_success_timestamp_seconds"


class PublishTargets(NamedTuple):
    """Where the metrics go."""

    textfile: Path | None = None
    gateway: Pushgateway | None = None


NOWHERE = PublishTargets()


class BackfillCollector(Collector):
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


class VerifyCollector(Collector):
    """The families of verifications alone.

    A backfill's file has the others: node_exporter would refuse a scrape that has them twice.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """Choose among the registry's families."""
        for family in self._registry.collect():
            if family.name.startswith("blofin_verify_"):
                yield family


async def publish(metrics: Metrics, targets: PublishTargets, *, succeeded: bool) -> list[str]:
    """Hand the metrics over; return what went wrong, a sentence for a person each."""
    problems = []
    if targets.textfile is not None:
        if not succeeded:
            metrics.last_success.set(textfile.last_success(targets.textfile))
        problems += _write(targets.textfile, BackfillCollector(metrics.registry))
    if targets.gateway is not None:
        families = BackfillCollector(metrics.registry, *(() if succeeded else (_LAST_SUCCESS,)))
        problems += await _push(targets.gateway, families, whole=succeeded, job=pushgateway.JOB)
    return problems


async def publish_verified(metrics: Metrics, targets: PublishTargets) -> list[str]:
    """Do the same with what is known of verifications: sums over all that were made."""
    problems, families = [], VerifyCollector(metrics.registry)
    if targets.textfile is not None:
        problems += _write(targets.textfile, families)
    if targets.gateway is not None:
        job = pushgateway.VERIFY_JOB
        problems += await _push(targets.gateway, families, whole=True, job=job)
    return problems


def _write(path: Path, families: Collector) -> list[str]:
    try:
        textfile.write(path, generate_latest(families))
    except OSError as error:
        reason = error.strerror or error
        return [f"the metrics cannot be written to {path}: {reason}; {_FOLDER}"]
    return []


async def _push(gateway: Pushgateway, families: Collector, *, whole: bool, job: str) -> list[str]:
    try:
        await pushgateway.push(gateway, families, whole=whole, job=job)
    except PushError as error:
        return [f"the Pushgateway at {gateway.url} did not take the metrics: {error}; {_GATEWAY}"]
    return []
