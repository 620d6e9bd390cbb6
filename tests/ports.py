"""Ports of 127.0.0.1 that no other test, worker or run of the suite takes.

For servers that cannot choose one themselves. They lie below the range from which Linux takes the
ports of outgoing connections, and each is locked until its process ends.
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
    """Return a port that is free, and stays reserved for this process."""
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
