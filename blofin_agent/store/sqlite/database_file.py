"""DatabaseFile: a SQLite file and its companions, known again. What is at a path may change.

SQLite does not notice when its file is overwritten, removed or put in the place of another while
it is open, nor when the write-ahead log or its index goes: it writes on, into files that nobody
will find, or over what was put there. See "How To Corrupt An SQLite Database File".

Nothing here opens them: closing a file takes away the locks that SQLite has on it in this process.
"""

import os
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from pathlib import Path
from typing import NamedTuple

from blofin_agent.store.errors import PASSING, StoreUnavailable, StoreUnusable

Identity = tuple[int, int]


class FileChange(Enum):
    """What became of the file since it was opened."""

    NONE = auto()
    GONE = auto()
    """There is none at the path."""
    OTHER = auto()
    """The path means another file."""
    TORN = auto()
    """The write-ahead log or its index was removed or replaced."""
    WRITTEN = auto()
    """It was written: by a checkpoint of another process, or by somebody who overwrites it."""


class FileSnapshot(NamedTuple):
    """What is at the path: who the files are, when the first was written (ns), and its size."""

    file: Identity | None
    wal: Identity | None
    shm: Identity | None
    written: tuple[int, int] | None


@dataclass(slots=True)
class DatabaseFile:
    """A SQLite file that is open, and its companions: the write-ahead log and the log's index."""

    path: Path
    _known: FileSnapshot | None = None

    @property
    def log(self) -> Path:
        """Where the write-ahead log is."""
        return self.path.with_name(f"{self.path.name}-wal")

    @property
    def index(self) -> Path:
        """Where the log's index is, which all who have the file open share."""
        return self.path.with_name(f"{self.path.name}-shm")

    def log_size(self) -> int:
        """Return how long the log is (bytes), 0 when there is none."""
        try:
            return self.log.stat().st_size
        except OSError:
            return 0

    def prepare(self) -> None:
        """Make the folder it is in. Raises StoreUnusable, and StoreUnavailable if that may pass."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            text = f"cannot make the folder {self.path.parent} for the database: {error.strerror}"
            raise (
                StoreUnavailable(text) if error.errno in PASSING else StoreUnusable(text)
            ) from None

    def writable(self) -> bool:
        """Return whether we may write into it, or there is none yet.

        Another process may create it after the first look: then it exists, and is looked at again.
        """
        may_write = partial(os.access, self.path, os.W_OK)
        return may_write() or not self.path.exists() or may_write()

    def look(self) -> FileSnapshot:
        """Return what is at the path now. Raises OSError when that cannot be seen."""
        try:
            found = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return FileSnapshot(None, _identity(self.log), _identity(self.index), None)
        return FileSnapshot(
            (found.st_dev, found.st_ino),
            _identity(self.log),
            _identity(self.index),
            (found.st_mtime_ns, found.st_size),
        )

    def remember(self) -> None:
        """Take what is at the path now for what is meant. To be called while it is open."""
        self._known = self.look()

    def written_by_sqlite(self) -> None:
        """Take what was written into the file since it was remembered for SQLite's doing."""
        if self._known is not None:
            self._known = self._known._replace(written=self.look().written)

    def change(self) -> FileChange:
        """Return what became of it since it was remembered. Raises OSError as `look` does."""
        known, now = self._known, self.look()
        if now == known:
            return FileChange.NONE
        if now.file is None:
            return FileChange.GONE
        if known is None or now.file != known.file:
            return FileChange.OTHER
        return FileChange.WRITTEN if now.written != known.written else FileChange.TORN

    def came_back(self, found: FileSnapshot) -> bool:
        """Return whether what was found is the file that was remembered, as it was then."""
        known = self._known
        return known is not None and (found.file, found.written) == (known.file, known.written)

    def log_is_others(self) -> bool:
        """Return whether another process writes to a log that came after the one we know."""
        found = _identity(self.log)
        return found is not None and found != self._of_log() and self.log_size() > 0

    def empty_log(self) -> None:
        """Let the log that we know hold nothing, whoever has it open. Raises OSError."""
        if self._of_log() is not None and _identity(self.log) == self._of_log():
            os.truncate(self.log, 0)

    def discard_companions(self) -> None:
        """Remove the log and the index that belonged to the file that we knew. Raises OSError.

        To be called when it is closed. SQLite would take the old log for that of the new file.
        """
        if self._known is None:
            return
        for path, known in ((self.log, self._known.wal), (self.index, self._known.shm)):
            if known is not None and _identity(path) == known:
                path.unlink()

    def _of_log(self) -> Identity | None:
        return self._known.wal if self._known else None


def _identity(path: Path) -> Identity | None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino
