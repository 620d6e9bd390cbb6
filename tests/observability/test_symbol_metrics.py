"""Laws of the figures that are kept by symbol."""

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import DuplicateTimeseries

from blofin_agent.observability.symbol_metrics import PerSymbolMetric, build, labels


@pytest.fixture
def registry():
    return CollectorRegistry()


def lines(registry):
    text = generate_latest(registry).decode().splitlines()
    return [line for line in text if not line.startswith("#")]


def test_a_counter_is_there_at_0_and_rises(registry):
    """By 1 unless it is told otherwise; each label set for itself."""
    pages = PerSymbolMetric("counter", "pages", "Pages.", ("symbol", "source"), registry)
    pages.add("A", "rest")
    assert lines(registry) == ['pages_total{source="rest",symbol="A"} 0.0']
    pages.inc("A", "rest")
    pages.inc("A", "rest", by=41)
    pages.add("B", "rest")
    pages.inc("B", "rest")
    assert lines(registry) == [
        'pages_total{source="rest",symbol="A"} 42.0',
        'pages_total{source="rest",symbol="B"} 1.0',
    ]


def test_what_counted_is_not_put_back_to_0_by_adding_it_again(registry):
    """A symbol may be made known twice."""
    pages = PerSymbolMetric("counter", "pages", "Pages.", ("symbol",), registry)
    pages.add("A")
    pages.inc("A", by=7)
    pages.add("A")
    assert lines(registry) == ['pages_total{symbol="A"} 7.0']


def test_a_gauge_shows_what_it_was_set_to(registry):
    """True and False as 1 and 0, as Prometheus has them."""
    stands = PerSymbolMetric("gauge", "stands", "Whether it stands.", ("symbol",), registry)
    for one in ("A", "B"):
        stands.add(one)
    stands.set("A", to=True)
    stands.set("B", to=2.5)
    stands.set("B", to=False)
    assert lines(registry) == ['stands{symbol="A"} 1.0', 'stands{symbol="B"} 0.0']


def test_what_is_removed_vanishes_and_begins_at_0_again(registry):
    """To remove what is not there does nothing, nor does what comes late of what was removed."""
    pages = PerSymbolMetric("counter", "pages", "Pages.", ("symbol",), registry)
    pages.add("A")
    pages.inc("A")
    pages.remove("A")
    pages.remove("B")
    pages.inc("A")
    pages.set("A", to=3)
    assert lines(registry) == []
    pages.add("A")
    assert lines(registry) == ['pages_total{symbol="A"} 0.0']


def test_no_two_families_have_one_name(registry):
    """As with prometheus_client's own instruments."""
    PerSymbolMetric("counter", "pages", "Pages.", ("symbol",), registry)
    with pytest.raises(DuplicateTimeseries):
        PerSymbolMetric("gauge", "pages", "Pages.", ("symbol",), registry)


def test_a_built_family_is_named_as_its_kind_wants_it():
    """Samples of counters end in `_total`."""
    told = [(labels(("symbol",), ("A",)), 3)]
    counter, gauge = (build(kind, "pages", "Pages.", told) for kind in ("counter", "gauge"))
    assert [one.samples[0].name for one in (counter, gauge)] == ["pages_total", "pages"]
    assert gauge.samples[0].labels == {"symbol": "A"}
