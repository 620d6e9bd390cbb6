"""What the laws of the store share: each is tried on both engines."""

import pytest
import sqlalchemy as sa
from alembic import command

from blofin_agent.store.database import open_store
from blofin_agent.store.url import parse

ENGINES = ["sqlite", "postgresql"]


def pytest_configure(config):
    config.addinivalue_line("markers", "postgresql: a law of PostgreSQL alone")


def pytest_generate_tests(metafunc):
    """Try each law on both engines, unless it is one of SQLite's file or of PostgreSQL alone."""
    alone = [name for name in ENGINES if metafunc.definition.get_closest_marker(name)]
    marks = {"postgresql": pytest.mark.debian}
    engines = [pytest.param(name, marks=marks.get(name, ())) for name in alone or ENGINES]
    for fixture in ("database", "bare"):
        if fixture in metafunc.fixturenames:
            metafunc.parametrize(fixture, engines, indirect=True)


@pytest.fixture
def bare(request, tmp_path):
    """Return the URL of a database in which there is nothing yet."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'bare.db'}"
    else:
        server = request.getfixturevalue("postgres")
        name = server.database()
        yield server.url(name)
        server.drop(name)


@pytest.fixture
def old(bare, monkeypatch):
    """Return a function that gives the URL of a database that an older version made."""

    def make(version):
        upgrade = command.upgrade
        with monkeypatch.context() as patch:
            patch.setattr(command, "upgrade", lambda config, _to: upgrade(config, version))
            open_store(bare).close()
        return bare

    return make


@pytest.fixture
def reopened(database):
    """Return a function that gives the store anew, as another process would have it."""
    opened = []

    def reopen():
        opened.append(open_store(database))
        return opened[-1]

    yield reopen
    for store in opened:
        store.close()


# -- with SQL -------------------------------------------------------------------------------------


@pytest.fixture
def sql():
    """Return a function that runs a statement in any database, in a transaction of its own."""

    def run(url, statement, **values):
        engine = sa.create_engine(parse(url), poolclass=sa.NullPool)
        with engine.begin() as connection:
            found = connection.execute(sa.text(statement), values)
            return [tuple(row) for row in found] if found.returns_rows else []

    return run


@pytest.fixture
def other(sql, database):
    """Return a function that runs a statement in the database as another program would."""
    return lambda statement, **values: sql(database, statement, **values)


@pytest.fixture
def rows(store):
    """Return a function that reads with SQL, as a user would."""

    def read(query):
        return store.read_here(lambda db: [tuple(row) for row in db.exec_driver_sql(query)])

    return read


class Locker:
    """Another program that keeps the database locked, for those who write."""

    def __init__(self, connection):
        self._connection = connection

    def hold(self):
        if self._connection.dialect.name == "sqlite":
            self._connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            self._connection.exec_driver_sql("LOCK TABLE service_heartbeats IN EXCLUSIVE MODE")

    def let_go(self):
        self._connection.rollback()


@pytest.fixture
def locker(impatient, database):
    """Return another program, to lock the database with."""
    engine = sa.create_engine(parse(database), poolclass=sa.NullPool)
    with engine.connect() as connection:
        yield Locker(connection)


# -- what it costs --------------------------------------------------------------------------------


@pytest.fixture
def steps(store):
    """Return a function that counts what the engine does for something that was done before.

    That is, however fast the machine is: SQLite's steps, or the rows, the entries of indexes and
    the pages that PostgreSQL looks at.
    """
    count = _sqlite_steps if store.engine.dialect.name == "sqlite" else _postgresql_steps

    def measure(work):
        with store.engine.connect().execution_options(reading=True) as connection:
            work(connection)
            return count(connection, work)

    return measure


def _sqlite_steps(connection, work):
    taken = 0

    def step():
        nonlocal taken
        taken += 1

    driver = connection.connection.driver_connection
    driver.set_progress_handler(step, 1)
    work(connection)
    driver.set_progress_handler(None, 1)
    return taken


_LOOKED_AT = (
    "SELECT sum(pg_stat_get_xact_tuples_returned(oid) + pg_stat_get_xact_tuples_fetched(oid)"
    " + pg_stat_get_xact_blocks_fetched(oid)) FROM pg_class"
    " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i')"
)


def _postgresql_steps(connection, work):
    """Count within the transaction."""
    # As the server does by itself, now and then.
    connection.exec_driver_sql("ANALYZE")
    _prefer_indexes(connection)
    before = connection.exec_driver_sql(_LOOKED_AT).scalar_one()
    work(connection)
    return int(connection.exec_driver_sql(_LOOKED_AT).scalar_one() - before)


def _prefer_indexes(connection, *ways):
    """Let PostgreSQL look through a table only where no index serves, as where there are many rows.

    `ways`: what else it does only then.
    """
    for way in ("seqscan", "bitmapscan", *ways):
        connection.exec_driver_sql(f"SET LOCAL enable_{way} = off")


@pytest.fixture
def plan(store):
    """Return a function that gives what the engine would do for a statement, line by line."""

    def explain(statement, parameters=()):
        with store.engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                found = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                return [row[3] for row in found]
            _prefer_indexes(connection, "sort")
            found = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)
            return [row[0] for row in found]

    return explain
