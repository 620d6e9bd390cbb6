"""What the laws of the store share."""

import pytest

from blofin_agent.store.engine import open_store


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
