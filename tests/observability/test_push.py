"""Laws of what a one-shot run tells: what it knows, and no success that was none."""

import subprocess

import httpx
import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as strict

from blofin_agent.backfill.gap_filler import ProgressCallbacks
from blofin_agent.config import Settings
from blofin_agent.coverage.tracker import CoverageTracker
from blofin_agent.domain.candle import Timeframe
from blofin_agent.domain.symbol_coverage import SymbolCoverage
from blofin_agent.jobs.backfill import job
from blofin_agent.jobs.backfill.report import BackfillCallbacks
from blofin_agent.observability.metrics import Metrics
from blofin_agent.observability.push import BackfillCollector, PublishTargets, publish
from blofin_agent.observability.pushgateway import Pushgateway
from blofin_agent.store.errors import StoreUnavailable
from tests.gateway import figures, gateway

LAST_SUCCESS = ("blofin_backfill_last_success_timestamp_seconds",)
LAST_PASS = ("blofin_backfill_last_pass_timestamp_seconds",)
STORE_UP = ("blofin_store_up",)


@pytest.fixture
def metrics(end):
    tracker = CoverageTracker(Timeframe.M1, 1, 15_000, lambda: end + 15_000, loaded=True)
    tracker.histories["BTC-USDT"] = SymbolCoverage("BTC-USDT", Timeframe.M1)
    metrics = Metrics(tracker, "1.2.3", "sqlite")
    metrics.add_symbol("BTC-USDT")
    return metrics


@pytest.fixture
def path(tmp_path):
    return tmp_path / "blofin.prom"


@pytest.fixture
def server():
    with gateway() as server:
        yield server


def names(registry):
    return {family.name for family in registry.collect()}


def test_a_one_shot_run_tells_our_families_less_those_of_a_feed(metrics):
    """Nothing of the process, and nothing that would look like a feed that is down."""
    told = names(BackfillCollector(metrics.registry))
    left_out = names(metrics.registry) - told
    assert {name for name in left_out if name.startswith("blofin_")} == {
        "blofin_feed_connected",
        "blofin_feed_connects",
        "blofin_feed_disconnects",
        "blofin_feed_messages",
        "blofin_feed_last_push_timestamp_seconds",
        "blofin_feed_subscribed",
        "blofin_candle_delay_seconds",
        "blofin_writer_queue_length",
        "blofin_writer_queue_capacity",
        "blofin_writer_dropped",
    }
    assert all(name.startswith("blofin_") for name in told)
    assert {"process_cpu_seconds", "python_info"} <= left_out


def test_what_it_tells_parses_strictly(metrics):
    """As OpenMetrics too."""
    text = openmetrics(BackfillCollector(metrics.registry)).decode()
    assert "blofin_coverage_ratio" in {family.name for family in strict(text)}


@pytest.mark.debian
def test_promtool_finds_nothing_to_say(metrics, debian):
    """`promtool check metrics` exits 0 without a word."""
    done = subprocess.run(
        [debian("promtool"), "check", "metrics"],
        input=generate_latest(BackfillCollector(metrics.registry)),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


async def test_a_failure_leaves_the_last_success_in_the_file(metrics, path):
    """Run after run, until there is a new one."""
    targets = PublishTargets(path)
    assert await publish(metrics, targets, succeeded=False) == []
    assert figures(path.read_text())[LAST_SUCCESS] == 0
    for when, succeeded, shown in [
        (1_790_000_000.123, True, 1_790_000_000.123),
        (0, False, 1_790_000_000.123),
        (0, False, 1_790_000_000.123),
        (1_790_001_800, True, 1_790_001_800),
    ]:
        metrics.last_success.set(when)
        assert await publish(metrics, targets, succeeded=succeeded) == []
        assert figures(path.read_text())[LAST_SUCCESS] == shown


async def test_a_failure_leaves_the_last_success_at_the_gateway(metrics, server):
    """A success replaces all there is; a failure replaces what it tells, and of that it tells
    nothing."""
    targets = PublishTargets(gateway=Pushgateway(server.url))
    metrics.last_success.set(1_790_000_000)
    assert await publish(metrics, targets, succeeded=True) == []
    metrics.last_success.set(0)
    assert await publish(metrics, targets, succeeded=False) == []
    success, failure = server.pushes
    assert (success.method, failure.method) == ("PUT", "POST")
    assert figures(success.body)[LAST_SUCCESS] == 1_790_000_000
    assert set(figures(success.body)) - set(figures(failure.body)) == {LAST_SUCCESS}


async def test_both_are_told_and_what_goes_wrong_with_one_does_not_touch_the_other(
    metrics, server, path
):
    """A line for each, which names it and what to do."""
    assert (
        await publish(metrics, PublishTargets(path, Pushgateway(server.url)), succeeded=True) == []
    )
    assert path.read_text() == server.pushes[0].body
    server.status, server.answer = 400, b"no"
    nowhere = path.parent / "missing" / "blofin.prom"
    assert await publish(
        metrics, PublishTargets(nowhere, Pushgateway(server.url)), succeeded=True
    ) == [
        (
            f"the metrics cannot be written to {nowhere}: No such file or directory; name a file "
            "in a folder that exists and where this user may write"
        ),
        (
            f"the Pushgateway at {server.url} did not take the metrics: it answered with HTTP "
            "400: no; check the URL, and whether it runs"
        ),
    ]
    assert len(server.pushes) == 2


async def test_nowhere_is_fine(metrics):
    """Most runs tell nobody."""
    assert await publish(metrics, PublishTargets(), succeeded=True) == []


@pytest.mark.sqlite
@pytest.mark.timing(command_s=0)
async def test_a_store_that_is_away_is_told_and_is_no_success(store, database, locker, path):
    """The error is raised after the file was written."""
    settings = Settings(blofin_database_url=database, blofin_rest_url="http://127.0.0.1:9")
    path.write_text(f"{LAST_SUCCESS[0]} 7\n")
    told = []
    locker.execute("BEGIN IMMEDIATE")
    tell = BackfillCallbacks(
        lambda _needs: None, lambda _left: None, lambda _one: ProgressCallbacks(), told.append
    )
    async with httpx.AsyncClient() as client:
        with pytest.raises(StoreUnavailable):
            await job.backfill(
                job.BackfillRequest(settings, targets=PublishTargets(path)), store, client, tell
            )
    found = figures(path.read_text())
    assert (found[STORE_UP], found[LAST_SUCCESS]) == (0, 7)
    assert found[LAST_PASS] > 1e9
    assert found["blofin_coverage_ratio", ("symbol", "BTC-USDT")] == 0
    assert told == []
