"""Logs: structlog to standard error, for a person or as JSON."""

import io
import logging
import sys
from contextlib import suppress
from io import FileIO
from typing import TextIO, cast

import structlog

from blofin_agent.domain.sanitize import shorten

MAX_EVENT_CHARACTERS = 2_000
"""Characters of an event."""
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
        _in_one_line,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
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
        colors=out.isatty(), pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
    )


def _in_one_line(
    _logger: object, _method: str, told: structlog.types.EventDict
) -> structlog.types.EventDict:
    """Keep an event one line of bearable length, whatever foreign text stands in it.

    No text may forge a line of its own, or tell a terminal what to do.
    """
    told["event"] = shorten(str(told["event"]), MAX_EVENT_CHARACTERS)
    return told
