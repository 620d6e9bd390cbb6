"""Laws of telling faults: once when one begins, once when it is over."""

import pytest

from blofin_agent.observability.log_limit import LogLimiter
from blofin_agent.observability.outage import Outage


@pytest.fixture
def trouble():
    return Outage("it is away", "it is over", "we wait")


def begun(error, source, action="we wait", **fields):
    """Return the event of a beginning."""
    return {"event": "it is away", "error": error, "source": source, **fields, "action": action}


def test_a_lasting_fault_is_told_once_and_its_end_once(trouble, events):
    """What comes between is for those who debug."""
    assert not trouble
    for number in range(3):
        trouble.report(f"fault {number}", "it", count=number)
    assert trouble
    assert trouble.clear("it")
    assert not trouble.clear("it")
    assert not trouble
    assert events("warning") == [begun("fault 0", "it", count=0)]
    still = {"event": "problem continues", "problem": "it is away", "source": "it"}
    assert events("debug") == [
        still | {"error": "fault 1", "count": 1},
        still | {"error": "fault 2", "count": 2},
    ]
    assert events("info") == [{"event": "it is over"}]


def test_it_is_over_when_the_last_source_is_rid_of_it(trouble, events):
    """Three connections that break are one fault."""
    for source in ("a", "b", "c"):
        trouble.report("no route", source)
    trouble.clear("a")
    trouble.clear("c")
    trouble.clear("never had it")
    assert trouble
    assert events("info") == []
    trouble.clear("b")
    assert events("info") == [{"event": "it is over"}]


def test_what_is_done_may_be_told_for_one_fault(trouble, events):
    """Where it is something else than for the others."""
    trouble.report(ValueError("fault"), "it", "we go another way")
    assert events("warning") == [begun("fault", "it", "we go another way")]


def test_it_is_told_again_when_it_comes_back(trouble, events):
    """A second outage is news."""
    for _ in range(2):
        trouble.report("fault", "it")
        trouble.clear("it")
    assert events("warning") == [begun("fault", "it")] * 2


def test_a_person_reads_a_line(trouble, lines):
    """The event, what is wrong, what is done."""
    trouble.report("closed by peer", "a")
    assert lines("warning") == ["it is away error='closed by peer' source=a action='we wait'"]


def test_a_kind_of_message_passes_once_a_minute():
    """Each kind by itself; the first always."""
    now = 0
    log_limiter = LogLimiter(lambda: now)
    assert log_limiter.allow("a")
    assert not log_limiter.allow("a")
    assert log_limiter.allow("b")
    now = 59_999
    assert not log_limiter.allow("a")
    now = 60_000
    assert log_limiter.allow("a")
    assert not log_limiter.allow("a")
