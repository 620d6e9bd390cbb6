"""Logs: structlog to standard error, for a person or as JSON."""

import logging
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


class Lenient:
    """A stream that loses what cannot be written, instead of an error to whoever says it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write the text, if that can be done now."""
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        """Hand over what was written, if that can be done now."""
        with suppress(OSError):
            self._stream.flush()


def configure(form: str, level: str, stream: TextIO | None = None) -> None:
    """Set logging up. `form`: console or json; `stream`: standard error, unless given."""
    out = stream or sys.stderr
    # Where the disk with the log is full, the agent still does its work.
    lenient = cast("TextIO", Lenient(out))
    shared: list[structlog.types.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if form == "json":
        shared += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        shared += [structlog.dev.ConsoleRenderer(colors=out.isatty(), pad_event_to=0)]
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(lenient),
        cache_logger_on_first_use=False,
    )
