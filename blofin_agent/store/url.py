"""What a database's URL says: the place, as a person knows it, and the file."""

from pathlib import Path

import sqlalchemy as sa

from blofin_agent.store.errors import NoDatabase, WrongUrl


def describe(url: sa.URL) -> str:
    """Return the place a person knows the database by, without credentials."""
    if url.get_backend_name() == "sqlite":
        return url.database or ":memory:"
    bare = sa.URL.create(url.drivername, host=url.host, port=url.port, database=url.database)
    return bare.render_as_string()


def path_of(url: sa.URL, where: str, *, existing: bool) -> Path | None:
    """Return the file that a URL of SQLite names. Raises WrongUrl and NoDatabase.

    `existing`: it must be there already.
    """
    if url.get_backend_name() != "sqlite":
        return None
    if not url.database or url.database == ":memory:":
        raise WrongUrl(
            "BLOFIN_DATABASE_URL names a SQLite database in memory, which is lost at exit and not "
            "shared between threads; name a file, such as sqlite:///data/blofin.db"
        )
    path = Path(url.database)
    if existing and not path.is_file():
        raise NoDatabase(
            f"there is no database at {where} yet; `blofin-agent run` or "
            "`blofin-agent backfill` makes it"
        )
    return path
