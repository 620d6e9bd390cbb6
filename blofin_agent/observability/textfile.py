"""Textfile: metrics in a file for node_exporter's textfile collector."""

import errno
import math
import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path

from blofin_agent.domain.sanitize import shorten

SUFFIX = ".prom"
"""node_exporter reads no other files."""
_MODE = 0o644
_LAST_SUCCESS = re.compile(rb"^blofin_backfill_last_success_timestamp_seconds (\S+)$", re.MULTILINE)


def parse(text: str) -> Path:
    """Return the path. Raises ValueError when node_exporter would not read it."""
    if not text.endswith(SUFFIX):
        raise ValueError(
            f"{shorten(text)!r} must end in {SUFFIX}: node_exporter reads no other files"
        )
    return Path(text)


def last_success(path: Path) -> float:
    """Return when the last success was (seconds) by the file that is there, 0 when it is silent."""
    with suppress(OSError, ValueError):
        found = _LAST_SUCCESS.search(path.read_bytes())
        if found and math.isfinite(when := float(found[1])):
            return when
    return 0.0


def write(path: Path, text: bytes) -> None:
    """Put a whole file in the place of the last one, so that none is ever read half-written.

    Every user may read it, whatever the umask: node_exporter is another one. (That is why this is
    not prometheus_client's `write_to_textfile`.) Raises OSError.
    """
    if path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "there is something that is no file", str(path))
    number, name = tempfile.mkstemp(suffix=".tmp", prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(text)
            file.flush()
            os.fchmod(number, _MODE)
            os.fsync(number)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise
