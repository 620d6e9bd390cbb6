"""Reserves ports of 127.0.0.1 for servers that cannot bind to port 0.

No other test, worker or run of the suite gets a reserved port: a file is locked until the process
ends. The range is below the one that Linux uses by default for outgoing connections.
"""

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

FIRST, LAST = 20_000, 32_000
FOLDER = Path(tempfile.gettempdir()) / f"blofin-tests-ports-{os.getuid()}"

_locks = []


def reserve():
    """Return a free port, reserved for this process. Raises OSError if there is none."""
    FOLDER.mkdir(exist_ok=True)
    for port in random.sample(range(FIRST, LAST), LAST - FIRST):
        lock = (FOLDER / str(port)).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            lock.close()
            continue
        _locks.append(lock)
        return port
    raise OSError("no port is free")
