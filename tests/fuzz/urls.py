"""URLs: of the database, of BloFin, of a Pushgateway, with a password somewhere in them."""

import os

from blofin_agent.config import bare_url, split_url
from blofin_agent.observability import pushgateway
from blofin_agent.store.database import describe, open_store
from blofin_agent.store.errors import InvalidDatabaseUrl, StoreError
from blofin_agent.store.url import parse
from tests.fuzz import laws

SECRET = "s3cr3t"
SCHEMES = ("postgresql", "postgresql+psycopg", "sqlite", "http", "https", "ws", "wss")
SEEDS = (
    b"\x00@host:5432/db",
    b"\x01\x00@[::1]:5432/db?sslmode=off",
    b"\x02/data/blofin.db",
    b"\x03p@\x00@host:9091/path",
    b"\x04p%40\x00%2F@host/",
    b"\x05\x00/x@host:80/ws/public",
    b"\x06\x00?@host/ws?token=1",
)


def urls(data: bytes) -> None:
    """It is taken or refused in one line, and nobody is told the password.

    The first byte draws a scheme; what follows stands behind `user:`, with the password at the
    first NUL, or else at the start.
    """
    if not data:
        return
    scheme, rest = SCHEMES[data[0] % len(SCHEMES)], os.fsdecode(data[1:])
    before, _, after = rest.partition("\0")
    password = before + SECRET + after if "\0" in rest else SECRET + rest
    # What follows the last @ is the host: there nothing is secret.
    if SECRET not in password.rpartition("@")[0]:
        return
    # Nor is it in the name of a file.
    if scheme == "sqlite" and SECRET not in password.partition("/")[0]:
        return
    for url in (f"{scheme}://user:{password}", f"{scheme}://{password}"):
        _nobody_is_told(url)


def _nobody_is_told(url: str) -> None:
    told = []
    try:
        told.append(describe(parse(url)))
    except InvalidDatabaseUrl as error:
        told.append(str(error))
    if not url.startswith("postgresql"):
        told.append(_opened(url))
    for read in (
        lambda: bare_url(split_url(url, "http", "https").geturl()),
        lambda: bare_url(split_url(url, "ws", "wss").geturl()),
        lambda: repr(pushgateway.parse(url)),
    ):
        try:
            told.append(read())
        except ValueError as error:
            told.append(str(error))
    for text in told:
        laws.is_said_in_one_line(text, 10_000)
        assert SECRET not in text, text


def _opened(url: str) -> str:
    """Open it for reading alone: nothing is made."""
    try:
        store = open_store(url, read_only=True)
    except StoreError as error:
        return str(error)
    store.close()
    return store.where
