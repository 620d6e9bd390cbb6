"""Running: our own commands as processes on loopback, and what they cost, as Linux tells it."""

import http.client
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

COMMAND = (sys.executable, "-m", "blofin_agent")
WITHIN_S = 60
LOOK_S = 0.005


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent that is ready."""

    pid: int
    port: int
    ready_s: float
    """From the start of its process to `/readyz` with 200."""

    def get(self, path: str, **headers: str) -> bytes:
        """Return what it answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path, headers=headers)
            return connection.getresponse().read()
        finally:
            connection.close()

    def cpu_s(self) -> float:
        """Return the CPU time it has taken, in user and system mode."""
        told = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")

    def samples(self) -> dict[str, float]:
        """Return the samples of its `/metrics` by name with labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    def mib(self, name: str) -> float:
        """Return what `/proc` says of its memory: VmRSS, or VmHWM for the most there was."""
        for line in Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) / 1024
        raise AssertionError(f"no {name} of process {self.pid}")


@contextmanager
def simulator(symbols: int, *options: str) -> Iterator[dict[str, str]]:
    """Run a BloFin of so many symbols; yield the settings that lead to it."""
    command = [*COMMAND, "simulate", "--port", "0", "--symbols", str(symbols), *options]
    process = subprocess.Popen(command, env=_clean(), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        lines = [process.stdout.readline().strip() for _ in range(2)]
        yield dict(line.split("=", 1) for line in lines)
    finally:
        end(process)
        if process.stdout:
            process.stdout.close()


@contextmanager
def agent(
    folder: Path, settings: Mapping[str, str], command: Sequence[str] = COMMAND
) -> Iterator[Agent]:
    """Run the agent in a folder; yield it once it is ready. `command`: what runs it."""
    port, log = _free_port(), folder / "agent.log"
    env = _clean() | dict(settings) | {"API_PORT": str(port)}
    with log.open("w", encoding="utf-8") as out:
        begun = time.perf_counter()
        process = subprocess.Popen([*command, "run"], cwd=folder, env=env, stdout=out, stderr=out)
        try:
            while not _ready(port):
                if process.poll() is not None or time.perf_counter() - begun > WITHIN_S:
                    raise AssertionError(f"not ready: {log.read_text(encoding='utf-8')}")
                time.sleep(LOOK_S)
            yield Agent(process.pid, port, time.perf_counter() - begun)
        finally:
            end(process)


def _ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _clean() -> dict[str, str]:
    """Return the environment without settings of ours."""
    ours = ("BLOFIN_", "BACKFILL_", "COVERAGE_", "API_", "LOG_", "TICKS_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def end(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """End it, by force when it does not heed."""
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
