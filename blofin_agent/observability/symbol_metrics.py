"""Families: counters and gauges of each symbol, as plain numbers.

With an instrument of prometheus_client's for each, a scrape of many symbols would spend more time
on asking them than on all the rest, and they would take most of the memory.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Literal

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric, Sample
from prometheus_client.registry import Collector

Kind = Literal["counter", "gauge"]


@cache
def labels(names: tuple[str, ...], values: tuple[str, ...]) -> dict[str, str]:
    """Return labels as samples have them. All samples share them: nobody may change them."""
    return dict(zip(names, values, strict=True))


def build(
    kind: Kind, name: str, text: str, found: Iterable[tuple[dict[str, str], float]]
) -> Metric:
    """Return a family of samples, each with its labels. `name`: without `_total`."""
    made, sample = Metric(name, text, kind), _sample_name(kind, name)
    made.samples = [Sample(sample, told, value) for told, value in found]
    return made


def _sample_name(kind: Kind, name: str) -> str:
    return f"{name}_total" if kind == "counter" else name


class PerSymbolMetric(Collector):
    """A family of figures that are told apart by labels.

    What changes them runs in the event loop; a scrape, in its thread, only reads. Each is kept as
    the sample that a scrape shows: most are the same from one to the next.
    """

    def __init__(
        self, kind: Kind, name: str, text: str, names: tuple[str, ...], registry: CollectorRegistry
    ) -> None:
        self._kind: Kind = kind
        self._name = name
        self._text = text
        self._names = names
        self._samples: dict[tuple[str, ...], Sample] = {}
        registry.register(self)

    def add(self, *values: str) -> None:
        """Make the figure with these labels exist, at 0, where it does not."""
        if values not in self._samples:
            self._show(values, 0)

    def remove(self, *values: str) -> None:
        """Make it vanish."""
        self._samples.pop(values, None)

    def inc(self, *values: str, by: float = 1) -> None:
        """Add to it, where it exists: what was removed is not brought back by what comes late."""
        if (before := self._samples.get(values)) is not None:
            self._show(values, before.value + by)

    def set(self, *values: str, to: float) -> None:
        """Set it, likewise."""
        if values in self._samples:
            self._show(values, to)

    def _show(self, values: tuple[str, ...], to: float) -> None:
        name = _sample_name(self._kind, self._name)
        self._samples[values] = Sample(name, labels(self._names, values), to)

    def describe(self) -> Iterable[Metric]:
        """Name the family, so that no other takes its name."""
        return [Metric(self._name, self._text, self._kind)]

    def collect(self) -> Iterator[Metric]:
        """Show it."""
        shown = Metric(self._name, self._text, self._kind)
        shown.samples = list(self._samples.values())
        yield shown
