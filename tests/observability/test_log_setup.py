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


def test_a_traceback_shows_no_values():
    """One may be a password."""
    out = io.StringIO()
    log_setup.configure("console", "info", out)
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
