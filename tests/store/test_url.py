"""Laws of the URL that names the database, and of what is said of a wrong one."""

import sys

import pytest
import sqlalchemy as sa

from blofin_agent.store.database import open_store
from blofin_agent.store.errors import InvalidDatabaseUrl, StoreUnusable
from blofin_agent.store.postgresql import connections
from blofin_agent.store.url import describe, parse


def refused(url):
    with pytest.raises(StoreUnusable) as caught:
        open_store(url)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("no url at all", "is no database URL; one looks like sqlite:///data/blofin.db"),
        ("mysql://user:secret@host/db", "names 'mysql'; use sqlite or postgresql"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("postgresql://user:p@secret@host/db", "an @ in a password, say, is to be written %40"),
        ("postgresql://host/db\t", "has a sign in it that cannot be there"),
        (
            "postgresql+psycopg2://user:secret@host/db",
            "the driver for PostgreSQL is psycopg: write postgresql+psycopg://",
        ),
        ("postgres+asyncpg://user:secret@host/db", "names 'postgresql+asyncpg'; the driver"),
        ("postgresql+nosuch://user:secret@host/db", "names 'postgresql+nosuch'; the driver"),
        ("postgresql+psycopg2://one,two:5433/db", "write postgresql+psycopg://"),
    ],
)
def test_a_url_that_cannot_be_used_is_one_sentence(url, words):
    """Without the password in it."""
    assert words in refused(url)
    with pytest.raises(InvalidDatabaseUrl):
        open_store(url)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_means_its_one_driver(scheme):
    """However it is written."""
    url = parse(f"{scheme}://user:secret@host:5433/candles?sslmode=require")
    assert url.drivername == "postgresql+psycopg"
    assert (url.username, url.password, url.host, url.port) == ("user", "secret", "host", 5433)
    assert (url.database, url.query) == ("candles", {"sslmode": "require"})


def given(url):
    """What the driver is given in the end."""
    parsed = parse(url)
    (_, found) = sa.create_engine(parsed).dialect.create_connect_args(parsed)
    return found | connections.options(parsed, 5)["connect_args"]


def test_several_hosts_are_written_as_libpq_has_it():
    """Of a primary and its standbys the one that takes writes is looked for, unless told else."""
    found = given("postgres://u:p@one:5432,two:5433/db")
    assert (found["host"], found["port"]) == ("one,two", "5432,5433")
    assert (found["user"], found["password"], found["dbname"]) == ("u", "p", "db")
    assert found["target_session_attrs"] == "read-write"
    found = given("postgresql://u:p@one:5432,two:5433/db?target_session_attrs=any")
    assert (found["host"], found["port"]) == ("one,two", "5432,5433")
    assert found["target_session_attrs"] == "any"
    assert "target_session_attrs" not in given("postgresql://one/db")


def test_what_the_url_says_itself_stands():
    """The agent's own wishes are for what it leaves open."""
    assert given("postgresql://host/db")["connect_timeout"] == "5"
    found = given("postgresql://host/db?connect_timeout=60&application_name=mine")
    assert (found["connect_timeout"], found["application_name"]) == ("60", "mine")


def test_postgresql_without_its_driver_says_what_to_install(monkeypatch):
    """An agent with SQLite need not have it."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    text = refused("postgresql://user:secret@host/db")
    assert text.startswith("the driver for postgresql://host/db is not installed (")
    assert text.endswith("); install it: pip install 'blofin-agent[postgresql]'")


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://user:secret@host:5432/candles", "postgresql://host:5432/candles"),
        ("postgres://user:secret@host/candles?password=secret", "postgresql://host/candles"),
        ("postgresql://host/candles?user=secret&password=secret", "postgresql://host/candles"),
        (
            "postgresql+psycopg://user:secret@one:5432,two:5433/candles?password=secret",
            "postgresql://one:5432,two:5433/candles",
        ),
        (
            "postgresql:///candles?host=/run/postgresql&user=secret",
            "postgresql:///run/postgresql/candles",
        ),
        ("postgresql://secret@host", "postgresql://host"),
        ("sqlite:////data/blofin.db", "/data/blofin.db"),
        ("sqlite://", ":memory:"),
    ],
)
def test_a_database_is_described_without_credentials(url, place):
    """Name, password and options stay out of logs."""
    assert describe(parse(url)) == place
