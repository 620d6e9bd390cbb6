"""Keeper: keeps a SQLite database open at its path, whatever happens to the file there.

What was committed goes where it belongs or nowhere: an old log is never played into another file.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import sqlalchemy as sa
import structlog

from blofin_agent.store import migrate
from blofin_agent.store.errors import (
    StoreDamaged,
    StoreUnavailable,
    StoreUnusable,
    is_damage,
    told,
)
from blofin_agent.store.file import Change, DatabaseFile, Seen

log = structlog.get_logger()

FOLD_BYTES = 4_000_000
"""A write-ahead log longer than this is folded into the file: about SQLite's own 1,000 pages."""
GRACE_S = 10.0
"""So long a file that is gone may come back before a new one is made: a folder was renamed, or
mounted anew."""


_REPLACED = (
    "was removed or replaced under the agent; it goes on with what is there now, and fetches what "
    "that lacks"
)
_TORN = (
    "lost its -wal or -shm file under the agent; what was in it is saved, and the database was "
    "opened anew"
)
_LOST = (
    "lost its -wal or -shm file under the agent; it was opened anew, and what that lacks is fetched"
)
_WHOLE = "was written by another program, and is whole; it was opened anew"


class Keeper:
    """Opens the file at the path, and opens it anew when it is no longer what it was.

    All but `close` is called before or after a transaction, in the thread of that.
    """

    def __init__(self, engine: sa.Engine, where: str, file: DatabaseFile) -> None:
        self.generation = 0
        """Counts how often the database was opened anew, because its file had changed."""
        self.file = file
        self._guard = threading.Lock()
        """Held while the file is let go and opened; and by who reads it over another engine."""
        self._engine = engine
        self._where = where
        self._open = False
        self._known = False
        """Whether it was open before."""
        self._gone_since: float | None = None
        self._damaged: Seen | None = None
        """What was found damaged: it is not looked into again before it has changed."""
        self._suspected = False
        self._story = _REPLACED
        """What is said of it once it is open again."""
        self._commits: object = None
        """SQLite's count of other processes' commits."""
        self._log_size = 0

    def follow(self) -> None:
        """See to it that what is open is what is at the path. Raises StoreUnavailable."""
        with told(self._where):
            change = self._change() if self._open else Change.NONE
            if self._open and change is Change.NONE:
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
        self.file.prepare()
        with told(self._where):
            migrate.upgrade(self._engine, self._where, read_only=False)
            self._opened()

    def suspect(self) -> None:
        """Note that SQLite calls the database damaged: it is looked into before the next one."""
        self._suspected = True

    def fold(self, connection: sa.Connection) -> None:
        """Fold the log into the file if it is long, and empty it; a failure is met again later.

        SQLite would do the same at a commit, but leave the frames in the log. A log that is then
        cut, by a loss of power say, would put old pages over new ones.
        """
        if self.file.log_size() > FOLD_BYTES:
            _fold(connection)
            self._log_size = self.file.log_size()
            with suppress(OSError):
                self.file.written_by_sqlite()

    def close(self) -> None:
        """Close it, which folds the log into the file, unless that is another one by now."""
        with suppress(StoreUnavailable), told(self._where):
            if self._open and (change := self._change()) is not Change.NONE:
                self._let_go(change)
        self._engine.dispose()

    def _change(self) -> Change:
        if self._suspected:
            return Change.WRITTEN
        change = self.file.change()
        if change not in (Change.NONE, Change.WRITTEN):
            return change
        if self._others_were_here() and change is Change.WRITTEN:
            self.file.written_by_sqlite()
            return self.file.change()
        return change

    def _others_were_here(self) -> bool:
        """Return whether another process committed, or folded the log, since this was asked."""
        commits, size = self._commits, self._log_size
        with self._engine.connect() as connection:
            self._commits = _driver(connection).execute("PRAGMA data_version").fetchone()
        self._log_size = self.file.log_size()
        return commits != self._commits or self._log_size < size

    def _let_go(self, change: Change) -> None:
        """Close it so that nothing of it gets into what is at the path now."""
        keeps_log, self._story = False, _REPLACED
        if change is Change.WRITTEN:
            keeps_log = self._sound()
            if keeps_log:
                self._story = _WHOLE
            else:
                # To close it would fold the log into what somebody put there.
                self.file.empty_log()
        elif self.file.log_is_others():
            keeps_log = True
        else:
            # What is only in a log that nobody finds any more goes where it belongs.
            with self._engine.connect() as connection:
                folded = _fold(connection)
            if change is Change.TORN:
                keeps_log, self._story = not folded, _TORN if folded else _LOST
        self._engine.dispose()
        self._open = False
        if not keeps_log:
            self.file.discard_companions()

    def _open_again(self) -> None:
        found = self.file.look()
        if found.file is None and self._known:
            self._gone_since = self._gone_since or time.monotonic()
            if time.monotonic() - self._gone_since < GRACE_S:
                raise StoreUnavailable(
                    f"database {self._where}: the file is gone; if it does not come back within "
                    f"{GRACE_S:g} s it is made anew"
                )
        if found != self._damaged:
            self._damaged = None if found.file is None or self._sound() else found
        if self._damaged is not None:
            raise StoreDamaged(
                f"database {self._where}: the file is damaged, or no database; restore it from a "
                "copy or move it away"
            )
        try:
            self.file.prepare()
            migrate.upgrade(self._engine, self._where, read_only=False)
        except StoreUnusable as error:
            raise StoreUnavailable(str(error)) from None
        finally:
            # Not open yet: nothing is kept from what was tried.
            self._engine.dispose()
        if self._known:
            self.generation += 1
            if not self.file.came_back(found):
                (log.info if self._story is _WHOLE else log.error)(
                    f"database {self._where} {self._story}"
                )
        self._opened()

    def _opened(self) -> None:
        # The log and its index are there from the first look on, and as long as this is open.
        self._others_were_here()
        self.file.remember()
        self._open = self._known = True
        self._gone_since = self._damaged = None
        self._suspected = False

    def _sound(self) -> bool:
        """Return whether SQLite finds no fault in what is at the path. Raises sqlite3.Error."""
        connection = sqlite3.connect(self.file.path, timeout=1)
        try:
            return bool(connection.execute("PRAGMA integrity_check(1)").fetchone()[0] == "ok")
        except sqlite3.DatabaseError as error:
            if is_damage(error):
                return False
            raise
        finally:
            connection.close()


def _fold(connection: sa.Connection) -> bool:
    """Write the log into the file and empty it; return whether all of it was written."""
    driver = _driver(connection)
    (patience_ms,) = driver.execute("PRAGMA busy_timeout").fetchone()
    # Not to wait for readers: the next time comes soon.
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        busy, *_ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error:
        return False
    finally:
        driver.execute(f"PRAGMA busy_timeout = {patience_ms}")
    return bool(busy == 0)


def _driver(connection: sa.Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)  # noqa: S101 - the engine is SQLite's
    return driver
