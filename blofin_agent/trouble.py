"""Trouble: tells a lasting fault once when it begins and once when it is over."""

import structlog

log = structlog.get_logger()


class Trouble:
    """One kind of fault that comes and goes. `what_next` says what the agent does about it."""

    def __init__(self, what_next: str, over: str) -> None:
        self._what_next = what_next
        self._over = over
        self.now = False

    def seen(self, error: object) -> None:
        """Note that it is there; said aloud only the first time."""
        if not self.now:
            log.warning(f"{error}; {self._what_next}")
        else:
            log.debug(f"still: {error}")
        self.now = True

    def gone(self) -> None:
        """Note that all is well; said aloud only after a fault."""
        if self.now:
            log.info(self._over)
        self.now = False
