"""Starts `blofin-agent` by forking a process that has its modules loaded already.

A start costs a second of CPU, nearly all of it for imports, and the suite starts some hundreds of
processes. A forked process is a real one: it has its own pid, signals, limits, environment and
streams, and it exits like any Python process. Tests of the start itself use `cold=True`, which runs
the command as users do.

The server is a child of the test process. It exits with its parent and kills its own children.
"""

import contextlib
import io
import json
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
MAX_REQUEST_BYTES = 150_000
PYTHON_OPTIONS = ("PYTHON", "LD_PRELOAD")
"""Prefixes of variables that only the start of Python reads: a fork ignores changes."""


def environment():
    """Return the environment without the variables that make child processes measure coverage."""
    return {name: one for name, one in os.environ.items() if not name.startswith("COVERAGE_PROC")}


class Process:
    """A process forked by the server, with the parts of `subprocess.Popen` that the tests use."""

    def __init__(self, link, args):
        self.args = args
        self.stdout = None
        self.returncode = None
        self._link = link
        told = link.recv(64)
        if not told:
            raise RuntimeError(f"the fork server ended before it started {args}")
        self.pid = int(told)

    def poll(self):
        return self._look(0)

    def wait(self, timeout=None):
        if self._look(timeout) is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def _look(self, timeout):
        if self.returncode is None and select.select([self._link], [], [], timeout)[0]:
            told = self._link.recv(64)
            self._link.close()
            if not told:
                raise RuntimeError(f"the fork server ended before {self.args}")
            self.returncode = int(told)
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """The test process's side of the server, which starts with the first process."""

    def __init__(self):
        self._server = None
        self._lock = threading.Lock()

    def can_start(self, env):
        """Return whether a fork behaves like a new process with this environment."""
        of_python = [
            {name: value for name, value in one.items() if name.startswith(PYTHON_OPTIONS)}
            for one in (env, os.environ)
        ]
        return of_python[0] == of_python[1]

    def start(self, args, *, cwd, env, stdout, stderr):
        """Start `blofin-agent` with these arguments. `stdout`, `stderr`: files, or PIPE."""
        with self._lock:
            if self._server is None:
                self._begin()
        read, write = os.pipe() if stdout is subprocess.PIPE else (None, None)
        request = {"args": [*map(str, args)], "cwd": str(cwd or Path.cwd()), "env": env}
        payload = json.dumps(request).encode()
        assert len(payload) < MAX_REQUEST_BYTES
        link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        link.connect(self._address)
        with open(os.devnull, "rb") as stdin:  # noqa: PTH123 - it is no path of ours
            out = stdout.fileno() if write is None else write
            socket.send_fds(link, [payload], [stdin.fileno(), out, stderr.fileno()])
        process = Process(link, args)
        if write is not None:
            os.close(write)
            process.stdout = os.fdopen(read, "r")
        return process

    def run(self, args, *, cwd, env, timeout):
        """Run `blofin-agent` to its end; return what `subprocess.run` does."""
        pipes = [os.pipe(), os.pipe()]
        texts = ["", ""]

        def read(number):
            with os.fdopen(pipes[number][0], "r") as stream:
                texts[number] = stream.read()

        with os.fdopen(pipes[0][1], "w") as out, os.fdopen(pipes[1][1], "w") as err:
            process = self.start(args, cwd=cwd, env=env, stdout=out, stderr=err)
        readers = [threading.Thread(target=read, args=[number]) for number in (0, 1)]
        for one in readers:
            one.start()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        finally:
            process.wait()
            for one in readers:
                one.join()
        return subprocess.CompletedProcess(args, process.returncode, *texts)

    def close(self):
        if self._server is not None:
            self._server.stdin.close()
            self._server.wait()
            self._server = None

    def _begin(self):
        # An abstract address: it disappears with the server.
        self._address = f"\0blofin-tests-{os.getpid()}-{random.getrandbits(64):x}"
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.forkserver", self._address[1:]],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._server.stdout.read(1) == b"+"


# -- in the server --------------------------------------------------------------------------------


def _load():
    """Import the modules of all commands, including those that they import late."""
    import importlib  # noqa: PLC0415 - only the server loads all this

    for name in (
        *("blofin_agent.__main__", "blofin_agent.agent", "blofin_agent.simulator.server"),
        *("alembic.command", "blofin_agent.store.migrate", "psycopg", "trio.testing"),
        *("sqlalchemy.dialects.postgresql.psycopg", "sqlalchemy.dialects.sqlite"),
    ):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


class _Server:
    """Forks, and reports the exit status of each child."""

    def __init__(self, address):
        self.links = {}
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind("\0" + address)
        self.listener.listen(64)
        self.woken, waker = os.pipe()
        for end in (self.woken, waker):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        self.waker = waker

    def serve(self):
        """Serve until the test process exits. In a child, return the request and its streams."""
        while True:
            ready, _, _ = select.select([0, self.woken, self.listener], [], [])
            if self.listener in ready:
                link, _ = self.listener.accept()
                # Any user of the machine can reach an abstract address.
                peer = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
                if struct.unpack("3i", peer)[1] != os.getuid():
                    link.close()
                    continue
                payload, streams, _, _ = socket.recv_fds(link, MAX_REQUEST_BYTES, 3)
                pid = os.fork()
                if not pid:
                    self._leave(link)
                    return json.loads(payload), streams
                for stream in streams:
                    os.close(stream)
                self.links[pid] = link
                link.send(str(pid).encode())
            if self.woken in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self.woken, 4_096)
                self._reap()
            if 0 in ready:
                self._end_all()
                return None

    def _leave(self, link):
        """Close the server's descriptors, in a child."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for one in (self.listener, link, *self.links.values()):
            one.close()
        os.close(self.woken)
        os.close(self.waker)

    def _reap(self):
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                link = self.links.pop(pid)
                with contextlib.suppress(OSError):
                    link.send(str(os.waitstatus_to_exitcode(status)).encode())
                link.close()

    def _end_all(self):
        for pid in self.links:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 5
        while self.links and time.monotonic() < end:
            self._reap()
            time.sleep(0.01)


def _become(request, streams):
    """Turn this fork into the requested process."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = ["blofin-agent", *request["args"]]
    # Made as Python makes them at its start: the server's own belong to other descriptors.
    sys.stdout = sys.__stdout__ = _stream(1, sys.stdout)
    sys.stderr = sys.__stderr__ = _stream(2, sys.stderr)
    random.seed()
    from blofin_agent.__main__ import main  # noqa: PLC0415 - it is loaded

    main(prog_name="blofin-agent")


def _stream(number, like):
    binary = os.fdopen(number, "wb", closefd=False)
    return io.TextIOWrapper(
        binary, like.encoding, like.errors, line_buffering=number == 2 or binary.isatty()
    )


def _main(address):
    _load()
    server = _Server(address)
    os.write(1, b"+")
    # A child must not inherit the pipe that signals the start.
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.close(devnull)
    if (wanted := server.serve()) is not None:
        _become(*wanted)


if __name__ == "__main__":
    _main(sys.argv[1])
