"""What can go wrong with the store, in sentences for a person."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeGuard

import sqlalchemy as sa


class StoreError(Exception):
    """The database cannot be used. The text says which, why, and what one can do."""


class StoreUnusable(StoreError):
    """It cannot be opened at all: a wrong URL, no rights, no database, a newer schema."""


class InvalidDatabaseUrl(StoreUnusable):
    """The URL itself is wrong: a matter of the settings."""


class NoDatabase(StoreUnusable):
    """There is none yet."""


class StoreUnavailable(StoreError):
    """It cannot be used now: locked, full, gone. Trying again later may work."""


class StoreFull(StoreUnavailable):
    """The disk does not take what is written. A little of it may find room all the same."""


class StoreDisconnected(StoreFull):
    """What is open is cut off, by rights that changed or a disk that went away; open it anew."""


class StoreAccessDenied(StoreUnavailable):
    """The server does not let us in, or has no such database: a matter of settings and rights."""


class StoreDamaged(StoreUnavailable):
    """What is in the file is no database, or not a whole one. Only another file helps."""


PASSING = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EIO,
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.ENOENT,
        errno.ESTALE,
    }
)
"""What the operating system says of a disk that is away, full or read-only."""


_BUGS = (
    sa.exc.ProgrammingError,
    sa.exc.IntegrityError,
    sa.exc.DataError,
    sqlite3.ProgrammingError,
    sqlite3.IntegrityError,
    sqlite3.DataError,
)
_DAMAGED = ("file is not a database", "malformed")
_OPTION = "invalid connection option"
_CLOSED = (
    "password authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "does not exist",
    "permission denied",
    _OPTION,
    "is not permitted to log in",
    "could not translate host name",
    "failed to resolve host",
)
"""What PostgreSQL and its library say of those whom they do not know."""
_KINDS = (
    (StoreUnavailable, ("Temporary failure in name resolution",)),
    (StoreDamaged, _DAMAGED),
    (StoreFull, ("disk is full", "No space left on device")),
    (StoreAccessDenied, _CLOSED),
    (
        StoreDisconnected,
        ("disk I/O error", "readonly database", "unable to open database", "no such table"),
    ),
)
_ADVICE = (
    ("file is not a database", "the file is no SQLite database; name another file"),
    ("malformed", "the file is damaged; restore it from a copy or move it away"),
    ("readonly database", "it is read-only; give this user the right to write to it"),
    (
        "unable to open database",
        "it cannot be opened; check that the folder exists and that this user may write there",
    ),
    ("disk is full", "the disk is full; make room"),
    ("disk I/O error", "the disk does not take it: full, read-only or failing"),
    ("no such table", "{}; if none of ours is left all are made anew, else restore a copy"),
    ("locked", "another program keeps it locked"),
    ("lock timeout", "another program keeps it locked"),
    ("deadlock detected", "two agents waited for one another; it is tried again"),
    ("read-only transaction", "it is read-only: a standby, or a primary that was set so"),
)


@contextmanager
def translate_errors(where: str) -> Iterator[None]:
    """Turn the database library's errors into StoreUnavailable; a bug in a statement stays one."""
    try:
        yield
    except _BUGS as error:
        if not _of_the_server(error):
            raise
        said = str(error.orig)
        raise _kind(said)(f"database {where}: {_reason(said)}") from error
    except (sa.exc.DBAPIError, sqlite3.Error) as error:
        found = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        raise _kind(str(found))(f"database {where}: {_reason(str(found))}") from error
    except sa.exc.TimeoutError as error:
        raise StoreUnavailable(f"database {where}: all connections are in use") from error
    except OSError as error:
        if error.errno not in PASSING:
            raise
        raise StoreUnavailable(f"database {where}: {error.strerror}") from error


_TAKEN_AWAY = ("42501", "42P01", "3F000")
"""What PostgreSQL says when rights, a table or a schema are gone: no bug of a statement's."""


def _of_the_server(error: Exception) -> TypeGuard[sa.exc.DBAPIError]:
    found = error.orig if isinstance(error, sa.exc.DBAPIError) else None
    if getattr(found, "sqlstate", None) in _TAKEN_AWAY:
        return True
    # Its library gives no number when it cannot even connect.
    return _OPTION in str(found)


def is_damage(error: BaseException | None) -> bool:
    """Return whether the driver says that what is in the file is no whole database."""
    return any(words in str(error) for words in _DAMAGED)


def _kind(text: str) -> type[StoreUnavailable]:
    for kind, words in _KINDS:
        if any(one in text for one in words):
            return kind
    return StoreUnavailable


def _reason(text: str) -> str:
    found = " ".join(text.split())[:200]
    for words, advice in _ADVICE:
        if words in text:
            return advice.format(found)
    return found
