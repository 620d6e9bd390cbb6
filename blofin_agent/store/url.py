"""URL: which database is meant. What is said of a wrong one repeats no credentials."""

from pathlib import Path

import sqlalchemy as sa

from blofin_agent.store.errors import NoDatabase, StoreUnusable, WrongUrl

_ENGINES = ("sqlite", "postgresql")


def parse(url: str) -> sa.URL:
    """Return the parts of a URL of one of our engines. Raises WrongUrl."""
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise WrongUrl(
            "BLOFIN_DATABASE_URL is no database URL; one looks like sqlite:///data/blofin.db"
        ) from None
    # An @ that does not end user and password is one of a password that was not percent-encoded;
    # what stands behind it would be taken for the host, and shown.
    file = parsed.get_backend_name() == "sqlite"
    stray = not file and url.count("@") > (parsed.username is not None)
    if stray or not url.isprintable():
        raise WrongUrl(
            "BLOFIN_DATABASE_URL has a sign in it that cannot be there; an @ in a password, say, "
            "is to be written %40"
        )
    if parsed.get_backend_name() not in _ENGINES:
        raise WrongUrl(
            f"BLOFIN_DATABASE_URL names {parsed.get_backend_name()!r}; use sqlite or postgresql"
        )
    return parsed


def describe(url: sa.URL) -> str:
    """Return the place a person knows the database by, without credentials."""
    if url.get_backend_name() == "sqlite":
        return url.database or ":memory:"
    bare = sa.URL.create(url.drivername, host=url.host, port=url.port, database=url.database)
    return bare.render_as_string()


def path_of(url: sa.URL, where: str, *, existing: bool) -> Path | None:
    """Return the file that a URL of SQLite names. Raises StoreUnusable.

    `existing`: it must be there already.
    """
    if url.get_backend_name() != "sqlite":
        return None
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
    path = Path(url.database)
    try:
        there, strange = path.is_file(), path.exists() and not path.is_file()
    except OSError:
        there = strange = False
    if existing and not there:
        raise NoDatabase(
            f"there is no database at {where} yet; `blofin-agent run` or "
            "`blofin-agent backfill` makes it"
        )
    if strange:
        # SQLite would write into a device.
        raise StoreUnusable(f"the database {path} is no file; name a file")
    return path
