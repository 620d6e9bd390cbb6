"""Store: the open database. One call is one transaction in one worker thread."""

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa
import structlog
import trio
from sqlalchemy.pool import QueuePool

from blofin_agent.store import migrate
from blofin_agent.store.errors import StoreUnavailable, StoreUnusable, WrongUrl, told
from blofin_agent.store.url import parse

T = TypeVar("T")

log = structlog.get_logger()


class Done(NamedTuple):
    """A transaction that ended."""

    operation: str
    seconds: float
    reading: bool
    problem: StoreUnavailable | None
    """Why the database did not take it, when it did not."""


Observer = Callable[[Done], None]

BUSY_TIMEOUT_S = 4
"""How long a transaction waits for another program's lock; shorter than a shutdown may take."""


@dataclass(slots=True)
class Store:
    """A database that is open and of our schema. Make one with `open_store`.

    `limiter` lets one worker thread in at a time, so that a transaction of ours never waits for
    another of ours and the pool keeps to one connection.
    """

    engine: sa.Engine
    where: str
    file: "DatabaseFile | None" = None
    """The file of a SQLite database that is kept open for writing."""
    generation: int = 0
    """Counts how often the database was opened anew, because its file was another one."""
    observer: Observer | None = None
    looks_only: bool = False
    """Whether it never makes or migrates a database that came into the place of another."""
    limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(1))

    async def write(self, operation: str, work: Callable[[sa.Connection], T]) -> T:
        """Run `work` in one writing transaction in a worker thread, and return what it returns.

        Never abandoned once begun: a cancelled caller waits until it has committed or failed.
        Raises StoreUnavailable when the database cannot be used now.
        """
        here = partial(self._observed, operation, work, reading=False)
        return await trio.to_thread.run_sync(here, limiter=self.limiter)

    async def read(self, operation: str, work: Callable[[sa.Connection], T]) -> T:
        """Do the same in a transaction that takes no lock."""
        here = partial(self._observed, operation, work, reading=True)
        return await trio.to_thread.run_sync(here, limiter=self.limiter)

    def read_here(self, work: Callable[[sa.Connection], T]) -> T:
        """Read in this thread, for those who have no event loop."""
        return self._observed("read", work, reading=True)

    def reader(self) -> "Store":
        """Return the same database for those who only look: its reads hold no write up."""
        file = DatabaseFile(self.file.path) if self.file else None
        if file:
            file.remember()
        return Store(_engine(self.engine.url), self.where, file, looks_only=True)

    def close(self) -> None:
        """Close all connections; on SQLite that folds the write-ahead log into the file."""
        self.engine.dispose()

    def _observed(self, operation: str, work: Callable[[sa.Connection], T], *, reading: bool) -> T:
        begun = time.perf_counter()
        problem: StoreUnavailable | None = None
        try:
            if self.file is not None and self.file.moved():
                if self.looks_only:
                    self._look_anew(self.file)
                else:
                    self._open_anew(self.file)
            with (
                told(self.where),
                self.engine.connect().execution_options(reading=reading) as connection,
                connection.begin(),
            ):
                return work(connection)
        except StoreUnavailable as error:
            problem = error
            raise
        finally:
            if self.observer is not None:
                seconds = time.perf_counter() - begun
                self.observer(Done(operation, seconds, reading, problem))

    def _look_anew(self, file: "DatabaseFile") -> None:
        """Go on looking at the file that is at the place now. Raises StoreUnavailable."""
        self.engine.dispose()
        if not file.there():
            # SQLite would make an empty one.
            raise StoreUnavailable(f"database {self.where}: the file is gone")
        file.remember()

    def _open_anew(self, file: "DatabaseFile") -> None:
        """Go on with the file that is at the place now, or with a new one."""
        self.engine.dispose()
        try:
            file.prepare()
            with told(self.where):
                migrate.upgrade(self.engine, self.where, read_only=False)
        except StoreUnusable as error:
            raise StoreUnavailable(str(error)) from None
        file.remember()
        self.generation += 1
        log.error(
            f"database {self.where} was removed or replaced under the agent; it goes on with what "
            "is there now, and fetches what that lacks"
        )


@dataclass(slots=True)
class DatabaseFile:
    """A SQLite file, known again by its inode: a path may come to mean another file."""

    path: Path
    _known: tuple[int, int] | None = None

    def prepare(self) -> None:
        """Make the folder it is in. Raises StoreUnusable, also for what is there and no file."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnusable(
                f"cannot make the folder {self.path.parent} for the database: {error.strerror}"
            ) from None
        if self._identity() is not None and not self.there():
            # SQLite would write into a device.
            raise StoreUnusable(f"the database {self.path} is no file; name a file")

    def there(self) -> bool:
        """Return whether a file is at the path, as far as this user may know."""
        try:
            return self.path.is_file()
        except OSError:
            return False

    def remember(self) -> None:
        """Take the file that is at the path now for the one meant."""
        self._known = self._identity()

    def moved(self) -> bool:
        """Return whether the path has come to mean another file, or none."""
        return self._identity() != self._known

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


def open_store(url: str, *, read_only: bool = False) -> Store:
    """Open the database, make or migrate its schema, and return the Store.

    `read_only` is for commands that only look: the file must be there already, and nothing is
    made or migrated. Raises StoreUnusable with a sentence for a person.
    """
    parsed = parse(url)
    where = describe(parsed)
    file = None
    if parsed.get_backend_name() == "sqlite":
        file = _file(parsed, where, read_only=read_only)
    try:
        engine = _engine(parsed)
    except sa.exc.NoSuchModuleError:
        raise WrongUrl(
            f"BLOFIN_DATABASE_URL names {parsed.drivername!r}, which SQLAlchemy does not know"
        ) from None
    except (sa.exc.ArgumentError, ValueError, TypeError):
        # What they say may repeat a part of the URL.
        raise WrongUrl(f"BLOFIN_DATABASE_URL has parameters that {where} cannot take") from None
    except ModuleNotFoundError as error:
        raise StoreUnusable(
            f"the driver {error.name} for {where} is not installed; install it beside blofin-agent"
        ) from None
    try:
        with told(where):
            migrate.upgrade(engine, where, read_only=read_only)
    except StoreUnavailable as error:
        engine.dispose()
        raise StoreUnusable(str(error)) from None
    except StoreUnusable:
        engine.dispose()
        raise
    if file is None or read_only:
        return Store(engine, where)
    file.remember()
    return Store(engine, where, file)


def _engine(url: sa.URL) -> sa.Engine:
    """Return an engine of one connection. Raises what SQLAlchemy does for a driver it lacks."""
    engine = sa.create_engine(
        url, poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=60
    )
    if url.get_backend_name() == "sqlite":
        _listen(engine)
    return engine


def describe(url: sa.URL) -> str:
    """Return the place a person knows the database by, without credentials."""
    if url.get_backend_name() == "sqlite":
        return url.database or ":memory:"
    bare = sa.URL.create(url.drivername, host=url.host, port=url.port, database=url.database)
    return bare.render_as_string()


def _file(url: sa.URL, where: str, *, read_only: bool) -> DatabaseFile:
    if url.host or url.username or url.password or url.port or url.query:
        raise WrongUrl(
            "BLOFIN_DATABASE_URL names more than a file: for SQLite it is a path alone, such as "
            "sqlite:///data/blofin.db, without host, user and parameters"
        )
    if not url.database or url.database == ":memory:":
        raise WrongUrl(
            "BLOFIN_DATABASE_URL names a SQLite database in memory, which is lost at exit and not "
            "shared between threads; name a file, such as sqlite:///data/blofin.db"
        )
    file = DatabaseFile(Path(url.database))
    if not read_only:
        file.prepare()
    elif not file.there():
        raise StoreUnusable(
            f"there is no database at {where} yet; `blofin-agent run` or "
            "`blofin-agent backfill` makes it"
        )
    return file


def _listen(engine: sa.Engine) -> None:
    """Set SQLite up on each new connection, and begin transactions ourselves.

    Python's sqlite3 begins transactions late and not before DDL; told to keep out of it, a
    migration is atomic, and a writer takes its lock at the start, where busy_timeout works.
    """

    @sa.event.listens_for(engine, "connect")
    def _connect(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000}")
        connection.execute("PRAGMA synchronous = NORMAL")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        mode = "" if connection.get_execution_options().get("reading") else " IMMEDIATE"
        connection.exec_driver_sql("BEGIN" + mode)
