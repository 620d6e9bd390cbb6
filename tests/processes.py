"""Real processes on loopback, for tests: the simulator, the agent, the one-shot commands."""

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa

from blofin_agent.domain.candle import Candle, Timeframe
from blofin_agent.simulator.market import Market
from blofin_agent.store.url import parse
from tests.forkserver import ForkServer, environment

FORKS = ForkServer()
COMMAND = [sys.executable, "-m", "blofin_agent"]
WITHIN_S = 60
DATABASE_AWAY = (sqlite3.Error, sa.exc.SQLAlchemyError)
"""What a look into the database raises while there is none, or no table."""


def until(law, within_s=WITHIN_S, every_s=0.2):
    """Wait until `law()` is true, and return what it gave; fail with its last answer."""
    end = time.monotonic() + within_s
    while True:
        with contextlib.suppress(OSError, *DATABASE_AWAY):
            if last := law():
                return last
        if time.monotonic() > end:
            pytest.fail(f"not within {within_s} s: {law}")
        time.sleep(every_s)


@dataclass
class Simulator:
    process: subprocess.Popen
    rest_url: str
    ws_url: str
    market: Market

    def stats(self):
        with urllib.request.urlopen(self.rest_url + "/control/stats", timeout=10) as answer:
            return json.load(answer)

    def pages(self):
        return self.stats()["endpoints"].get("candles", 0)


def _marked(sql):
    """Return a statement as psycopg wants it."""
    return sql.replace("%", "%%").replace("?", "%s")


@dataclass
class Place:
    """A working directory with settings: what one user has."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    command: list[str] = field(default_factory=COMMAND.copy)

    def run(self, *args, within_s=WITHIN_S, cold=False, **env):
        """Run a command to its end. `cold`: start Python anew, as users do."""
        env = self.env | env
        if not cold and self._forks(env):
            return FORKS.run(args, cwd=self.folder, env=env, timeout=within_s)
        return subprocess.run(
            [*self.command, *args],
            cwd=self.folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )

    def start(self, *args, cold=False, **env):
        """Start a command that goes on. `cold`: see `run`."""
        env = self.env | env
        with (self.folder / "out").open("w") as out, (self.folder / "err").open("w") as err:
            if not cold and self._forks(env):
                return FORKS.start(args, cwd=self.folder, env=env, stdout=out, stderr=err)
            return subprocess.Popen(
                [*self.command, *args], cwd=self.folder, env=env, stdout=out, stderr=err
            )

    def _forks(self, env):
        return self.command == COMMAND and FORKS.can_start(env)

    @property
    def url(self):
        """Return the URL of its database."""
        here = f"sqlite:///{self.folder / 'data/blofin.db'}"
        return self.env.get("BLOFIN_DATABASE_URL", here)

    def query(self, sql, *values):
        """Read with SQL, as a user would. `?` stands for each value."""
        if self.url.startswith("sqlite"):
            with contextlib.closing(
                sqlite3.connect(f"file:{self.folder / 'data/blofin.db'}?mode=ro", uri=True)
            ) as connection:
                return connection.execute(sql, values).fetchall()
        with sa.create_engine(parse(self.url), poolclass=sa.NullPool).connect() as connection:
            found = connection.exec_driver_sql(_marked(sql), values)
            return [tuple(row) for row in found]

    def change(self, sql, *values):
        """Change the database as another program would."""
        marked = sql if self.url.startswith("sqlite") else _marked(sql)
        with sa.create_engine(parse(self.url), poolclass=sa.NullPool).begin() as connection:
            connection.exec_driver_sql(marked, values)

    def stored(self, symbol, bar=Timeframe.M1):
        """Return the stored candles of a symbol."""
        names = ", ".join(f'"{name}"' for name in Candle._fields)
        rows = self.query(
            f"SELECT {names} FROM candles WHERE symbol = ? AND bar = ? ORDER BY open_time",
            symbol,
            bar.value,
        )
        return [Candle(*row) for row in rows]


@dataclass
class Agent:
    """A running agent and what it serves."""

    place: Place
    process: subprocess.Popen
    url: str

    def get(self, path):
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.read().decode()

    def samples(self):
        """Return the samples of /metrics by name with labels."""
        samples = {}
        for line in self.get("/metrics").splitlines():
            if not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                samples[name] = float(value)
        return samples

    def stop(self, number=signal.SIGTERM, within_s=12):
        self.process.send_signal(number)
        return self.process.wait(within_s)


def settings(**changes):
    """Return an environment: requests are not spaced, any free port."""
    clean = {name: one for name, one in environment().items() if not name.startswith("BLOFIN_")}
    return clean | {
        "BLOFIN_SYMBOLS": "BTC-USDT,ETH-USDT",
        "BACKFILL_REQUEST_SLEEP_MS": "0",
        "BACKFILL_SYMBOL_SLEEP_MS": "0",
        "API_PORT": "0",
        **changes,
    }


def end(processes):
    """End those that still run."""
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def start_simulator(place, symbols="BTC-USDT,ETH-USDT", *, seed=1, holes=0.0, options=()):
    """Start a simulator in a process of its own, and point the place's settings at it."""
    args = ["simulate", "--port", "0", "--symbols", symbols, "--seed", str(seed)]
    args += ["--holes", str(holes), *options]
    if place.command == COMMAND and FORKS.can_start(place.env):
        process = FORKS.start(
            args, cwd=place.folder, env=place.env, stdout=subprocess.PIPE, stderr=sys.__stderr__
        )
    else:
        process = subprocess.Popen(
            [*place.command, *args], env=place.env, stdout=subprocess.PIPE, text=True
        )
    urls = [process.stdout.readline().strip().partition("=")[2] for _ in range(2)]
    place.env |= {"BLOFIN_REST_URL": urls[0], "BLOFIN_WS_URL": urls[1]}
    names = int(symbols) if symbols.isdigit() else symbols.split(",")
    return Simulator(process, *urls, Market(seed, names, hole_rate=holes))


def start_agent(place, *args, started, begin=None, **env):
    """Start an agent, and wait until it says where it serves. `started` gets its process.

    `begin` starts it in another way.
    """
    process = begin() if begin else place.start(*(args or ["run"]), **env)
    started.append(process)

    def announced():
        if process.poll() is not None:
            pytest.fail((place.folder / "err").read_text())
        lines = (place.folder / "out").read_text().splitlines()
        return lines if len(lines) >= 3 else None

    lines = until(announced)
    return Agent(place, process, lines[0].split()[-1].removesuffix("/metrics"))
