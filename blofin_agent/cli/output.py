"""Output: what happens when standard output does not take what a command writes."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click

from blofin_agent.runtime.user_errors import FAILED, Failed

_LOST = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE)


class OutputLost(Failed):
    """Standard output does not take it. The text is a sentence for a person."""


@contextmanager
def writing() -> Iterator[None]:
    """Let a block write to standard output, in any encoding. Raises OutputLost when it cannot.

    A sign that the encoding has not is written as in Python. When the reader of a pipe, `head`
    say, has had enough, the command ends without a word.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except (OSError, BaseExceptionGroup) as error:
        lost = _lost(error)
        if lost is None:
            raise
        _let_go()
        if lost.errno == errno.EPIPE:
            raise click.exceptions.Exit(FAILED) from None
        raise OutputLost(f"standard output cannot be written: {lost.strerror}") from None


def _lost(error: BaseException) -> OSError | None:
    """Return the error of standard output, if it is this one or the only one in this group."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    # One of a file has its name.
    if isinstance(error, OSError) and error.filename is None and error.errno in _LOST:
        return error
    return None


def _let_go() -> None:
    """Let the interpreter flush into nothing at its end: it would complain once more."""
    with suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)
