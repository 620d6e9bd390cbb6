"""Logs: structlog to standard error, for a person or as JSON."""

import io
import logging
import math
import sys
from contextlib import suppress
from io import FileIO
from typing import TextIO, cast

import structlog

from blofin_agent.domain.sanitize import shorten

MAX_EVENT_CHARACTERS = 2_000
"""Characters of an event and of the values of its fields, all together."""
MAX_VALUE_CHARACTERS = 1_000
"""Characters of the value of one field."""
_EXCEPTION_FIELDS = ("exc_info", "stack_info", "exception", "stack")
"""The fields of a traceback, which structlog writes."""
_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


class LenientStream:
    """A stream that loses what cannot be written, instead of an error to whoever logs it.

    It writes to the stream's file without a buffer: the rest of a line that was cut would stay in
    the buffer, and Python ends with exit code 120 when it cannot write that at exit.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._file: FileIO | None = None
        with suppress(OSError, ValueError):
            self._file = FileIO(stream.fileno(), "w", closefd=False)

    def write(self, text: str) -> None:
        """Write the text, if that can be done now."""
        self.flush()
        with suppress(OSError):
            if self._file is None:
                self._stream.write(text)
            else:
                self._file.write(text.encode(self._stream.encoding, "backslashreplace"))

    def flush(self) -> None:
        """Hand over what was written, if that can be done now."""
        with suppress(OSError):
            self._stream.flush()


class _Nowhere(io.TextIOBase):
    """Where there is no standard error, nobody is told."""

    def write(self, text: str, /) -> int:
        return len(text)


def configure(form: str, level: str, stream: TextIO | None = None) -> None:
    """Set logging up. `form`: console or json; `stream`: standard error, unless given."""
    out = stream or sys.stderr or cast("TextIO", _Nowhere())
    # Where the disk with the log is full, the agent still does its work.
    lenient = cast("TextIO", LenientStream(out))
    shared: list[structlog.types.Processor] = [
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.add_log_level,
        _in_one_line,
    ]
    if form == "json":
        shared += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        shared += [_console(out)]
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(lenient),
        cache_logger_on_first_use=False,
    )


def _console(out: TextIO) -> structlog.dev.ConsoleRenderer:
    """Return what writes lines for a person. A traceback shows no values: one may be a password."""
    return structlog.dev.ConsoleRenderer(
        colors=out.isatty(),
        pad_event_to=0,
        sort_keys=False,
        exception_formatter=structlog.dev.plain_traceback,
    )


def _in_one_line(
    _logger: object, _method: str, told: structlog.types.EventDict
) -> structlog.types.EventDict:
    """Keep each log event on one line and limit its length, whatever foreign text its fields hold.

    No text may forge a line of its own, or tell a terminal what to do. Time, level and event come
    first, then the fields as the call has them. Numbers stay numbers; a field that is None is left
    out.
    """
    event = _bounded(str(told.pop("event", "")), MAX_EVENT_CHARACTERS)
    room = MAX_EVENT_CHARACTERS - len(event)
    line: structlog.types.EventDict = {
        name: told.pop(name) for name in ("timestamp", "level") if name in told
    }
    line["event"] = event
    for name, value in told.items():
        if name in _EXCEPTION_FIELDS:
            line[name] = value
        elif value is not None:
            line[name] = _plain(value, min(room, MAX_VALUE_CHARACTERS))
            room -= len(str(line[name]))
    return line


def _plain(value: object, most: int) -> str | float | bool:
    """Return a number as it is, where JSON has such a number, and anything else as text."""
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return _bounded(str(value), most)


def _bounded(text: str, most: int) -> str:
    """Return the text in one line of about `most` characters; `...` says that it was cut."""
    line = shorten(text, max(most, 0))
    # What is not printed takes more characters than it had.
    return line if len(line) <= most + len("...") else f"{line[: max(most, 0)]}..."
