"""Starts the whole chain when the suite starts, because an alert takes its own minutes.

And ships once, for all tests of what is shipped.
"""

import shutil

import pytest

from tests import postgres, programs
from tests.deploy import chain as chains
from tests.deploy import shipping
from tests.processes import until

CHAIN = pytest.StashKey[chains.Chain | None]()


def _wants(item: pytest.Item, what: str = "chain") -> bool:
    return what in getattr(item, "fixturenames", ())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests that wait for the chain come last; give what is shipped the time it takes."""
    items.sort(key=_wants)
    for item in items:
        if _wants(item, "shipped"):
            item.add_marker(pytest.mark.index)
            item.add_marker(pytest.mark.timeout(shipping.PATIENCE_S + 60))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin, if a test wants it."""
    if any(map(_wants, session.items)) and not session.config.option.collectonly:
        session.stash[CHAIN] = chains.begin()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End every process, and leave nothing behind."""
    chain = session.stash.get(CHAIN, None)
    if chain is not None:
        chain.stop()
        shutil.rmtree(chain.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def chain(request, debian):
    """The running chain; left out without Debian's programs."""
    debian("prometheus")
    debian("prometheus-alertmanager")
    if not postgres.is_there():
        programs.needs("initdb")
    chain = request.session.stash[CHAIN]
    until(lambda: chain.started.is_set() or chain.problem)
    return chain


@pytest.fixture(scope="session")
def shipped(tmp_path_factory):
    """What `make dist` makes of a copy of the tree."""
    return shipping.ship(tmp_path_factory.mktemp("tree") / "tree")
