"""Services shared by all workers of a run. The first worker that needs one starts it."""

import fcntl
import json
from contextlib import contextmanager
from pathlib import Path

from tests.postgres import Server

_made = []


def folder(tmp_path_factory):
    """Return the folder of the whole run. The folders of the workers are in it."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if base.name.startswith("popen-gw") else base


@contextmanager
def _alone(path):
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def once(place, name, make):
    """Return the value of `make` from the first worker that called this; it must fit into JSON."""
    found = place / f"{name}.json"
    with _alone(place / f"{name}.lock"):
        if not found.exists():
            found.write_text(json.dumps(make()))
        return json.loads(found.read_text())


def server(place, worker):
    """Return the PostgreSQL server of the run. Names of databases begin with the worker's name."""

    def make():
        made = Server.make()
        made.start()
        # The server stops when this worker ends.
        _made.append(made)
        return {"folder": str(made.folder), "port": made.port}

    found = once(place, "postgres", make)
    return Server(Path(found["folder"]), found["port"], prefix=f"of_{worker}")
