"""Crew: several agents on one PostgreSQL, and somebody who looks at them all the time."""

import contextlib
import socket
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from blofin_agent.domain import symbol_assignment
from blofin_agent.domain.instrument import Instrument
from tests.integration.fleet.cable import Cable
from tests.pace import fleet_s, fleet_timing
from tests.processes import Agent, Place, settings, start_agent, start_simulator

RATIO = 'blofin_coverage_ratio{symbol="'
LOOK_S = 0.5
SETTLE_MS = 2_000
MOVED_WITHIN_S = fleet_s(60)
"""So long a symbol may be nobody's, whatever happens."""


class Look(NamedTuple):
    """What one agent showed; it was asked from `at` to `ended`, by `time.monotonic`."""

    at: float
    ended: float
    name: str
    pid: int
    shows: frozenset[str]
    """The symbols whose coverage it shows."""
    samples: dict[str, float]

    def of(self, figure, symbol):
        return self.samples.get(f'blofin_{figure}{{symbol="{symbol}"}}', 0)


@dataclass
class Member:
    """An agent of the crew."""

    name: str
    agent: Agent

    @property
    def service(self):
        """The name it goes by in the database."""
        return f"{socket.gethostname()}:{self.agent.url.rpartition(':')[2]}"

    @property
    def alive(self):
        return self.agent.process.poll() is None

    def look(self):
        at = time.monotonic()
        with urllib.request.urlopen(self.agent.url + "/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        samples = {name: float(value) for name, _, value in pairs}
        shows = (name[len(RATIO) : -2] for name in samples if name.startswith(RATIO))
        pid = self.agent.process.pid
        return Look(at, time.monotonic(), self.name, pid, frozenset(shows), samples)

    def not_ready(self):
        """Return why it is not ready, "" when it is."""
        try:
            with urllib.request.urlopen(self.agent.url + "/readyz", timeout=5):
                return ""
        except urllib.error.HTTPError as error:
            return error.read().decode()

    def log(self):
        return (self.agent.place.folder / "err").read_text()

    def kill(self):
        """End it as `kill -9` does; return when."""
        self.agent.process.kill()
        self.agent.process.wait()
        return time.monotonic()


@dataclass(repr=False)
class Crew:
    """The agents, by name, on a database. `dsn`: where a user looks into it."""

    folder: Path
    url: str
    dsn: str
    env: dict[str, str]
    processes: list
    hours: int
    members: dict[str, Member] = field(default_factory=dict)
    looks: list[Look] = field(default_factory=list)
    cables: list[Cable] = field(default_factory=list)
    too_early: list[tuple] = field(default_factory=list)
    """Rows that were there before their minute was over."""

    def trade(self, symbols, options):
        """Open an exchange: a simulator that trades these, or so many."""
        place = Place(self.folder, settings())
        self.simulator = start_simulator(place, symbols, holes=0.002, options=options)
        self.processes.append(self.simulator.process)

    def start(self, *names, **env):
        """Start agents and return them; each sends from an address of its own name."""
        for name in names:
            folder = self.folder / f"{name}{len(self.processes)}"
            folder.mkdir()
            given = settings(
                BLOFIN_DATABASE_URL=self.url,
                BLOFIN_EGRESS=name,
                BLOFIN_SYMBOLS="all",
                BLOFIN_REST_URL=self.simulator.rest_url,
                BLOFIN_WS_URL=self.simulator.ws_url,
                BACKFILL_LOOKBACK_HOURS=str(self.hours),
                COVERAGE_SETTLE_SECONDS=str(SETTLE_MS // 1000),
            )
            place = Place(folder, fleet_timing() | given | self.env | env)
            self.members[name] = Member(name, start_agent(place, started=self.processes))
        return [self.members[name] for name in names]

    def cable(self, port, name=""):
        """Lay a cable to a port of this machine."""
        self.cables.append(Cable(port, name).open())
        return self.cables[-1]

    def start_with_cables(self, postgres, *names):
        """Start agents with a cable to the exchange each; return their cables to the database."""
        cables = []
        for name in names:
            cables.append(self.cable(postgres.port))
            exchange = self.cable(int(self.simulator.rest_url.rpartition(":")[2]), name)
            self.start(
                name,
                BLOFIN_DATABASE_URL=self.url.replace(f":{postgres.port}/", f":{cables[-1].port}/"),
                BLOFIN_REST_URL=f"http://127.0.0.1:{exchange.port}",
            )
        return cables

    def asked(self, name, since):
        """Return what one asked the exchange for since a moment."""
        return [
            path
            for cable in self.cables
            for at, path in cable.heard
            if cable.name == name and at > since
        ]

    @property
    def symbols(self):
        return self.simulator.market.symbols

    def living(self):
        return [one for one in self.members.values() if one.alive]

    def query(self, sql, *values):
        with psycopg.connect(self.dsn, connect_timeout=5) as connection:
            return connection.execute(sql, values).fetchall()

    def owners(self):
        """Return which service owns each symbol, as the database has it."""
        return dict(self.query("SELECT symbol, service FROM symbol_owners WHERE bar = '1m'"))

    def reckoned(self):
        """Return who is to own each symbol by `core.fleet`, once all who live are there."""
        living = {one.service for one in self.living()}
        members = [
            symbol_assignment.AgentRecord(service, egress, tuple(wanted.split(",")), page)
            for service, egress, wanted, page in self.query(
                "SELECT service, egress, wanted, page FROM service_heartbeats WHERE lease > 0"
            )
            if service in living
        ]
        if len(members) < len(living):
            return None
        listed = {
            symbol: Instrument(symbol, None, state)
            for symbol, state in self.query("SELECT symbol, state FROM instruments")
        }
        shares = {
            one.service: symbol_assignment.assign_symbols(one.service, members, listed).mine
            for one in members
        }
        return {symbol: service for service, mine in shares.items() for symbol in mine}

    def shared_out(self):
        """Return whether each symbol is owned and shown by whom it is to be, and nobody else."""
        shown = [(symbol, one.service) for one in self.living() for symbol in one.look().shows]
        return len(shown) == len(dict(shown)) and dict(shown) == self.owners() == self.reckoned()

    def until_shared_out(self, within_s=MOVED_WITHIN_S):
        """Wait for it, and return how long that took (s)."""
        begun = time.monotonic()
        while not self._is_shared_out():
            if time.monotonic() > begun + within_s:
                shown = {one.service: len(one.look().shows) for one in self.living()}
                pytest.fail(
                    f"not within {within_s} s: {shown=}, owned={Counter(self.owners().values())}"
                )
            time.sleep(0.1)
        return time.monotonic() - begun

    def _is_shared_out(self):
        with contextlib.suppress(OSError, psycopg.Error):
            return self.shared_out()
        return False

    # -- somebody looks ----------------------------------------------------------------------------

    def tracker(self):
        """Look at all who live, and at the newest rows, until `close`."""
        self._stop = threading.Event()
        for look in (self._look_at_agents, self._look_at_rows):
            threading.Thread(target=self._tracker, args=[look], daemon=True).start()

    def close(self):
        self._stop.set()
        for cable in self.cables:
            cable.close()

    def _tracker(self, look):
        while not self._stop.wait(LOOK_S):
            with contextlib.suppress(psycopg.Error):
                look()

    def _look_at_agents(self):
        for one in self.living():
            with contextlib.suppress(OSError):
                self.looks.append(one.look())

    def _look_at_rows(self):
        self.too_early += self.query(
            "SELECT symbol, open_time, source FROM candles "
            "WHERE open_time > extract(epoch FROM clock_timestamp()) * 1000 - 60000"
        )
