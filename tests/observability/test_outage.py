"""Laws of telling faults: once when one begins, once when it is over."""

from blofin_agent.observability.log_limit import LogLimiter
from blofin_agent.observability.outage import Outage


def test_a_lasting_fault_is_told_once_and_its_end_once(lines):
    """What comes between is for those who debug."""
    trouble = Outage("we wait", "it is over")
    assert not trouble
    for number in range(3):
        trouble.report(f"fault {number}", "it")
    assert trouble
    assert trouble.clear("it")
    assert not trouble.clear("it")
    assert not trouble
    assert lines("warning") == ["fault 0; we wait"]
    assert lines("debug") == ["still: fault 1", "still: fault 2"]
    assert lines("info") == ["it is over"]


def test_it_is_over_when_the_last_source_is_rid_of_it(lines):
    """Three connections that break are one fault."""
    trouble = Outage("we wait", "it is over")
    for source in ("a", "b", "c"):
        trouble.report("no route", source)
    trouble.clear("a")
    trouble.clear("c")
    trouble.clear("never had it")
    assert trouble
    assert lines("info") == []
    trouble.clear("b")
    assert lines("info") == ["it is over"]


def test_what_is_done_may_be_told_for_one_fault(lines):
    """Where it is something else than for the others."""
    Outage("we wait", "it is over").report("fault", "it", "we go another way")
    assert lines("warning") == ["fault; we go another way"]


def test_it_is_told_again_when_it_comes_back(lines):
    """A second outage is news."""
    trouble = Outage("we wait", "it is over")
    for _ in range(2):
        trouble.report("fault", "it")
        trouble.clear("it")
    assert lines("warning") == ["fault; we wait"] * 2


def test_what_is_done_about_it_may_be_something_else(lines):
    """A dropped connection is no missing route."""
    trouble = Outage("we wait", "it is over")
    trouble.report("closed", "a", "it is made again")
    assert lines("warning") == ["closed; it is made again"]


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
