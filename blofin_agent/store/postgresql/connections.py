"""What is asked of PostgreSQL itself: connections that notice when they are cut, and locks."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from blofin_agent.store.postgresql.deadlines import ConnectionDeadlines, ConnectionsClosed
from blofin_agent.store.timing import StoreTiming

if TYPE_CHECKING:
    import psycopg

READING = {"postgresql_readonly": True, "isolation_level": "REPEATABLE READ"}
"""How a transaction is that only reads: all its statements see the same moment."""
_SILENT_MS = 15_000
"""What was sent and is not acknowledged for so long was sent to nobody."""

_CONNECTING: Mapping[str, str] = {
    "application_name": "blofin-agent",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": str(_SILENT_MS),
}
_SESSION = (
    ("tcp_user_timeout", str(_SILENT_MS)),
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
)
_NEW = "blofin_new"
"""Where it is noted of a connection that it was not used yet."""
_ADVISORY = 0x626C6F66
"""The first of the two numbers of our advisory locks, so that they are not another program's."""


def options(url: sa.URL, connect_s: float) -> dict[str, Any]:
    """Return what an engine is made with; what the URL says itself stands."""
    connecting = {**_CONNECTING, "connect_timeout": str(max(2, round(connect_s)))}
    wanted = {name: value for name, value in connecting.items() if name not in url.query}
    if "host" in url.query and "target_session_attrs" not in url.query:
        # Of a primary and its standbys only the one that takes writes is of use.
        wanted["target_session_attrs"] = "read-write"
    return {"connect_args": wanted}


def listen(engine: sa.Engine, lines: ConnectionDeadlines, timing: StoreTiming) -> None:
    """Set each new connection up, and see that one still works before it is used again.

    SQLAlchemy's own `pool_pre_ping` would wait for ever for a server that is frozen.
    """

    @sa.event.listens_for(engine, "do_connect")
    def _do_connect(dialect: Any, _record: Any, args: Any, options: Any) -> "psycopg.Connection":
        try:
            return lines.connected(partial(dialect.connect, *args, **options))
        except ConnectionsClosed:
            problem = "it did not answer in time after the signal to stop"
            raise dialect.loaded_dbapi.OperationalError(problem) from None

    @sa.event.listens_for(engine, "connect")
    def _connect(connection: "psycopg.Connection", record: Any) -> None:
        record.info[_NEW] = True
        waits = (
            ("lock_timeout", timing.lock_s),
            ("idle_in_transaction_session_timeout", timing.idle_s),
        )
        pairs = [*((name, f"{round(seconds * 1000)}ms") for name, seconds in waits), *_SESSION]
        calls = ", ".join("set_config(%s, %s, false)" for _ in pairs)
        with lines.cut_after(connection, timing.answer_s), connection.cursor() as cursor:
            cursor.execute(f"SELECT {calls}", [part for pair in pairs for part in pair])
            connection.commit()

    @sa.event.listens_for(engine, "checkout")
    def _checkout(connection: Any, record: Any, _proxy: Any) -> None:
        if record.info.pop(_NEW, False):
            return
        try:
            with lines.cut_after(connection, timing.answer_s):
                engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            # The pool makes it anew then.
            raise sa.exc.DisconnectionError from error

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        if _at_leisure(connection):
            # What it writes to may be slow.
            with cursor_of(connection) as cursor:
                cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")


def driver_of(connection: sa.Connection) -> "psycopg.Connection":
    """Return the driver's own connection."""
    driver: psycopg.Connection | None = connection.connection.driver_connection
    assert driver is not None  # noqa: S101 - the pool has just handed it out
    return driver


@contextmanager
def bounded(
    connection: sa.Connection, lines: ConnectionDeadlines, seconds: float
) -> Iterator[None]:
    """Cut the connection off when the block takes longer, unless it is `at_leisure`.

    A timeout of the server's would not do: one that ends while a commit waits for a standby tells
    the driver that all is well, though the standby has nothing of it. Does nothing on SQLite.
    """
    if connection.dialect.name == "sqlite" or _at_leisure(connection):
        yield
        return
    with lines.cut_after(driver_of(connection), seconds):
        yield


def _at_leisure(connection: sa.Connection) -> bool:
    return bool(connection.get_execution_options().get("at_leisure"))


def advisory_lock(connection: sa.Connection, what: str) -> None:
    """Let nobody else do the same until this transaction ends. On SQLite one writer is alone."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(
            "SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (_ADVISORY, what)
        )


@contextmanager
def cursor_of(connection: sa.Connection, *, binary: bool = False) -> "Iterator[psycopg.Cursor]":
    """Hand out a cursor of the driver's own. Its errors are raised as SQLAlchemy raises them."""
    foreign = connection.dialect.loaded_dbapi.Error
    try:
        with driver_of(connection).cursor(binary=binary) as cursor:
            yield cursor
    except foreign as error:
        raise sa.exc.DBAPIError.instance("by the driver", None, error, foreign) from error


def copy(
    connection: sa.Connection, into: str, kinds: Sequence[str], rows: Iterable[Sequence[object]]
) -> None:
    """Copy rows into a table. `into`: the table with its columns; `kinds`: their types."""
    statement = f"COPY {into} FROM STDIN (FORMAT BINARY)"
    with cursor_of(connection) as cursor, cursor.copy(statement.encode()) as taking:
        taking.set_types(kinds)
        for row in rows:
            taking.write_row(row)
