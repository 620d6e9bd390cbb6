"""OldFile: a SQLite file that another program made, read and never written.

SQLite's own files beside it are left as they were: in WAL mode even a reader makes some.
"""

import fcntl
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from blofin_agent.domain.sanitize import shorten
from blofin_agent.store.errors import StoreError

Row = tuple[Any, ...]

_MAGIC = b"SQLite format 3\0"
_VERSIONS = slice(18, 20)
"""Where a file's header says how it is read and written. Source: "Database File Format"."""
_WAL = b"\2\2"
_OPEN_BYTE = 128
"""The byte of a -shm file that whoever has it open keeps locked. Source: SQLite's `os_unix.c`."""
_STEPS = 100_000
"""So often, in steps of SQLite's machine, it is asked whether to go on: some milliseconds."""


class SourceFileUnreadable(StoreError):
    """A file cannot be read. The text is a sentence for a person."""


class SourceFile:
    """An open file. `is_over` is asked now and then, and ends what is read when it says so.

    It may be used in any thread, by one at a time. Raises NotReadable.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.path = path
        self._connection = connection
        connection.text_factory = lambda text: text.decode("utf-8", "replace")
        with _told(path):
            found = connection.execute("SELECT name FROM sqlite_master WHERE type <> 'index'")
            self.tables = {str(name).lower(): str(name) for (name,) in found}
            """Its tables and views, by their names in small letters."""

    def heed(self, is_over: Callable[[], bool]) -> None:
        """End what is read when this says so."""
        self._connection.set_progress_handler(is_over, _STEPS)

    @property
    def is_ours(self) -> bool:
        """Whether it is a database of this program's."""
        return {"alembic_version", "candles"} <= set(self.tables)

    def columns(self, table: str) -> list[str]:
        """Return the names of a table's columns; none when there is no such table."""
        with _told(self.path):
            found = self._connection.execute(f"PRAGMA table_info({_quoted(table)})")
            return [str(row[1]) for row in found]

    def rows(
        self,
        table: str,
        columns: Sequence[str],
        most: int,
        *,
        having: tuple[str, str] | None = None,
        ordered_by: Sequence[str] = (),
    ) -> Iterator[list[Row]]:
        """Yield rows of these columns, so many at a time, in the order of some where named.

        `having`: only those with this value in a column.
        """
        query = f"SELECT {', '.join(map(_quoted, columns))} FROM {_quoted(table)}"  # noqa: S608
        if having is not None:
            query += f" WHERE {_quoted(having[0])} = ?"
        if ordered_by:
            query += f" ORDER BY {', '.join(map(_quoted, ordered_by))}"
        with _told(self.path):
            found = self._connection.execute(query, having[1:] if having else ())
            while part := found.fetchmany(most):
                yield part


@contextmanager
def opened(path: Path) -> Iterator[SourceFile]:
    """Open a file for the length of a block. Raises NotReadable."""
    log, index = (path.with_name(path.name + end) for end in ("-wal", "-shm"))
    with _told(path):
        with path.open("rb") as file:
            head = file.read(100)
        if head and not head.startswith(_MAGIC):
            raise SourceFileUnreadable(f"{path} is no SQLite database")
        # Without a log nothing is in use: SQLite is told so, or it would make one.
        alone = head[_VERSIONS] == _WAL and not log.exists()
        made = not index.exists()
        mode = "immutable=1" if alone else "mode=ro"
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?{mode}", uri=True, check_same_thread=False
        )
    try:
        yield SourceFile(connection, path)
    finally:
        connection.close()
        if made:
            _remove(index)


def _remove(index: Path) -> None:
    """Remove the log's index, which was made only to read it, unless somebody uses it by now."""
    with suppress(OSError), index.open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _OPEN_BYTE)
        index.unlink()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise SourceFileUnreadable(f"{path} cannot be read: {shorten(str(error))}") from None
    except OSError as error:
        raise SourceFileUnreadable(f"{path} cannot be read: {error.strerror}") from None
