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


@pytest.fixture
def steps(store):
    """Return a function that counts the steps SQLite takes for something that was done before.

    They tell what is read, however fast the machine is.
    """

    def count(work):
        taken = 0

        def step():
            nonlocal taken
            taken += 1

        with store.engine.connect().execution_options(reading=True) as connection:
            driver = connection.connection.driver_connection
            with connection.begin():
                work(connection)
                driver.set_progress_handler(step, 1)
                work(connection)
                driver.set_progress_handler(None, 1)
        return taken

    return count
