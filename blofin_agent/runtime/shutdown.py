"""Stopping: SIGINT and SIGTERM end a block cleanly, and a process that hangs ends all the same."""

import os
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog
import trio

log = structlog.get_logger()

DRAIN_TIMEOUT_S = 4.0
"""After a signal: so long may the last candles take into the store."""
DATABASE_CUT_AFTER_S = 5.0
"""After a signal: then what a database server does not answer is waited for no more."""
SHUTDOWN_TIMEOUT_S = 9.5
"""After a signal: then the process ends, whatever still runs."""


@dataclass(slots=True)
class ShutdownState:
    """Whether a signal came, and the deadlines that it set.

    `cut`: ends what hangs in the database, in a thread of its own, `cut_s` after the signal. The
    process ends `stop_s` after it.
    """

    cut: Callable[[], None]
    cut_s: float = DATABASE_CUT_AFTER_S
    stop_s: float = SHUTDOWN_TIMEOUT_S
    requested: bool = False
    _timers: list[threading.Timer] = field(init=False)

    def __post_init__(self) -> None:
        self._timers = [
            threading.Timer(self.cut_s, self.cut),
            threading.Timer(self.stop_s, _give_up, [self.stop_s]),
        ]
        for timer in self._timers:
            timer.daemon = True

    def signal(self, number: int) -> None:
        """Note the signal: from here the process has `stop_s` seconds."""
        log.info("shutdown started", signal=signal.Signals(number).name, timeout_s=self.stop_s)
        self.requested = True
        for timer in self._timers:
            timer.start()

    def done(self) -> None:
        """Take the deadlines back: everything has ended."""
        for timer in self._timers:
            timer.cancel()


@asynccontextmanager
async def run_until_signal(stop: ShutdownState) -> AsyncIterator[trio.Nursery]:
    """Run the block, and cancel it and the nursery's tasks when SIGINT or SIGTERM comes.

    After that a second signal ends the process at once. Errors of the block come in a group, as
    from any nursery.
    """
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def wait_for_signal() -> None:
                stop.signal(await anext(signals))
                nursery.cancel_scope.cancel()

            nursery.start_soon(wait_for_signal)
            yield nursery
            nursery.cancel_scope.cancel()


def _give_up(after_s: float) -> None:
    """End the process although something hangs: a thread in the database cannot be cancelled."""
    log.error(
        "shutdown timed out, forcing exit",
        timeout_s=after_s,
        action="unsaved candles are refetched at the next start",
    )
    os._exit(1)
