"""URL: which database is meant. What is said of a wrong one repeats no credentials."""

import re
from pathlib import Path

import sqlalchemy as sa

from blofin_agent.store.errors import InvalidDatabaseUrl, NoDatabase, StoreUnusable

_ENGINES = ("sqlite", "postgresql")
_DRIVER = "psycopg"
_SEVERAL_HOSTS = re.compile(r"(?P<before>\w+(\+\w+)?://([^@/?]*@)?)(?P<hosts>[^@/?,]+(,[^@/?,]+)+)")


def parse(url: str) -> sa.URL:
    """Return the parts of a URL of one of our engines. Raises WrongUrl.

    For PostgreSQL the driver need not be named, and there may be several hosts, as libpq has it:
    `postgresql://one:5432,two:5432/blofin`.
    """
    try:
        parsed = sa.make_url(_hosts_apart(re.sub(r"^postgres(?=[:+])", "postgresql", url)))
    except (sa.exc.ArgumentError, ValueError):
        raise InvalidDatabaseUrl(
            "BLOFIN_DATABASE_URL is no database URL; one looks like sqlite:///data/blofin.db"
        ) from None
    # An @ that does not end user and password is one of a password that was not percent-encoded;
    # what stands behind it would be taken for the host, and shown.
    file = parsed.get_backend_name() == "sqlite"
    stray = not file and url.count("@") > (parsed.username is not None)
    if stray or not url.isprintable():
        raise InvalidDatabaseUrl(
            "BLOFIN_DATABASE_URL has a sign in it that cannot be there; an @ in a password, say, "
            "is to be written %40"
        )
    if parsed.get_backend_name() not in _ENGINES:
        raise InvalidDatabaseUrl(
            f"BLOFIN_DATABASE_URL names {parsed.get_backend_name()!r}; use sqlite or postgresql"
        )
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername=f"postgresql+{_DRIVER}")
    if not file and parsed.drivername != f"postgresql+{_DRIVER}":
        raise InvalidDatabaseUrl(
            f"BLOFIN_DATABASE_URL names {parsed.drivername!r}; the driver for PostgreSQL is "
            f"{_DRIVER}: write postgresql+{_DRIVER}://"
        )
    return parsed


def _hosts_apart(url: str) -> str:
    """Return a URL with several hosts as SQLAlchemy wants it: each a parameter."""
    found = _SEVERAL_HOSTS.match(url)
    if found is None:
        return url
    rest = url[found.end() :]
    mark = "&" if "?" in rest else "?"
    hosts = "&".join(f"host={one}" for one in found["hosts"].split(","))
    return f"{found['before']}{rest}{mark}{hosts}"


def describe(url: sa.URL) -> str:
    """Return the place a person knows the database by, without credentials."""
    if url.get_backend_name() == "sqlite":
        return url.database or ":memory:"
    several = url.query.get("host", ())
    hosts = [several] if isinstance(several, str) else several
    if not hosts:
        place = sa.URL.create("postgresql", host=url.host, port=url.port, database=url.database)
        return place.render_as_string()
    return f"postgresql://{','.join(hosts)}/{url.database or ''}"


def path_of(url: sa.URL, where: str, *, existing: bool) -> Path | None:
    """Return the file that a URL of SQLite names. Raises StoreUnusable.

    `existing`: it must be there already.
    """
    if url.get_backend_name() != "sqlite":
        return None
    if url.host or url.username or url.password or url.port or url.query:
        raise InvalidDatabaseUrl(
            "BLOFIN_DATABASE_URL names more than a file: for SQLite it is a path alone, such as "
            "sqlite:///data/blofin.db, without host, user and parameters"
        )
    if not url.database or url.database == ":memory:":
        raise InvalidDatabaseUrl(
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
