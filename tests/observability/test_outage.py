"""Laws of telling faults: once when one begins, once when it is over."""

from blofin_agent.observability.log_limit import LogLimiter
from blofin_agent.observability.outage import Outage


def test_a_lasting_fault_is_told_once_and_its_end_once(lines):
    """What comes between is for those who debug."""
    trouble = Outage("we wait", "it is over")
    assert not trouble
    for number in range(3):
        trouble.seen(f"fault {number}", "it")
    assert trouble
    assert trouble.gone("it")
    assert not trouble.gone("it")
    assert not trouble
    assert lines("warning") == ["fault 0; we wait"]
    assert lines("debug") == ["still: fault 1", "still: fault 2"]
    assert lines("info") == ["it is over"]


def test_it_is_over_when_the_last_source_is_rid_of_it(lines):
    """Three connections that break are one fault."""
    trouble = Outage("we wait", "it is over")
    for source in ("a", "b", "c"):
        trouble.seen("no route", source)
    trouble.gone("a")
    trouble.gone("c")
    trouble.gone("never had it")
    assert trouble
    assert lines("info") == []
    trouble.gone("b")
    assert lines("info") == ["it is over"]


def test_what_is_done_may_be_told_for_one_fault(lines):
    """Where it is something else than for the others."""
    Outage("we wait", "it is over").seen("fault", "it", "we go another way")
    assert lines("warning") == ["fault; we go another way"]


def test_it_is_told_again_when_it_comes_back(lines):
    """A second outage is news."""
    trouble = Outage("we wait", "it is over")
    for _ in range(2):
        trouble.seen("fault", "it")
        trouble.gone("it")
    assert lines("warning") == ["fault; we wait"] * 2


def test_what_is_done_about_it_may_be_something_else(lines):
    """A dropped connection is no missing route."""
    trouble = Outage("we wait", "it is over")
    trouble.seen("closed", "a", "it is made again")
    assert lines("warning") == ["closed; it is made again"]


def test_a_kind_of_message_passes_once_a_minute():
    """Each kind by itself; the first always."""
    now = 0
    seldom = LogLimiter(lambda: now)
    assert seldom.ready("a")
    assert not seldom.ready("a")
    assert seldom.ready("b")
    now = 59_999
    assert not seldom.ready("a")
    now = 60_000
    assert seldom.ready("a")
    assert not seldom.ready("a")
