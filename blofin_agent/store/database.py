"""Store: the open database. One call is one transaction in one worker thread."""

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa
import trio
from sqlalchemy.pool import NullPool, QueuePool

from blofin_agent.domain.sanitize import one_line
from blofin_agent.store import migrate
from blofin_agent.store.errors import (
    InvalidDatabaseUrl,
    StoreAccessDenied,
    StoreDamaged,
    StoreUnavailable,
    StoreUnusable,
    translate_errors,
)
from blofin_agent.store.postgresql import connections
from blofin_agent.store.postgresql.deadlines import ConnectionDeadlines
from blofin_agent.store.postgresql.server_clock import ServerClock
from blofin_agent.store.sqlite.database_file import DatabaseFile
from blofin_agent.store.sqlite.driver import driver_of
from blofin_agent.store.sqlite.file_monitor import DatabaseFileMonitor
from blofin_agent.store.timing import DEFAULT, StoreTiming
from blofin_agent.store.url import describe, parse, path_of

T = TypeVar("T")


class TransactionResult(NamedTuple):
    """A transaction that ended."""

    operation: str
    seconds: float
    reading: bool
    problem: StoreUnavailable | None
    """Why the database did not take it, when it did not."""


Observer = Callable[[TransactionResult], None]


@dataclass(slots=True)
class Database:
    """A database of our schema. Make one with `open_store`.

    `limiter` lets one worker thread in at a time, so that a transaction of ours never waits for
    another of ours and the pool keeps to one connection.
    """

    engine: sa.Engine
    where: str
    file_monitor: DatabaseFileMonitor | None = None
    """Keeps a SQLite file open that is written to."""
    observer: Observer | None = None
    looks_at: DatabaseFileMonitor | None = None
    """The keeper of a file that is only looked at here: it is neither made nor migrated."""
    timing: StoreTiming = DEFAULT
    late: bool = False
    """Whether a server was not to be reached when it was opened: its schema is looked at later."""
    lines: ConnectionDeadlines = field(default_factory=ConnectionDeadlines)
    clock: ServerClock = field(default_factory=ServerClock)
    limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(1))
    _waiting: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot)

    @property
    def generation(self) -> int:
        """Count how often the database was opened anew, because its file was another one."""
        return self.file_monitor.generation if self.file_monitor else 0

    async def write(
        self,
        operation: str,
        work: Callable[[sa.Connection], T],
        patience_s: float | None = None,
    ) -> T:
        """Run `work` in one writing transaction in a worker thread, and return what it returns.

        Never abandoned once begun: a cancelled caller waits until it has committed or failed.
        `patience_s`: how long it waits for another program's lock, if not `StoreTiming.busy_s`.
        Raises StoreUnavailable when the database cannot be used now.
        """
        options = {"reading": False, "patience_s": patience_s}
        here = partial(self._observed, operation, work, options)
        result = await trio.to_thread.run_sync(here, limiter=self.limiter)
        self._waiting.unpark_all()
        return result

    async def read(self, operation: str, work: Callable[[sa.Connection], T]) -> T:
        """Do the same in a transaction that takes no lock."""
        here = partial(self._observed, operation, work, {"reading": True})
        return await trio.to_thread.run_sync(here, limiter=self.limiter)

    def read_here(self, work: Callable[[sa.Connection], T]) -> T:
        """Read in this thread, for those who have no event loop, and as long as it takes."""
        return self._observed("read", work, {"reading": True, "at_leisure": True})

    async def pause(self, seconds: float) -> None:
        """Wait before what failed is tried again: so long, or until something else is written."""
        with trio.move_on_after(seconds):
            await self._waiting.park()

    def reader(self) -> "Database":
        """Return the same database for those who only look: its reads hold no write up.

        On SQLite each opens the file for itself, so that none has it open while it is replaced.
        """
        pooling = NullPool if self.file_monitor else QueuePool
        engine = _engine(self.engine.url, self.lines, self.timing, pooling)
        return Database(
            engine, self.where, looks_at=self.file_monitor, lines=self.lines, timing=self.timing
        )

    def close(self) -> None:
        """Close all connections; on SQLite that folds the write-ahead log into the file."""
        if self.file_monitor:
            self.file_monitor.close()
        else:
            self.engine.dispose()

    def _observed(
        self, operation: str, work: Callable[[sa.Connection], T], options: dict[str, Any]
    ) -> T:
        begun = time.perf_counter()
        problem: StoreUnavailable | None = None
        try:
            if self.looks_at:
                with self.looks_at.held_still():
                    return self._transact(work, options)
            if self.file_monitor:
                self.file_monitor.follow()
            elif self.late:
                self._catch_up()
            return self._transact(work, options)
        except StoreUnavailable as error:
            problem = error
            if self.file_monitor:
                self.file_monitor.failed(error)
            raise
        finally:
            if self.observer is not None:
                seconds = time.perf_counter() - begun
                self.observer(TransactionResult(operation, seconds, options["reading"], problem))

    def _catch_up(self) -> None:
        with translate_errors(self.where):
            try:
                migrate.upgrade(self.engine, self.where, read_only=False)
            except StoreUnusable as error:
                raise StoreUnavailable(str(error)) from None
        self.late = False

    def _transact(self, work: Callable[[sa.Connection], T], options: dict[str, Any]) -> T:
        if options["reading"] and self.engine.dialect.name == "postgresql":
            options = options | connections.READING
        with (
            translate_errors(self.where),
            self.engine.connect().execution_options(**options) as connection,
            connections.bounded(connection, self.lines, self.timing.transaction_s),
        ):
            with connection.begin():
                result = work(connection)
            if self.file_monitor and not options["reading"]:
                self.file_monitor.fold(connection)
            return result


def open_store(
    url: str,
    *,
    read_only: bool = False,
    patient: bool = False,
    existing: bool = False,
    timing: StoreTiming = DEFAULT,
) -> Database:
    """Open the database, make or migrate its schema, and return the Store.

    `read_only` is for commands that only look: the file must be there already, and nothing is
    made or migrated. `existing` is for those that have nothing to do without one. `patient` is for
    the agent: one that is locked or full just now is opened with the first transaction that it
    takes. Raises StoreUnusable with a sentence for a person.
    """
    parsed = parse(url)
    where = describe(parsed)
    path = path_of(parsed, where, existing=existing or read_only)
    try:
        engine = _engine(parsed, lines := ConnectionDeadlines(), timing)
    except sa.exc.NoSuchModuleError:
        raise InvalidDatabaseUrl(
            f"BLOFIN_DATABASE_URL names {parsed.drivername!r}, which SQLAlchemy does not know"
        ) from None
    except (sa.exc.ArgumentError, ValueError, TypeError):
        # What they say may repeat a part of the URL.
        raise InvalidDatabaseUrl(
            f"BLOFIN_DATABASE_URL has parameters that {where} cannot take"
        ) from None
    except ImportError as error:
        raise StoreUnusable(
            f"the driver for {where} is not installed ({one_line(str(error))}); install it: pip "
            "install 'blofin-agent[postgresql]'"
        ) from None
    file_monitor = None
    if path and not read_only:
        file_monitor = DatabaseFileMonitor(engine, where, DatabaseFile(path), timing.file_return_s)
    try:
        if file_monitor:
            file_monitor.open()
        else:
            with translate_errors(where):
                migrate.upgrade(engine, where, read_only=read_only)
    except StoreUnavailable as error:
        engine.dispose()
        if not patient or isinstance(error, StoreDamaged | StoreAccessDenied):
            raise StoreUnusable(str(error)) from None
        return Database(
            engine, where, file_monitor, late=file_monitor is None, lines=lines, timing=timing
        )
    except StoreUnusable:
        engine.dispose()
        raise
    return Database(engine, where, file_monitor, lines=lines, timing=timing)


def _engine(
    url: sa.URL, lines: ConnectionDeadlines, timing: StoreTiming, pooling: type[sa.Pool] = QueuePool
) -> sa.Engine:
    """Return an engine of one connection. Raises what SQLAlchemy does for a driver it lacks."""
    sizes = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 60} if pooling is QueuePool else {}
    if url.get_backend_name() == "sqlite":
        engine = sa.create_engine(url, poolclass=pooling, **sizes)
        _listen(engine, timing.busy_s)
    else:
        options = connections.options(url, timing.connect_s)
        engine = sa.create_engine(url, poolclass=pooling, **sizes, **options)
        connections.listen(engine, lines, timing)
    return engine


def _listen(engine: sa.Engine, busy_s: float) -> None:
    """Set SQLite up on each new connection, and begin transactions ourselves.

    Python's sqlite3 begins transactions late and not before DDL; told to keep out of it, a
    migration is atomic, and a writer takes its lock at the start, where busy_timeout works.
    """

    @sa.event.listens_for(engine, "connect")
    def _connect(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {round(busy_s * 1000)}")
        connection.execute("PRAGMA synchronous = NORMAL")
        # The keeper does it, and leaves nothing in the log.
        connection.execute("PRAGMA wal_autocheckpoint = 0")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        options = connection.get_execution_options()
        patience_s = options.get("patience_s")
        patience_s = busy_s if patience_s is None else patience_s
        driver = driver_of(connection)
        driver.execute(f"PRAGMA busy_timeout = {round(patience_s * 1000)}")
        driver.execute("BEGIN" if options.get("reading") else "BEGIN IMMEDIATE")
