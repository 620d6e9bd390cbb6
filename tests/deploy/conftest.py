"""The chain from the simulator to the webhook, and what is shipped, each made once."""

import shutil

import pytest

from tests import postgres, programs
from tests.deploy import chain as chains
from tests.deploy import shipping
from tests.processes import until


def _wants(item: pytest.Item, what: str) -> bool:
    return what in getattr(item, "fixturenames", ())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give what is shipped the time it takes."""
    for item in items:
        if _wants(item, "shipped"):
            item.add_marker(pytest.mark.index)
            item.add_marker(pytest.mark.timeout(shipping.PATIENCE_S + 60))


@pytest.fixture(scope="session")
def chain(debian):
    """The running chain; left out without Debian's programs."""
    debian("prometheus")
    debian("prometheus-alertmanager")
    if not postgres.is_there():
        programs.needs("initdb")
    chain = chains.begin()
    until(lambda: chain.started.is_set() or chain.problem, 240)
    yield chain
    chain.stop()
    shutil.rmtree(chain.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def shipped(tmp_path_factory):
    """What `make dist` makes of a copy of the tree."""
    return shipping.ship(tmp_path_factory.mktemp("tree") / "tree")
