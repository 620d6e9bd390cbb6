"""Keeper: keeps a SQLite database open at its path, whatever happens to the file there.

What was committed goes where it belongs or nowhere: an old log is never played into another file.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum

import sqlalchemy as sa
import structlog

from blofin_agent.store import migrate
from blofin_agent.store.errors import (
    StoreDamaged,
    StoreDisconnected,
    StoreUnavailable,
    StoreUnusable,
    translate_errors,
)
from blofin_agent.store.sqlite.database_file import DatabaseFile, FileChange, FileSnapshot
from blofin_agent.store.sqlite.driver import checkpoint, driver_of, is_sound

log = structlog.get_logger()

CHECKPOINT_BYTES = 16_000_000
"""A write-ahead log longer than this is folded into the file. Each minute writes to the same pages
again: the more of them a fold finds, the fewer it has to write."""


class _Story(StrEnum):
    """What happened to the file, and what was done about it."""

    NONE = ""
    REPLACED = "continue with the file that is there now and refetch missing candles"
    TORN = "contents saved, database reopened"
    LOST = "database reopened; refetch missing candles"
    WHOLE = "database reopened; the file is intact"


class DatabaseFileMonitor:
    """Opens the file at the path, and opens it anew when it is no longer what it was.

    A file that is gone may come back within `return_s`, see `StoreTiming.file_return_s`.
    All but `close` is called before or after a transaction, in the thread of that.
    """

    def __init__(self, engine: sa.Engine, where: str, file: DatabaseFile, return_s: float) -> None:
        self.generation = 0
        """Counts how often the database was opened anew, because its file had changed."""
        self.file = file
        self._guard = threading.Lock()
        """Held while the file is let go and opened; and by who reads it over another engine."""
        self._engine = engine
        self._where = where
        self._return_s = return_s
        self._open = False
        self._known = False
        """Whether it was open before."""
        self._gone_since: float | None = None
        self._damaged: FileSnapshot | None = None
        """What was found damaged: it is not looked into again before it has changed."""
        self._suspected = False
        self._story = _Story.NONE
        """What is said of it once it is open again, if anything."""
        self._commits: object = None
        """SQLite's count of other processes' commits."""
        self._log_size = 0

    def follow(self) -> None:
        """See to it that what is open is what is at the path. Raises StoreUnavailable."""
        with translate_errors(self._where):
            change = self._change() if self._open else FileChange.NONE
            if self._open and change is FileChange.NONE:
                return
            with self._guard:
                if self._open:
                    self._let_go(change)
                self._open_again()

    @contextmanager
    def held_still(self) -> Iterator[None]:
        """Let the file stay what it is while somebody reads it. Raises StoreUnavailable."""
        with self._guard:
            if not self.file.path.is_file():
                # SQLite would make an empty one.
                raise StoreUnavailable(f"database {self._where}: the file is gone")
            yield

    def open(self) -> None:
        """Open it for the first time. Raises StoreUnusable and StoreUnavailable."""
        with translate_errors(self._where):
            self._set_up()
            self._opened()

    def failed(self, error: StoreUnavailable) -> None:
        """Note why a transaction was not taken, for the next one.

        What SQLite calls damaged is looked into; what is cut off is opened anew.
        """
        if isinstance(error, StoreDamaged):
            self._suspected = True
        elif isinstance(error, StoreDisconnected) and self._open:
            with suppress(OSError), self._guard:
                if self.file.change() is FileChange.NONE:
                    self._engine.dispose()
                    self.file.written_by_sqlite()
                    self._open, self._story = False, _Story.NONE

    def fold(self, connection: sa.Connection) -> None:
        """Fold the log into the file if it is long, and empty it; a failure is met again later.

        SQLite would do the same at a commit, but leave the frames in the log. A log that is then
        cut, by a loss of power say, would put old pages over new ones.
        """
        if self.file.log_size() > CHECKPOINT_BYTES:
            checkpoint(connection)
            self._log_size = self.file.log_size()
            with suppress(OSError):
                self.file.written_by_sqlite()

    def close(self) -> None:
        """Close it, which folds the log into the file, unless that is another one by now."""
        with suppress(StoreUnavailable), translate_errors(self._where):
            if self._open and (change := self._change()) is not FileChange.NONE:
                self._let_go(change)
        self._engine.dispose()

    def _change(self) -> FileChange:
        if self._suspected:
            return FileChange.WRITTEN
        change = self.file.change()
        if change not in (FileChange.NONE, FileChange.WRITTEN):
            return change
        if self._others_were_here() and change is FileChange.WRITTEN:
            self.file.written_by_sqlite()
            return self.file.change()
        return change

    def _others_were_here(self) -> bool:
        """Return whether another process committed, or folded the log, since this was asked."""
        commits, size = self._commits, self._log_size
        with self._engine.connect() as connection:
            self._commits = driver_of(connection).execute("PRAGMA data_version").fetchone()
        self._log_size = self.file.log_size()
        return commits != self._commits or self._log_size < size

    def _let_go(self, change: FileChange) -> None:
        """Close it so that nothing of it gets into what is at the path now."""
        keeps_log, self._story = False, _Story.REPLACED
        if change is FileChange.WRITTEN:
            # Of an empty one SQLite would say that it is sound.
            keeps_log = self.file.path.stat().st_size > 0 and is_sound(self.file.path)
            if keeps_log:
                self._story = _Story.WHOLE
            else:
                # To close it would fold the log into what somebody put there.
                self.file.empty_log()
        elif self.file.log_is_others():
            keeps_log = True
        else:
            # What is only in a log that nobody finds any more goes where it belongs.
            with self._engine.connect() as connection:
                folded = checkpoint(connection)
            if change is FileChange.TORN:
                keeps_log, self._story = not folded, _Story.TORN if folded else _Story.LOST
        self._engine.dispose()
        self._open = False
        if not keeps_log:
            self.file.discard_companions()

    def _open_again(self) -> None:
        found = self.file.look()
        if found.file is None and self._known:
            self._gone_since = self._gone_since or time.monotonic()
            if time.monotonic() - self._gone_since < self._return_s:
                raise StoreUnavailable(
                    f"database {self._where}: the file is gone; if it does not come back within "
                    f"{self._return_s:g} s it is made anew"
                )
        again, came_back = self._known, self.file.came_back(found)
        try:
            self._set_up(found, doubted=again and not came_back)
        except StoreUnusable as error:
            raise StoreUnavailable(str(error)) from None
        finally:
            # Not open yet: nothing is kept from what was tried.
            self._engine.dispose()
        self._opened()
        if again:
            self.generation += 1
            if self._story and not (came_back and self._story is _Story.REPLACED):
                self._log_change()

    def _log_change(self) -> None:
        database, action = self._where, self._story.value
        match self._story:
            case _Story.REPLACED:
                log.error("database file removed or replaced", database=database, action=action)
            case _Story.TORN | _Story.LOST:
                log.error("database lost its -wal or -shm file", database=database, action=action)
            case _Story.WHOLE:
                log.info(
                    "database file written by another program", database=database, action=action
                )

    def _set_up(self, found: FileSnapshot | None = None, *, doubted: bool = False) -> None:
        self.file.prepare()
        if not self.file.writable():
            # SQLite would open it all the same, and make a log that nobody can write to either.
            raise sqlite3.OperationalError("attempt to write a readonly database")
        if doubted and found is not None and found.file is not None and found != self._damaged:
            self._damaged = None if is_sound(self.file.path) else found
        if doubted and found == self._damaged:
            raise StoreDamaged(
                f"database {self._where}: the file is damaged, or no database; restore it from a "
                "copy or move it away"
            )
        migrate.upgrade(self._engine, self._where, read_only=False)

    def _opened(self) -> None:
        # The log and its index are there from the first look on, and as long as this is open.
        self._others_were_here()
        self.file.remember()
        self._open = self._known = True
        self._gone_since = self._damaged = None
        self._suspected = False
