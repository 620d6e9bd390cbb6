"""Lines: what a server's connections are waited for, and when one is cut off.

The driver waits for ever for a server that is frozen, or that cannot be reached any more.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg


class ConnectionsClosed(Exception):
    """All connections were cut off: no new one is waited for."""


class ConnectionDeadlines:
    """The connections to one database on which something is waited for; SQLite has none."""

    def __init__(self) -> None:
        self._cut_off: Future[None] = Future()
        self._busy: dict[object, int] = {}
        self._lock = threading.Lock()

    @property
    def are_cut(self) -> bool:
        """Whether all were cut off, so that to try again is of no use."""
        return self._cut_off.done()

    @contextmanager
    def cut_after(self, connection: "psycopg.Connection", seconds: float) -> Iterator[None]:
        """Cut the connection off when the block takes longer, or when all are."""
        # The number of a closed connection may be another's soon.
        token = object()
        timer = threading.Timer(seconds, self._cut, [token])
        timer.daemon = True
        with self._lock:
            self._busy[token] = connection.fileno()
        timer.start()
        if self.are_cut:
            self._cut(token)
        try:
            yield
        finally:
            timer.cancel()
            with self._lock:
                del self._busy[token]

    def connected(self, connect: "Callable[[], psycopg.Connection]") -> "psycopg.Connection":
        """Return a new connection. Raises CutOff, and what `connect` raises."""
        made: Future[psycopg.Connection] = Future()

        def here() -> None:
            try:
                made.set_result(connect())
            except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
                made.set_exception(error)

        if self.are_cut:
            raise ConnectionsClosed
        # Nobody can end what the driver does before it has a connection: it is left alone.
        threading.Thread(target=here, daemon=True).start()
        either: list[Future[Any]] = [made, self._cut_off]
        wait(either, return_when=FIRST_COMPLETED)
        if self.are_cut:
            made.add_done_callback(_close)
            raise ConnectionsClosed
        return made.result()

    def close_all(self) -> None:
        """Cut off what is under way; from now on nothing is begun. May be called in any thread."""
        with self._lock:
            if not self.are_cut:
                self._cut_off.set_result(None)
            busy = list(self._busy)
        for token in busy:
            self._cut(token)

    def _cut(self, token: object) -> None:
        with self._lock:
            if (fileno := self._busy.get(token)) is None:
                return
            with suppress(OSError), socket.socket(fileno=fileno) as line:
                try:
                    line.shutdown(socket.SHUT_RDWR)
                finally:
                    # It is the driver's to close.
                    line.detach()


def _close(made: "Future[psycopg.Connection]") -> None:
    if made.exception() is None:
        made.result().close()
