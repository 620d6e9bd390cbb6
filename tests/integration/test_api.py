"""The API and who may ask, at a running agent: by a fuzzer and by Prometheus."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml

from tests.pace import REAL
from tests.processes import until

TOKEN = "0123456789abcdef"
SETTINGS = {"BACKFILL_LOOKBACK_HOURS": "2", "COVERAGE_SETTLE_SECONDS": "2"}

pytestmark = [
    pytest.mark.sqlite,
    pytest.mark.slow("real processes, and the deadlines they wait for"),
]


def ask(agent, path, **headers):
    """Return the status and the body of an answer."""
    request = urllib.request.Request(agent.url + path, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.timeout(500)
def test_schemathesis_finds_nothing(place, simulate, run_agent):
    """Answers are as the document says, for every parameter it can think of; no fault, no hang."""
    simulate(holes=0.02)
    agent = run_agent(**SETTINGS)
    until(lambda: json.loads(ask(agent, "/api/v1/runs")[1])["runs"])
    command = [
        *(Path(sys.executable).with_name("schemathesis"), "run"),
        *(
            f"{agent.url}/api/v1/openapi.json",
            "--checks",
            "all",
            "--max-examples",
            "30" if REAL else "8",
        ),
        *("--seed", "1", "--no-color", "--request-timeout", "10"),
    ]
    done = subprocess.run(
        command, cwd=place.folder, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "7 selected / 7 total" in done.stdout
    assert "No issues found" in done.stdout
    assert agent.process.poll() is None


def test_the_api_tells_what_metrics_tell(place, simulate, run_agent):
    """Of a real agent: coverage, gaps and candles, page by page as the store has them."""
    simulate(holes=0.25)  # whatever hours these are, they have some
    agent = run_agent(**SETTINGS)
    until(lambda: agent.samples()["blofin_backfill_last_pass_timestamp_seconds"])

    def same():
        told = json.loads(ask(agent, "/api/v1/coverage")[1])
        samples = agent.samples()
        return all(
            one[name] == samples[f'{metric}{{symbol="{one["symbol"]}"}}']
            for one in told["symbols"]
            for name, metric in (
                ("coverage", "blofin_coverage_ratio"),
                ("missing", "blofin_candles_missing"),
                ("unavailable", "blofin_candles_unavailable"),
            )
        )

    until(same, 20)
    gaps = json.loads(ask(agent, "/api/v1/gaps")[1])["gaps"]
    assert any(gap["unavailable"] for gap in gaps)
    candles, path = [], "/api/v1/candles?symbol=BTC-USDT&limit=50"
    while path:
        page = json.loads(ask(agent, path)[1])
        candles += page["candles"]
        path = page["next_url"]
    stored = place.query("SELECT open_time, close FROM candles WHERE symbol = 'BTC-USDT'")
    assert {(one["open_time"], one["close"]) for one in candles} <= set(stored)
    assert len(candles) >= len(stored) - 1


def test_a_foreign_name_is_refused_and_a_token_wanted(place, simulate, run_agent):
    """By a real server; the token may come from a file that only the service may read."""
    simulate()
    agent = run_agent(**SETTINGS, API_TOKEN=TOKEN)
    assert ask(agent, "/healthz") == (200, "alive\n")
    assert ask(agent, "/metrics")[0] == 401
    assert ask(agent, "/metrics", Authorization="Bearer no")[0] == 401
    assert ask(agent, "/metrics", Authorization=f"Bearer {TOKEN}")[0] == 200
    assert ask(agent, "/healthz", Host="evil.example")[0] == 400
    told = (place.folder / "err").read_text() + (place.folder / "out").read_text()
    assert TOKEN not in told


def test_listening_for_others_without_a_token_is_refused(place):
    """One line, exit code 2, nothing served."""
    done = place.run("run", API_HOST="0.0.0.0")
    assert done.returncode == 2
    assert done.stderr.startswith("blofin-agent: wrong setting: API_HOST=0.0.0.0 lets other")
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


@pytest.mark.debian
def test_prometheus_shows_the_token(place, simulate, run_agent, ended, debian):
    """With `authorization` in its configuration, a scrape works; without, it is refused."""
    simulate()
    agent = run_agent(**SETTINGS, API_TOKEN=TOKEN)
    (place.folder / "token").write_text(TOKEN + "\n")
    target = [{"targets": [agent.url.removeprefix("http://")]}]
    shown = {"credentials_file": str(place.folder / "token")}
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": [
            {"job_name": "with", "static_configs": target, "authorization": shown},
            {"job_name": "without", "static_configs": target},
        ],
    }
    path = place.folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    with (place.folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(
            [
                debian("prometheus"),
                f"--config.file={path}",
                f"--storage.tsdb.path={place.folder / 'tsdb'}",
                "--web.listen-address=127.0.0.1:0",
            ],
            stdout=log,
            stderr=log,
        )
    ended.append(process)
    found = until(lambda: _address((place.folder / "prometheus.log").read_text()))

    def scraped():
        with urllib.request.urlopen(f"http://{found}/api/v1/query?query=up", timeout=5) as answer:
            result = json.load(answer)["data"]["result"]
        return {one["metric"]["job"]: one["value"][1] for one in result} or None

    assert until(lambda: len(scraped() or ()) == 2 and scraped()) == {"with": "1", "without": "0"}


def _address(log):
    """Return where Prometheus says that it listens."""
    for line in log.splitlines():
        if "Listening on" in line:
            return line.rpartition("address=")[2].split()[0]
    return None
