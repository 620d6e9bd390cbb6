"""`backfill --metrics-textfile` and `--pushgateway`, as cron runs them, against the simulator."""

import json
import signal
import socket
import subprocess
import time

import pytest

from tests.gateway import figures, gateway
from tests.processes import until

pytestmark = pytest.mark.slow("real processes, and the deadlines they wait for")

DAY = ("--since", "2026-01-01", "--until", "2026-01-02")
LAST_PASS = ("blofin_backfill_last_pass_timestamp_seconds",)
LAST_SUCCESS = ("blofin_backfill_last_success_timestamp_seconds",)
BTC = ("symbol", "BTC-USDT")


@pytest.fixture
def server():
    with gateway() as server:
        yield server


@pytest.fixture
def textfile(place):
    return place.folder / "blofin.prom"


@pytest.mark.debian
def test_a_run_tells_file_and_gateway_the_same(place, simulate, server, textfile, debian):
    """Every figure of it, lint-clean; standard output is the one JSON object all the same."""
    simulate()
    options = (
        "--metrics-textfile",
        "blofin.prom",
        "--pushgateway",
        f"http://me:secret@{server.host}",
    )
    begun = time.time()
    done = place.run("backfill", *DAY, *options, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["complete"]
    (push,) = server.pushes
    assert push.method == "PUT"
    assert push.path == f"/metrics/job/blofin-backfill/instance/{socket.gethostname()}"
    assert push.body == textfile.read_text()
    assert textfile.stat().st_mode & 0o777 == 0o644
    found = figures(push.body)
    assert found["blofin_coverage_ratio", BTC] == 1
    assert found["blofin_candles_written_total", ("source", "historical_fill"), BTC] == 1_440
    assert found["blofin_backfill_last_pass_requests", BTC] == 1
    assert found["blofin_health", ("blofin_health", "good")] == 1
    assert found["blofin_store_up",] == 1
    assert found["blofin_bar_seconds",] == 60
    assert found["blofin_backfill_interval_seconds",] == 1_800
    assert begun < found[LAST_PASS] == found[LAST_SUCCESS] < time.time()
    checked = subprocess.run(
        [debian("promtool"), "check", "metrics"],
        input=push.body,
        text=True,
        capture_output=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_a_run_that_had_nothing_to_do_succeeded(place, simulate, textfile):
    """The figures say so: both times move on, and no request was made."""
    simulate("BTC-USDT")
    run = ("backfill", "--symbols", "BTC-USDT", *DAY, "--metrics-textfile", "blofin.prom")
    place.run(*run)
    before = figures(textfile.read_text())
    assert place.run(*run).returncode == 0
    after = figures(textfile.read_text())
    assert after[LAST_PASS] == after[LAST_SUCCESS] > before[LAST_SUCCESS]
    assert after["blofin_backfill_last_pass_requests", BTC] == 0


def test_a_run_that_cannot_complete_the_history_tells_so_with_exit_code_3(
    place, simulate, textfile
):
    """It succeeded: nothing failed. What BloFin does not have is missing."""
    simulate("BTC-USDT", holes=0.02)
    run = ("backfill", "--symbols", "BTC-USDT", *DAY, "--metrics-textfile", "blofin.prom")
    assert place.run(*run).returncode == 3
    found = figures(textfile.read_text())
    assert 0 < found["blofin_coverage_ratio", BTC] < 1
    assert found["blofin_candles_unavailable", BTC] > 0
    assert found[LAST_SUCCESS] == found[LAST_PASS]


@pytest.mark.parametrize("listed", [True, False], ids=["pages fail", "the list fails"])
def test_a_run_that_failed_leaves_the_last_success_and_tells_the_coverage(
    place, simulate, server, textfile, listed
):
    """Whether BloFin went away before its list of instruments was read or after."""
    simulate("BTC-USDT")
    options = ("--metrics-textfile", "blofin.prom", "--pushgateway", server.url)
    run = ("backfill", "--symbols", "BTC-USDT", "--since", "2026-01-01", *options, "--until")
    if listed:
        assert place.run(*run, "2026-01-01T12:00").returncode == 0
    else:
        textfile.write_text(f"{LAST_SUCCESS[0]} 1790000000.5\n")
    before = figures(textfile.read_text())
    done = place.run(*run, "2026-01-02", BLOFIN_REST_URL="http://127.0.0.1:9")
    assert done.returncode == 1, done.stderr
    after = figures(textfile.read_text())
    assert after[LAST_SUCCESS] == before[LAST_SUCCESS] > 0
    assert after[LAST_PASS] > before.get(LAST_PASS, 0)
    assert after["blofin_coverage_ratio", BTC] == (0.5 if listed else 0)
    assert after[
        "blofin_api_requests_total", ("endpoint", "candles"), ("outcome", "unreachable")
    ] == (5 if listed else 0)
    failed = server.pushes[-1]
    assert failed.method == "POST"
    assert LAST_SUCCESS not in figures(failed.body)


def test_a_run_that_a_signal_ended_tells_what_it_did(place, simulate, textfile, ended):
    """It is no success, and the file is there."""
    simulate(options=("--page-limit", "20"))
    process = place.start(
        "backfill", "--metrics-textfile", "blofin.prom", BACKFILL_REQUEST_SLEEP_MS="50"
    )
    ended.append(process)
    until(lambda: place.query("SELECT count(*) FROM candles")[0][0] > 100)
    process.send_signal(signal.SIGTERM)
    assert process.wait(11) == 1
    assert "stopped before the end" in (place.folder / "out").read_text()
    found = figures(textfile.read_text())
    stored = len(place.stored("BTC-USDT"))
    assert found["blofin_candles_present", BTC] == stored > 0
    assert found[LAST_SUCCESS] == 0
    assert found[LAST_PASS] > 0


def test_metrics_that_do_not_arrive_cost_no_candle(place, simulate):
    """Two lines and exit code 1; no password in them."""
    simulate("BTC-USDT")
    done = place.run(
        *("backfill", "--symbols", "BTC-USDT", *DAY, "--metrics-textfile", "no/blofin.prom"),
        *("--pushgateway", "http://me:secret@127.0.0.1:9/gate"),
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        (
            "blofin-agent: the metrics cannot be written to no/blofin.prom: No such file or "
            "directory; name a file in a folder that exists and where this user may write"
        ),
        (
            "blofin-agent: the Pushgateway at http://127.0.0.1:9/gate did not take the metrics: "
            "Connection refused; check the URL, and whether it runs"
        ),
    ]
    assert done.stdout.endswith("complete\n")
    assert len(place.stored("BTC-USDT")) == 1_440


@pytest.mark.parametrize(
    ("args", "env", "words"),
    [
        (["--metrics-textfile", "blofin.txt"], {}, "'blofin.txt' must end in .prom: node_exporter"),
        (["--pushgateway", "me:secret@host:9091"], {}, "it must be a URL that begins with http or"),
        (["--pushgateway", "http://me:secret@host/?x"], {}, "it must be a URL without ? and #"),
        (["--dry-run"], {}, "leave out --metrics-textfile and --pushgateway"),
        (["--symbols", "NOPE-USDT"], {}, "NOPE-USDT is not a BloFin instrument"),
        ([], {"BACKFILL_LOOKBACK_HOURS": "week"}, "BACKFILL_LOOKBACK_HOURS=week: "),
    ],
)
def test_wrong_use_leaves_the_file_as_it_is(place, simulate, textfile, args, env, words):
    """One clear line and exit code 2; the last success of the file grows old, and that is told."""
    simulate()
    textfile.write_text("blofin_bar_seconds 60\n")
    done = place.run("backfill", "--metrics-textfile", "blofin.prom", *args, **env)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr
    assert textfile.read_text() == "blofin_bar_seconds 60\n"
    assert not list(place.folder.glob(".blofin*"))
