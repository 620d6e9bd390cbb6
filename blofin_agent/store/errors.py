"""What can go wrong with the store, in sentences for a person."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa


class StoreError(Exception):
    """The database cannot be used. The text says which, why, and what one can do."""


class StoreUnusable(StoreError):
    """It cannot be opened at all: a wrong URL, no rights, no database, a newer schema."""


class WrongUrl(StoreUnusable):
    """The URL itself is wrong: a matter of the settings."""


class StoreUnavailable(StoreError):
    """It cannot be used now: locked, full, gone. Trying again later may work."""


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
    ("locked", "another program keeps it locked"),
)


@contextmanager
def told(where: str) -> Iterator[None]:
    """Turn the database library's errors into StoreUnavailable; a bug in a statement stays one."""
    try:
        yield
    except (sa.exc.ProgrammingError, sa.exc.IntegrityError, sa.exc.DataError):
        raise
    except sa.exc.DBAPIError as error:
        raise StoreUnavailable(f"database {where}: {_reason(str(error.orig))}") from error
    except sa.exc.TimeoutError as error:
        raise StoreUnavailable(f"database {where}: all connections are in use") from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES, errno.ENOENT):
            raise
        raise StoreUnavailable(f"database {where}: {error.strerror}") from error


def _reason(text: str) -> str:
    for words, advice in _ADVICE:
        if words in text:
            return advice
    return " ".join(text.split())[:200]
