"""Fixtures for fleets: a crew of agents on a database of its own."""

import pytest

from tests.integration.fleet.crew import Crew

SYMBOLS = "32"


@pytest.fixture
def crew_on(tmp_path, ended):
    """Return a function that makes a crew on a database, with an exchange of its own."""
    crews = []

    def make(url, dsn, *, symbols=SYMBOLS, hours=6, options=("--no-limits",), **env):
        crews.append(Crew(tmp_path, url, dsn, env, ended, hours))
        crews[-1].trade(symbols, options)
        crews[-1].tracker()
        return crews[-1]

    yield make
    for crew in crews:
        crew.close()


@pytest.fixture
def crew(crew_on, postgres, postgres_template):
    """Return a function that makes a crew on a fresh database of the server that all tests use."""
    names = []

    def make(**how):
        names.append(postgres.database(postgres_template))
        return crew_on(postgres.url(names[-1]), postgres.dsn(names[-1]), **how)

    yield make
    for name in names:
        postgres.drop(name)
