"""Laws of the logs: lines for a person, or JSON for a machine."""

import io
import json
import sys

import pytest
import structlog

from blofin_agent.observability import log_setup


def written(form, level="info"):
    out = io.StringIO()
    log_setup.configure(form, level, out)
    log = structlog.get_logger()
    log.debug("quiet")
    log.info("an event", symbol="BTC-USDT")
    log.error("a fault")
    return out.getvalue()


def test_json_is_one_object_a_line():
    """Level, time in UTC, event, and what else was given."""
    first, second = (json.loads(line) for line in written("json").splitlines())
    assert (first["level"], first["event"], first["symbol"]) == ("info", "an event", "BTC-USDT")
    assert first["timestamp"].endswith("Z")
    assert (second["level"], second["event"]) == ("error", "a fault")


def test_a_persons_line_has_time_level_event_and_fields():
    """In the order of the call; text with spaces is quoted, and no value is no field."""
    out = io.StringIO()
    log_setup.configure("console", "info", out)
    structlog.get_logger().warning(
        "requests paused", until="T", error="no route: x=1", retry_after_s=2.5, note=None
    )
    time, line = out.getvalue().split(" ", 1)
    assert time.endswith("Z")
    assert line == "[warning  ] requests paused until=T error='no route: x=1' retry_after_s=2.5\n"


def test_in_json_numbers_are_numbers_and_all_else_is_text():
    """Also what JSON has no number for. Time, level and event come first; no value is no field."""
    out = io.StringIO()
    log_setup.configure("json", "info", out)
    structlog.get_logger().info(
        "all kinds",
        stored=5,
        coverage=0.9998,
        live=True,
        delay_s=float("inf"),
        ratio=float("nan"),
        error=ValueError("no\nroute"),
        row=(1, "2"),
        note=None,
    )
    found = json.loads(out.getvalue(), parse_constant=pytest.fail)
    assert list(found)[:3] == ["timestamp", "level", "event"]
    del found["timestamp"]
    assert found == {
        "level": "info",
        "event": "all kinds",
        "stored": 5,
        "coverage": 0.9998,
        "live": True,
        "delay_s": "inf",
        "ratio": "nan",
        "error": r"no\nroute",
        "row": "(1, '2')",
    }


def test_json_carries_a_traceback_in_its_line():
    """A line stays a line."""
    out = io.StringIO()
    log_setup.configure("json", "info", out)
    try:
        1 / 0  # noqa: B018 - it is to raise
    except ZeroDivisionError:
        structlog.get_logger().exception("it broke")
    (line,) = out.getvalue().splitlines()
    assert "ZeroDivisionError" in json.loads(line)["exception"]


def test_the_console_has_plain_lines_without_a_terminal():
    """No colour codes in a file."""
    text = written("console")
    assert "an event" in text
    assert "\x1b" not in text
    assert len(text.splitlines()) == 2


@pytest.mark.parametrize(
    ("level", "count"), [("debug", 3), ("info", 2), ("warning", 1), ("error", 1)]
)
def test_the_level_says_what_is_written(level, count):
    """That one and what is worse."""
    assert len(written("json", level).splitlines()) == count


def test_logs_go_to_standard_error(monkeypatch):
    """Standard output is for what a command was asked for."""
    err = io.StringIO()
    monkeypatch.setattr(sys, "stderr", err)
    log_setup.configure("json", "info")
    structlog.get_logger().info("here")
    assert "here" in err.getvalue()


def test_a_line_that_cannot_be_written_is_lost_and_nothing_else():
    """The disk with the log may be full."""

    class Full(io.StringIO):
        def write(self, _text):
            raise OSError(28, "No space left on device")

        def flush(self):
            raise OSError(28, "No space left on device")

    log_setup.configure("console", "info", Full())
    structlog.get_logger().error("a fault")


@pytest.mark.parametrize("form", ["console", "json"])
def test_no_event_forges_a_line_or_floods(form):
    """Whatever foreign text stands in it."""
    out = io.StringIO()
    log_setup.configure(form, "info", out)
    structlog.get_logger().info("said\n2026 [error] forged \x1b[2J\u2028" + "x" * 100_000)
    (line,) = out.getvalue().splitlines()
    assert line.isprintable()
    assert len(line) < 3_000


HOSTILE = {
    "huge": "x" * 100_000,
    "lines": "said\r\n2026-01-01T00:00:00Z [error    ] forged\x0b\x0c\x85\u2028\u2029end",
    "fields": 'x\' level=error event="forged" }\\',
    "terminal": "\x1b[2J\x1b]0;title\x07\x00\x7f\x9b31m",
    "direction": "\u202eabc\u2066",
    "surrogate": "\ud800\udfff",
    "huge and unprintable": "\x1b\n" * 50_000,
    "huge and far": "\U000e0001" * 50_000,
    "huge and quoted": "\"'\\ " * 50_000,
}
"""What a field may hold that others wrote."""


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("as_error", [False, True])
@pytest.mark.parametrize("form", ["console", "json"])
def test_no_field_forges_a_line_or_floods(form, text, as_error):
    """Nor do many together; what JSON says can be read, and the first fields are whole."""
    out = io.StringIO()
    log_setup.configure(form, "info", out)
    value = ValueError(text) if as_error else text
    fields = {f"field_{number}": value for number in range(20)}
    structlog.get_logger().info("an event", symbol="BTC-USDT", count=7, **fields)
    (line,) = out.getvalue().splitlines()
    assert line.isprintable()
    assert len(line) < 6_000
    if form == "json":
        found = json.loads(line)
        assert (found["level"], found["event"]) == ("info", "an event")
        assert (found["symbol"], found["count"]) == ("BTC-USDT", 7)
        assert sum(len(str(one)) for one in found.values()) < 2_200
        assert all(str(one).isprintable() for one in found.values())
    else:
        time, _, rest = line.partition(" ")
        assert time.endswith("Z")
        assert rest.startswith("[info     ] an event symbol=BTC-USDT count=7 field_0=")


def test_one_huge_value_leaves_room_for_the_next():
    """What is done about an error is read beside it."""
    out = io.StringIO()
    log_setup.configure("json", "info", out)
    structlog.get_logger().info("an event", error="x" * 100_000, action="wait and retry")
    found = json.loads(out.getvalue())
    assert found["error"] == "x" * log_setup.MAX_VALUE_CHARACTERS + "..."
    assert found["action"] == "wait and retry"


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_shows_no_values(form):
    """One may be a password."""
    out = io.StringIO()
    log_setup.configure(form, "info", out)
    password = "sesame"
    try:
        int(password[:0])
    except ValueError:
        structlog.get_logger().exception("it broke")
    assert "ValueError: invalid" in out.getvalue()
    assert "= 'sesame'" not in out.getvalue()


def test_without_standard_error_nothing_is_said(monkeypatch):
    """A service may be started with it closed."""
    monkeypatch.setattr(sys, "stderr", None)
    log_setup.configure("console", "info")
    structlog.get_logger().info("to nobody")
