"""Laws of the database's trouble: told once, over once the like of what failed works."""

import pytest

from blofin_agent.observability.database_outage import FULL_DISK_REPORT_DELAY_S, DatabaseOutage
from blofin_agent.store.database import TransactionResult
from blofin_agent.store.errors import StoreFull, StoreUnavailable


@pytest.fixture
def clock(monkeypatch):
    now = [1_000.0]
    monkeypatch.setattr("blofin_agent.observability.database_outage.time.monotonic", lambda: now[0])
    return now


def judged(trouble, operation, problem=None, *, reading=False):
    trouble.judge(TransactionResult(operation, 0.01, reading, problem))
    return trouble.up()


def test_it_is_up_once_a_transaction_was_taken():
    """Before the first one nobody knows."""
    trouble = DatabaseOutage()
    assert trouble.up() == 0
    assert judged(trouble, "load", reading=True) == 1


def test_a_small_write_does_not_end_the_trouble_of_ticks():
    """Nor does a candle: only ticks are as large."""
    trouble = DatabaseOutage()
    assert judged(trouble, "ticks", StoreUnavailable("no")) == 0
    for operation in ("beat", "insert"):
        assert judged(trouble, operation) == 0
    assert judged(trouble, "ticks") == 1


def test_a_full_disk_that_takes_a_last_row_is_full(clock, events):
    """However often: one line when it begins, one when it has worked for a while."""
    trouble = DatabaseOutage()
    for _ in range(5):
        assert judged(trouble, "beat", StoreFull("full")) == 0
        clock[0] += 1
        assert judged(trouble, "beat") == 0
    clock[0] += FULL_DISK_REPORT_DELAY_S
    assert judged(trouble, "load", reading=True) == 1
    assert events("warning") == [
        {
            "event": "database unavailable",
            "error": "full",
            "source": "beat",
            "action": "wait and retry; then fetch the missing candles",
        }
    ]
    assert events("info") == [{"event": "database available again"}]


def test_it_is_not_up_while_another_database_is_counted():
    """What /metrics counts was in the one before."""
    trouble = DatabaseOutage()
    judged(trouble, "beat")
    trouble.recounting = lambda: True
    assert trouble.up() == 0


def test_a_read_does_not_end_the_trouble_of_writes_of_the_same_name():
    """The budget is read while another program keeps it from being written."""
    trouble = DatabaseOutage()
    assert judged(trouble, "budget", StoreUnavailable("locked")) == 0
    assert judged(trouble, "budget", reading=True) == 0
    assert judged(trouble, "load", reading=True) == 0
    assert judged(trouble, "budget") == 1
