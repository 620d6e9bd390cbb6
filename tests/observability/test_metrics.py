"""Laws of the metrics: every family, from the start, under its public name."""

import subprocess
import threading

import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as strict

from blofin_agent.coverage.tracker import CoverageTracker
from blofin_agent.domain.bar_set import BarSet
from blofin_agent.domain.candle import MINUTE, Timeframe
from blofin_agent.domain.symbol_coverage import SymbolCoverage
from blofin_agent.observability.metrics import DISCONNECT_REASONS, Metrics
from blofin_agent.store.database import TransactionResult
from blofin_agent.store.errors import StoreUnavailable
from blofin_agent.store.tables.verifications import VerificationTotals

OUTCOMES = [
    "ok",
    "invalid",
    "refused",
    "rate_limited",
    "banned",
    "timeout",
    "unreachable",
    "server_error",
]
KINDS = ["candle", "trade", "ack", "refused", "pong", "invalid"]
REASONS = ["shape", "off_grid", "impossible", "outside", "repeated", "conflicting"]
REASONS += ["doubtful", "open"]
OPERATIONS = [
    "insert",
    "load",
    "reconcile",
    "budget",
    "run",
    "proofs",
    "instruments",
    "beat",
    "coverage",
]
RESULTS = ["equal", "different", "absent", "missing", "unanswered"]
OPERATIONS += ["coverage", "ticks", "upkeep"]
WINDOWS = ["60s", "300s"]

FAMILIES = {
    "coverage_ratio": ("gauge", {"symbol"}),
    "candles_expected": ("gauge", {"symbol"}),
    "candles_present": ("gauge", {"symbol"}),
    "candles_missing": ("gauge", {"symbol"}),
    "candles_unavailable": ("gauge", {"symbol"}),
    "last_candle_timestamp_seconds": ("gauge", {"symbol"}),
    "candles_written": ("counter", {"symbol", "source"}),
    "rows_rejected": ("counter", {"feed", "reason"}),
    "backfill_requests": ("counter", {"symbol"}),
    "backfill_rate_limited": ("counter", {"symbol"}),
    "backfill_last_pass_requests": ("gauge", {"symbol"}),
    "backfill_last_pass_rate_limited": ("gauge", {"symbol"}),
    "backfill_last_pass_timestamp_seconds": ("gauge", set()),
    "backfill_last_success_timestamp_seconds": ("gauge", set()),
    "backfill_pass_duration_seconds": ("gauge", set()),
    "backfill_heal_eta_seconds": ("gauge", set()),
    "backfill_interval_seconds": ("gauge", set()),
    "bar_seconds": ("gauge", set()),
    "api_requests": ("counter", {"endpoint", "outcome"}),
    "api_request_duration_seconds": ("histogram", {"endpoint"}),
    "rate_budget_limit": ("gauge", {"window"}),
    "rate_budget_share": ("gauge", set()),
    "rate_budget_used": ("gauge", {"window"}),
    "api_suspended_until_timestamp_seconds": ("gauge", set()),
    "feed_connected": ("gauge", {"connection"}),
    "feed_connects": ("counter", {"connection"}),
    "feed_disconnects": ("counter", {"connection", "reason"}),
    "feed_messages": ("counter", {"kind"}),
    "feed_last_push_timestamp_seconds": ("gauge", {"symbol"}),
    "feed_subscribed": ("gauge", {"symbol"}),
    "candle_delay_seconds": ("histogram", set()),
    "clock_offset_seconds": ("gauge", set()),
    "writer_queue_length": ("gauge", set()),
    "writer_queue_capacity": ("gauge", set()),
    "oddities": ("counter", {"feed", "kind"}),
    "writer_dropped": ("counter", set()),
    "ticks_written": ("counter", {"symbol"}),
    "ticks_queue_length": ("gauge", set()),
    "ticks_dropped": ("counter", set()),
    "store_up": ("gauge", set()),
    "store_operation_duration_seconds": ("histogram", {"operation"}),
    "store_errors": ("counter", {"operation"}),
    "verify_candles": ("counter", {"symbol", "result"}),
    "verify_repaired": ("counter", {"symbol"}),
    "verify_mismatches": ("gauge", {"symbol"}),
    "verify_last_timestamp_seconds": ("gauge", {"symbol"}),
    "health": ("stateset", {"blofin_health"}),
    "build": ("info", {"version", "python", "store"}),
}
COVERAGE = {
    "coverage_ratio",
    "candles_expected",
    "candles_present",
    "candles_missing",
    "candles_unavailable",
    "last_candle_timestamp_seconds",
    "backfill_heal_eta_seconds",
    "health",
}


@pytest.fixture
def tracker(end):
    return CoverageTracker(Timeframe.M1, 1, 15_000, lambda: end + 15_000)


@pytest.fixture
def metrics(tracker):
    metrics = Metrics(tracker, "1.2.3", "sqlite")
    metrics.verified = {}
    metrics.add_connection("1")
    metrics.count_ticks()
    for symbol in ("BTC-USDT", "ETH-USDT"):
        tracker.histories[symbol] = SymbolCoverage(symbol, Timeframe.M1)
        metrics.add_symbol(symbol)
    return metrics


def scrape(metrics):
    """Return the families of a scrape, read by the strict OpenMetrics parser."""
    text = openmetrics(metrics.registry).decode()
    return {family.name.removeprefix("blofin_"): family for family in strict(text)}


def labels_of(family):
    return {name for one in family.samples for name in one.labels} - {"le"}


def values(family, label):
    return {one.labels[label] for one in family.samples}


def test_every_family_of_the_contract_is_there_with_its_type_and_labels(metrics, tracker):
    """No other name begins with blofin_, and each has its own help."""
    tracker.loaded = True
    families = scrape(metrics)
    ours = {name for name, one in families.items() if one.name.startswith("blofin_")}
    assert ours == set(FAMILIES)
    for name, (kind, labels) in FAMILIES.items():
        assert families[name].type == kind, name
        assert labels_of(families[name]) == labels, name
        assert families[name].documentation.endswith("."), name
    assert len({families[name].documentation for name in FAMILIES}) == len(FAMILIES)


def test_every_known_label_set_is_there_from_the_start_at_0(metrics):
    """So that a first increase is seen as one."""
    families = scrape(metrics)
    assert values(families["api_requests"], "outcome") == set(OUTCOMES)
    assert values(families["api_requests"], "endpoint") == {"candles", "instruments"}
    assert values(families["feed_messages"], "kind") == set(KINDS)
    assert values(families["store_errors"], "operation") == set(OPERATIONS)
    assert values(families["feed_disconnects"], "reason") == set(DISCONNECT_REASONS)
    assert values(families["rows_rejected"], "reason") == set(REASONS)
    assert values(families["rows_rejected"], "feed") == {"rest", "ws", "trades", "instruments"}
    assert values(families["candles_written"], "source") == {"blofin_ws", "historical_fill"}
    assert values(families["rate_budget_used"], "window") == set(WINDOWS)
    assert values(families["verify_candles"], "result") == set(RESULTS)
    for name, (kind, _) in FAMILIES.items():
        if kind in ("counter", "histogram"):
            assert families[name].samples, name
            assert {one.value for one in families[name].samples} == {0}, name


@pytest.mark.parametrize("bar", [Timeframe.M1, Timeframe.H4, Timeframe.D3])
def test_the_length_of_a_bar_is_told(bar):
    """In seconds, so that a rule about old data is right for every bar."""
    metrics = Metrics(CoverageTracker(bar, 168, 0, lambda: 0), "1", "sqlite")
    assert metrics.registry.get_sample_value("blofin_bar_seconds") == bar.ms / 1000


def test_a_connection_that_is_not_made_again_vanishes(metrics):
    """Nobody is told for ever that it is lost."""
    metrics.add_connection("2")
    metrics.remove_connection("1")
    families = scrape(metrics)
    for name in ("feed_connected", "feed_connects", "feed_disconnects"):
        assert values(families[name], "connection") == {"2"}


def test_before_loading_nothing_is_said_of_coverage(metrics, tracker):
    """Counts mean nothing yet; an absent series is no false alarm."""
    families = scrape(metrics)
    assert not COVERAGE & set(families)
    tracker.loaded = True
    assert set(scrape(metrics)) >= COVERAGE


def test_coverage_is_computed_at_the_scrape(metrics, tracker, end):
    """From memory, with the clock of that moment."""
    tracker.loaded = True
    history = tracker.histories["BTC-USDT"]
    history.held = BarSet.of(Timeframe.M1, range(end - 30 * MINUTE, end, MINUTE))
    get = metrics.registry.get_sample_value
    btc = {"symbol": "BTC-USDT"}
    assert get("blofin_coverage_ratio", btc) == 0.5
    assert get("blofin_candles_expected", btc) == 60
    assert get("blofin_candles_present", btc) == 30
    assert get("blofin_candles_missing", btc) == 30
    assert get("blofin_last_candle_timestamp_seconds", btc) == (end - MINUTE) / 1000
    assert get("blofin_last_candle_timestamp_seconds", {"symbol": "ETH-USDT"}) == 0
    tracker.clock = lambda: end + 15_000 + 15 * MINUTE
    assert get("blofin_coverage_ratio", btc) == 0.5
    tracker.clock = lambda: end + 15_000 + 45 * MINUTE
    assert get("blofin_coverage_ratio", btc) == 0.25


@pytest.mark.parametrize(("missing", "state"), [(0, "good"), (1, "warn"), (2, "critical")])
def test_health_is_that_of_the_worst(metrics, tracker, end, missing, state):
    """Exactly one state is 1: 59 of 60 is warn, 58 of 60 is critical."""
    tracker.loaded = True
    for number, history in enumerate(tracker.all()):
        first = end - (60 - missing * number) * MINUTE
        history.held = BarSet.of(Timeframe.M1, range(first, end, MINUTE))
    states = {one.labels["blofin_health"]: one.value for one in scrape(metrics)["health"].samples}
    assert states == {name: float(name == state) for name in ("good", "warn", "critical")}


def test_a_symbol_taken_out_vanishes_everywhere(metrics, tracker):
    """No series of it stays to alarm for ever."""
    tracker.loaded = True
    del tracker.histories["ETH-USDT"]
    metrics.remove_symbol("ETH-USDT")
    text = generate_latest(metrics.registry).decode()
    assert "ETH-USDT" not in text
    assert "BTC-USDT" in text
    metrics.add_symbol("ETH-USDT")
    assert metrics.registry.get_sample_value("blofin_feed_subscribed", {"symbol": "ETH-USDT"}) == 0


def test_budget_suspension_and_eta_are_asked_for_at_the_scrape(metrics, tracker):
    """They belong to others, who tell when they are asked."""
    tracker.loaded = True
    get = metrics.registry.get_sample_value
    assert get("blofin_rate_budget_limit", {"window": "60s"}) == 475
    assert get("blofin_rate_budget_limit", {"window": "300s"}) == 1_425
    assert get("blofin_rate_budget_used", {"window": "60s"}) == 0
    assert get("blofin_api_suspended_until_timestamp_seconds") == 0
    assert get("blofin_backfill_heal_eta_seconds") == 0
    metrics.used = lambda: {"60s": 7, "300s": 9}
    metrics.suspended_until = lambda: 1_790_000_000_500
    assert get("blofin_rate_budget_share") == 1
    metrics.share = lambda: 0.6
    assert get("blofin_rate_budget_share") == 0.6
    assert get("blofin_rate_budget_limit", {"window": "60s"}) == 285
    assert get("blofin_rate_budget_limit", {"window": "300s"}) == 855
    metrics.eta = lambda: 12.5
    assert get("blofin_rate_budget_used", {"window": "300s"}) == 9
    assert get("blofin_api_suspended_until_timestamp_seconds") == 1_790_000_000.5
    assert get("blofin_backfill_heal_eta_seconds") == 12.5


def test_what_was_verified_is_told_once_it_was_read(metrics, tracker):
    """Sums of the store, by symbol; before that nothing, or they would seem to rise from 0."""
    get = metrics.registry.get_sample_value
    btc = {"symbol": "BTC-USDT"}
    assert get("blofin_verify_last_timestamp_seconds", btc) == 0
    metrics.verified = {
        "BTC-USDT": VerificationTotals(9, 2, 1, 3, 4, 1, 1_790_000_000_500, 2),
        "X": VerificationTotals(1),
    }
    figures = [get("blofin_verify_candles_total", btc | {"result": one}) for one in RESULTS]
    assert figures == [9, 2, 1, 3, 4]
    assert get("blofin_verify_repaired_total", btc) == 1
    assert get("blofin_verify_mismatches", btc) == 2
    assert get("blofin_verify_last_timestamp_seconds", btc) == 1_790_000_000.5
    assert get("blofin_verify_repaired_total", {"symbol": "ETH-USDT"}) == 0
    assert get("blofin_verify_repaired_total", {"symbol": "X"}) is None
    metrics.verified = None
    assert not [name for name in scrape(metrics) if name.startswith("verify")]


def test_the_build_is_told(metrics):
    """Version, Python and store, as labels of a 1."""
    (sample,) = scrape(metrics)["build"].samples
    assert sample.name == "blofin_build_info"
    assert sample.labels["version"] == "1.2.3"
    assert sample.labels["store"] == "sqlite"


def test_a_failed_transaction_is_counted_and_the_store_is_down(metrics):
    """Until one of its kind succeeds: a locked database can be read, a full one takes a beat."""
    get = metrics.registry.get_sample_value
    metrics.store_operation(
        TransactionResult("insert", 0.01, reading=False, problem=StoreUnavailable("gone"))
    )
    assert (get("blofin_store_up"), bool(metrics.database_outage)) == (0, True)
    assert get("blofin_store_errors_total", {"operation": "insert"}) == 1
    for operation, reading in (("load", True), ("beat", False)):
        metrics.store_operation(TransactionResult(operation, 0.01, reading, None))
        assert (get("blofin_store_up"), bool(metrics.database_outage)) == (0, True)
    metrics.store_operation(TransactionResult("insert", 0.01, reading=False, problem=None))
    assert (get("blofin_store_up"), bool(metrics.database_outage)) == (1, False)
    assert get("blofin_store_operation_duration_seconds_count", {"operation": "insert"}) == 2


def test_process_platform_and_gc_are_told_too(metrics):
    """As every exporter does."""
    names = set(scrape(metrics))
    assert {"process_cpu_seconds", "python_info", "python_gc_collections"} & names
    assert "process_resident_memory_bytes" in names


def test_there_are_no_created_series_and_no_timestamps(metrics, tracker):
    """Neither is of use, and both cost."""
    tracker.loaded = True
    text = openmetrics(metrics.registry).decode()
    assert "_created" not in text
    assert all(one.timestamp is None for family in strict(text) for one in family.samples)


def test_500_symbols_parse(tracker, end):
    """The strict parser takes them all."""
    metrics = Metrics(tracker, "1", "sqlite")
    held = BarSet.of(Timeframe.M1, range(end - 60 * MINUTE, end, MINUTE))
    for number in range(500):
        symbol = f"S{number}-USDT"
        tracker.histories[symbol] = history = SymbolCoverage(symbol, Timeframe.M1)
        history.held = held
        metrics.add_symbol(symbol)
    tracker.loaded = True
    assert len(scrape(metrics)["coverage_ratio"].samples) == 500


def test_a_scrape_while_symbols_come_and_go_is_whole(metrics, tracker):
    """It runs in another thread than the agent."""
    tracker.loaded = True
    problems = []
    done = threading.Event()

    def scraping():
        try:
            while not done.is_set():
                scrape(metrics)
        except Exception as error:  # noqa: BLE001 - shown by the assertion below
            problems.append(error)

    thread = threading.Thread(target=scraping)
    thread.start()
    for number in range(300):
        symbol = f"S{number}-USDT"
        tracker.histories[symbol] = SymbolCoverage(symbol, Timeframe.M1)
        metrics.add_symbol(symbol)
        if number >= 5:
            gone = f"S{number - 5}-USDT"
            del tracker.histories[gone]
            metrics.remove_symbol(gone)
    done.set()
    thread.join()
    assert problems == []


@pytest.mark.debian
def test_promtool_finds_nothing_to_say(metrics, tracker, debian):
    """`promtool check metrics` exits 0 without a word."""
    tracker.loaded = True
    done = subprocess.run(
        [debian("promtool"), "check", "metrics"],
        input=generate_latest(metrics.registry),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
