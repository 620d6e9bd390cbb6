"""Bring a database to this version's schema, with Alembic, in one transaction."""

import sqlite3
import time
from pathlib import Path

import sqlalchemy as sa

from blofin_agent.store.errors import StoreUnusable
from blofin_agent.store.postgresql.connections import advisory_lock
from blofin_agent.store.schema import metadata

HEAD = "0007"
"""The newest migration. A database that has it is opened without Alembic, which takes as long to
load as all else of the store."""
MIGRATION_TIMEOUT_S = 6
"""So long a start waits for another that migrates just now."""
MAX_WAL_TRIES = 20
_SCRIPTS = Path(__file__).with_name("migrations")


def upgrade(engine: sa.Engine, where: str, *, read_only: bool) -> None:
    """Make or migrate the tables where that is needed; change nothing else.

    Raises StoreUnusable when the database was written by a newer version, or holds tables of
    these names that are not ours, or needs a migration and `read_only` is set. Two processes that
    start together wait for one another: the transaction takes the lock first.
    """
    with engine.connect().execution_options(reading=True) as connection, connection.begin():
        current = _is_current(connection, where)
    if read_only and not current:
        raise StoreUnusable(
            f"database {where} is not set up for this version; `blofin-agent run` or "
            "`blofin-agent backfill` does that"
        )
    if engine.dialect.name == "sqlite" and not read_only:
        _write_ahead(engine)
    if current:
        return
    patient = engine.connect().execution_options(patience_s=MIGRATION_TIMEOUT_S)
    with patient as connection, connection.begin():
        advisory_lock(connection, "schema")
        if not _is_current(connection, where):
            _migrate(connection)


def _write_ahead(engine: sa.Engine) -> None:
    """Switch a SQLite file to its write-ahead log: outside any transaction.

    It is kept for ever, but a copy by `VACUUM INTO` is without it, and so is what another program
    switched back. Then each commit would write into the file, and look like somebody else's doing.
    SQLite does not wait for a lock here, and another process that starts may hold it for a moment.
    """
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None  # noqa: S101 - the pool has just handed it out
        if driver.execute("PRAGMA journal_mode").fetchone() == ("wal",):
            return
        for attempt in range(1, MAX_WAL_TRIES + 1):
            try:
                driver.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or attempt == MAX_WAL_TRIES:
                    # As SQLAlchemy would have it: the statement was not sent through it.
                    raise sa.exc.OperationalError("PRAGMA journal_mode", None, error) from error
                time.sleep(0.1)
            else:
                return


def _is_current(connection: sa.Connection, where: str) -> bool:
    version = _version(connection)
    if version is None:
        theirs = sorted(set(sa.inspect(connection).get_table_names()) & set(metadata.tables))
        if theirs:
            raise StoreUnusable(
                f"database {where} has tables that blofin-agent did not make "
                f"({', '.join(theirs)}); they are left alone: name another database"
            )
    elif version != HEAD and version not in _known():
        raise StoreUnusable(
            f"database {where} was written by a newer blofin-agent (schema {version}); it is left "
            "alone: upgrade blofin-agent, or name another database"
        )
    return version == HEAD


def _version(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()


def _known() -> set[str]:
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - see HEAD

    return {script.revision for script in ScriptDirectory(str(_SCRIPTS)).walk_revisions()}


def _migrate(connection: sa.Connection) -> None:
    from alembic import command, config  # noqa: PLC0415 - likewise

    how = config.Config(attributes={"connection": connection})
    how.set_main_option("script_location", str(_SCRIPTS))
    command.upgrade(how, "head")
