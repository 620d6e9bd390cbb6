"""Services that all workers of a run share: the first worker that needs one starts it."""

import fcntl
import json
from contextlib import contextmanager
from pathlib import Path

from tests.postgres import Server

_made = []


def folder(tmp_path_factory):
    """Return a folder of the whole run. Each worker's own is below it."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if base.name.startswith("popen-gw") else base


@contextmanager
def _alone(path):
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def once(place, name, make):
    """Return what `make` returned in the first worker that asked; it must fit into JSON."""
    found = place / f"{name}.json"
    with _alone(place / f"{name}.lock"):
        if not found.exists():
            found.write_text(json.dumps(make()))
        return json.loads(found.read_text())


def server(place, worker):
    """Return the PostgreSQL server of the run; a worker's databases begin with its name."""

    def make():
        made = Server.make()
        made.start()
        # It ends with this worker, and workers end with the run.
        _made.append(made)
        return {"folder": str(made.folder), "port": made.port}

    found = once(place, "postgres", make)
    return Server(Path(found["folder"]), found["port"], prefix=f"of_{worker}")
