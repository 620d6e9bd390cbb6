"""A real PostgreSQL server for tests, on a free port of this machine; ends with them."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from blofin_agent.store.database import open_store
from tests import ports, programs

USER = "postgres"
GUEST = "guest"
"""Who is asked for a password, once there is such a role."""
MOST_BYTES = 2_000_000_000
GONE_S = 10
GUARD = """
cat >/dev/null
kill -CONT $(cat "$1"/data/postmaster.pid | head -1)
"$2" -D "$1"/data -m immediate -w stop >&2
rm -rf "$1"
"""
"""Waits until its standard input is closed, then stops a server, frozen or not, and removes it."""


def folder_of_programs():
    """Return the folder of PostgreSQL's programs, None when it is not installed."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    places = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(places, key=lambda path: int(path.parent.parent.name), default=None)
    return newest.parent if newest else None


def _in_memory():
    """Return a folder that is in memory, if there is room in it: a new database takes a fifth."""
    with contextlib.suppress(OSError):
        room = shutil.disk_usage("/dev/shm")  # noqa: S108 - it is asked for a folder of ours
        if room.free > MOST_BYTES:
            return "/dev/shm"  # noqa: S108 - likewise
    return None


def _as_user():
    """Return how to start PostgreSQL's programs: they refuse to be run by root."""
    return {"user": USER, "extra_groups": []} if os.geteuid() == 0 else {}


def run(*command, env=None):
    """Run a program of PostgreSQL's."""
    subprocess.run(
        command, check=True, capture_output=True, timeout=120, env=env, cwd="/", **_as_user()
    )


def _wait_until_gone(processes):
    # Not for ever: where the first process of a machine waits for no other, the dead stay.
    end = time.monotonic() + GONE_S
    while time.monotonic() < end and any(Path(f"/proc/{pid}").exists() for pid in processes):
        time.sleep(0.02)


@dataclass
class Server:
    """A server. Nothing of it is safe against a loss of power: it is for tests."""

    folder: Path
    port: int = field(default_factory=ports.reserve)
    settings: dict[str, str] = field(default_factory=dict)
    prefix: str = "of_test"
    """What the names of its databases begin with."""
    count: int = 0
    guard: subprocess.Popen | None = None
    """Removes the server when the process that made it ends, however it ends."""

    @classmethod
    def make(cls, under=None, **settings):
        """Make a new one, which is not started yet. `under`: a folder, if not one in memory."""
        folder = Path(tempfile.mkdtemp(prefix="pg", dir=under or _in_memory()))
        if os.geteuid() == 0:
            shutil.chown(folder, USER)
        server = cls(folder, settings=settings)
        run(
            folder_of_programs() / "initdb",
            *("-D", server.data, "-U", USER, "-A", "trust", "--no-sync", "-E", "UTF8"),
            "--locale=C.UTF-8",
        )
        rules = server.data / "pg_hba.conf"
        asked = f"host all {GUEST} 127.0.0.1/32 scram-sha-256\n"
        rules.write_text(asked + rules.read_text())
        server.guard = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, "guard", folder, folder_of_programs() / "pg_ctl"],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Ctrl-C is for the tests.
            start_new_session=True,
            cwd="/",
            **_as_user(),
        )
        return server

    @property
    def data(self):
        return self.folder / "data"

    def start(self):
        """Start it, unless it runs."""
        if self.processes():
            return
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
            "fsync": "off",
            "full_page_writes": "off",
            "autovacuum": "off",
            "max_wal_size": "256MB",
            "max_connections": "200",
            "shared_buffers": "32MB",
            **self.settings,
        }
        words = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
        run(
            folder_of_programs() / "pg_ctl",
            *("-D", self.data, "-l", self.folder / "log", "-w", "-o", words, "start"),
        )

    def stop(self, mode="fast"):
        """End it: `fast` ends all connections, `immediate` is like a loss of power."""
        if processes := self.processes():
            run(folder_of_programs() / "pg_ctl", *("-D", self.data, "-m", mode, "-w", "stop"))
            # It has still its port for an instant when pg_ctl believes it gone.
            _wait_until_gone(processes)

    def kill(self):
        """End it as `kill -9` does; its children end by themselves."""
        processes = self.processes()
        os.kill(processes[0], signal.SIGKILL)
        _wait_until_gone(processes)

    def freeze(self):
        """Let it do nothing, and keep all connections, until `thaw`."""
        self._signal(signal.SIGSTOP)

    def thaw(self):
        self._signal(signal.SIGCONT)

    def _signal(self, number):
        for pid in self.processes():
            # One of its children may have ended meanwhile.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def processes(self):
        """Return the ids of its processes, its own first; none when it does not run."""
        try:
            pid = (self.data / "postmaster.pid").read_text().split()[0]
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            return []
        return [int(pid), *map(int, children)]

    def remove(self):
        """End it, and remove its folder."""
        if self.guard is not None:
            self.guard.communicate()
            self.guard = None

    def dsn(self, database="postgres"):
        return f"host=127.0.0.1 port={self.port} user={USER} dbname={database}"

    def url(self, database="postgres", user=USER):
        """Return the URL of a database; `user` may be with a password, after a colon."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement, database="postgres"):
        """Run a statement outside any transaction, and return its rows."""
        with psycopg.connect(self.dsn(database), autocommit=True) as connection:
            found = connection.execute(statement)
            return found.fetchall() if found.description else []

    def database(self, like=None):
        """Make a new database, like another one; return its name."""
        self.count += 1
        name = f"{self.prefix}_{self.count}"
        ((version,),) = self.execute("SHOW server_version_num")
        # Older ones know no other way.
        quickly = " STRATEGY file_copy" if int(version) >= 150_000 else ""
        self.execute(f"CREATE DATABASE {name} TEMPLATE {like or 'template1'}{quickly}")
        return name

    def with_schema(self):
        """Make a new database with our schema and nothing in it; return its name."""
        name = self.database()
        open_store(self.url(name)).close()
        return name

    def drop(self, name):
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def is_there():
    """Return whether a server can be run here."""
    if folder_of_programs() is None:
        return False
    if os.geteuid() == 0:
        with contextlib.suppress(KeyError):
            return bool(pwd.getpwnam(USER))
        return False
    return True


def own_server():
    """Yield a running server for a fixture, and remove it in the end."""
    if not is_there():
        programs.needs("initdb")
    server = Server.make()
    server.start()
    yield server
    server.remove()
