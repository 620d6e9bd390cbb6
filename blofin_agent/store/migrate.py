"""Bring a database to this version's schema, with Alembic, in one transaction."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from blofin_agent.store.errors import StoreUnusable
from blofin_agent.store.schema import metadata


def upgrade(engine: sa.Engine, where: str, *, read_only: bool) -> None:
    """Make or migrate the tables where that is needed; change nothing else.

    Raises StoreUnusable when the database was written by a newer version, or holds tables of
    these names that are not ours, or needs a migration and `read_only` is set. Two processes that
    start together wait for one another: the transaction takes the lock first.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    scripts = ScriptDirectory.from_config(config)
    with engine.connect().execution_options(reading=True) as connection, connection.begin():
        if _is_current(connection, scripts, where):
            return
    if read_only:
        raise StoreUnusable(
            f"database {where} is not set up for this version; `blofin-agent run` or "
            "`blofin-agent backfill` does that"
        )
    if engine.dialect.name == "sqlite":
        # Outside any transaction, as SQLite wants it, and kept in the file for ever.
        with engine.connect() as connection:
            driver = connection.connection.driver_connection
            assert driver is not None  # noqa: S101 - the pool has just handed it out
            driver.execute("PRAGMA journal_mode = WAL")
    with engine.begin() as connection:
        if not _is_current(connection, scripts, where):
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _is_current(connection: sa.Connection, scripts: ScriptDirectory, where: str) -> bool:
    version = MigrationContext.configure(connection).get_current_revision()
    if version is None:
        theirs = sorted(set(sa.inspect(connection).get_table_names()) & set(metadata.tables))
        if theirs:
            raise StoreUnusable(
                f"database {where} has tables that blofin-agent did not make "
                f"({', '.join(theirs)}); they are left alone: name another database"
            )
        return False
    if version not in {script.revision for script in scripts.walk_revisions()}:
        raise StoreUnusable(
            f"database {where} was written by a newer blofin-agent (schema {version}); it is left "
            "alone: upgrade blofin-agent, or name another database"
        )
    return version == scripts.get_current_head()
