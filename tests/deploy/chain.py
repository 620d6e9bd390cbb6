"""The whole chain in real processes: simulator -> agents -> Prometheus -> Alertmanager -> webhook.

One agent has a SQLite file, two share a PostgreSQL database and with it the symbols. The durations
in the rules are divided by `pace.CHAIN`, so that an alert takes seconds. The chain plays its story
in a thread, and the tests look at it.
"""

import http.server
import json
import re
import subprocess
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tests import ports, postgres
from tests.pace import CHAIN, REAL, fleet_timing
from tests.processes import Agent, Place, end, settings, start_agent, start_simulator, until

ROOT = Path(__file__).parent.parent.parent
PROMETHEUS = ROOT / "deploy" / "prometheus"

WITHHELD = "PEPE-USDT"
SYMBOLS = f"BTC-USDT,ETH-USDT,{WITHHELD}"
SCRAPE_S = 2 if REAL else 1
DURATION = re.compile(r"(?<![\w.])(\d+)([smhd])(?!\w)")
UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


@dataclass
class Chain:
    """The processes, and what reached the webhook."""

    folder: Path
    processes: list = field(default_factory=list)
    notices: list[dict] = field(default_factory=list)
    """The alerts as Alertmanager sent them, with `at`, the time (s) they came, and `path`."""
    webhook: http.server.ThreadingHTTPServer | None = None
    server: postgres.Server | None = None
    fleet: list[Agent] = field(default_factory=list)
    """The two that share the symbols."""
    killed: Agent | None = None
    """The one of them that had the symbol that is not given."""
    problem: BaseException | None = None
    started: threading.Event = field(default_factory=threading.Event)
    """Set once every server answers."""

    def play(self) -> None:
        """Start everything and play the story; what goes wrong is kept for the tests."""
        try:
            self._start()
            self.started.set()
            self._story()
        except BaseException as error:  # noqa: BLE001 - raised in the test that waits
            self.problem = error

    def _start(self) -> None:
        """One symbol is not given from the start; the window is an hour, so that it shows."""
        place = Place(
            self._made("agent"),
            settings(
                BLOFIN_SYMBOLS=SYMBOLS,
                BACKFILL_LOOKBACK_HOURS="1",
                BACKFILL_INTERVAL_MINUTES="1" if REAL else "0.2",
                **fleet_timing(),
            ),
        )
        self.simulator = start_simulator(place, SYMBOLS, options=("--no-limits",))
        self.processes.append(self.simulator.process)
        self.withhold("PUT", since=0)
        self.agent = start_agent(place, started=self.processes)
        self.server = postgres.Server.make()
        self.server.start()
        database = {"BLOFIN_DATABASE_URL": self.server.url(self.server.database())}
        for name in ("first", "second"):
            one = Place(self._made(name), place.env | database)
            self.fleet.append(start_agent(one, started=self.processes))
        self._serve_webhook()
        self._start_alertmanager()
        self._start_prometheus()

    def _story(self) -> None:
        until(lambda: len(self.query('up{job="blofin-agent"} == 1')) == 3)
        until(lambda: len(self.query("blofin_fleet_agents == 2")) == 2)
        until(lambda: self.query("sum(blofin_fleet_symbols_owned) == 3"))
        until(lambda: len(self.query(f'blofin_coverage_ratio{{symbol="{WITHHELD}"}}')) == 2)
        kept = f'blofin_coverage_ratio{{symbol="{WITHHELD}"}} and on (instance) blofin_fleet_agents'
        (owner,) = (one["metric"]["instance"] for one in self.query(kept))
        (self.killed,) = (one for one in self.fleet if instance(one) == owner)
        self.killed.process.kill()
        for whose in ({"instance": instance(self.agent)}, {"bar": "60"}):
            self.wait_for("BlofinCoverageLow", "firing", 500, severity="critical", **whose)
        self.withhold("DELETE")

    def wait_for(self, alertname: str, status: str, within_s: float = 60, **labels) -> dict:
        """Wait until an alert has reached the webhook; return it as Alertmanager sent it."""
        wanted = {"alertname": alertname, **labels}

        def come():
            if self.problem is not None:
                raise self.problem
            for notice in list(self.notices):
                if notice["status"] == status and wanted.items() <= notice["labels"].items():
                    return notice
            return None

        return until(come, within_s)

    def withhold(self, method: str, **query) -> None:
        """Tell the simulator to stop giving the symbol (PUT), or to give it again (DELETE)."""
        url = f"{self.simulator.rest_url}/control/faults/withhold"
        request = urllib.request.Request(
            f"{url}?{urllib.parse.urlencode({'symbol': WITHHELD} | query)}", method=method
        )
        with urllib.request.urlopen(request, timeout=10):
            pass

    def api(self, path: str, **query) -> object:
        """Return the data of an answer of Prometheus' HTTP API."""
        url = f"{self.prometheus_url}/api/v1/{path}?{urllib.parse.urlencode(query, doseq=True)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expr: str) -> list[dict]:
        """Return the result of an instant query."""
        return self.api("query", query=expr)["result"]

    def stop(self) -> None:
        """End every process."""
        end(self.processes)
        if self.server is not None:
            self.server.remove()
        if self.webhook is not None:
            self.webhook.shutdown()
            self.webhook.server_close()

    # -- the servers ------------------------------------------------------------------------------

    def _made(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir()
        return folder

    def _quick(self, rules: Path) -> str:
        """Return where the rule files are with all their durations divided."""

        def divided(found: re.Match) -> str:
            return f"{int(found[1]) * UNITS_MS[found[2]] // CHAIN}ms"

        place = self.folder / rules.parent.name
        place.mkdir(exist_ok=True)
        for path in rules.parent.glob(rules.name):
            (place / path.name).write_text(DURATION.sub(divided, path.read_text()))
        return str(place / rules.name)

    def _run(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.log").open("w") as log:
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=log))

    def _serve_webhook(self) -> None:
        notices = self.notices

        class Webhook(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                for alert in body["alerts"]:
                    notices.append({**alert, "at": time.time(), "path": self.path})
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_args) -> None:
                """Say nothing."""

        self.webhook = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Webhook)
        threading.Thread(target=self.webhook.serve_forever, daemon=True).start()

    def _start_alertmanager(self) -> None:
        """Run the shipped configuration; only whereto and how soon differ."""
        config = yaml.safe_load((PROMETHEUS / "alertmanager.yml").read_text())
        for route in (config["route"], *config["route"]["routes"]):
            route |= {"group_wait": "1s", "group_interval": "5s"}
        for receiver in config["receivers"]:
            for one in receiver["webhook_configs"]:
                path = urllib.parse.urlsplit(one["url"]).path
                one["url"] = f"http://127.0.0.1:{self.webhook.server_address[1]}{path}"
        path = self.folder / "alertmanager.yml"
        path.write_text(yaml.safe_dump(config))
        self._alertmanager = f"127.0.0.1:{ports.reserve()}"
        self._run(
            "alertmanager",
            "prometheus-alertmanager",
            f"--config.file={path}",
            f"--storage.path={self._made('alertmanager')}",
            f"--web.listen-address={self._alertmanager}",
            "--cluster.listen-address=",
        )

    def _start_prometheus(self) -> None:
        """Run the shipped configuration and rules; only addresses and the interval differ."""
        config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
        config["global"] |= {
            "scrape_interval": f"{SCRAPE_S}s",
            "scrape_timeout": f"{SCRAPE_S}s",
            "evaluation_interval": f"{SCRAPE_S}s",
        }
        config["rule_files"] = [self._quick(PROMETHEUS / path) for path in config["rule_files"]]
        found = self._made("agents")
        (job,) = [one for one in config["scrape_configs"] if one["job_name"] == "blofin-agent"]
        job["static_configs"][0]["targets"] = [instance(self.agent)]
        (several,) = job["file_sd_configs"]
        several["files"] = [str(found / Path(name).name) for name in several["files"]]
        targets = {"targets": [*map(instance, self.fleet)]}
        (found / "fleet.yml").write_text(yaml.safe_dump([targets]))
        (manager,) = config["alerting"]["alertmanagers"]
        manager["static_configs"][0]["targets"] = [self._alertmanager]
        port = ports.reserve()
        for one in config["scrape_configs"]:
            if one["job_name"] == "prometheus":
                one["static_configs"][0]["targets"] = [f"127.0.0.1:{port}"]
        path = self.folder / "prometheus.yml"
        path.write_text(yaml.safe_dump(config))
        self.prometheus_url = f"http://127.0.0.1:{port}"
        self._run(
            "prometheus",
            "prometheus",
            f"--config.file={path}",
            f"--storage.tsdb.path={self._made('tsdb')}",
            f"--web.listen-address=127.0.0.1:{port}",
        )


def begin() -> Chain:
    """Start the chain and its story."""
    chain = Chain(Path(tempfile.mkdtemp(prefix="blofin-chain-")))
    threading.Thread(target=chain.play, daemon=True).start()
    return chain


def instance(agent: Agent) -> str:
    """Return the name by which Prometheus knows an agent."""
    return urllib.parse.urlsplit(agent.url).netloc
