"""Trouble: tells a lasting fault once when it begins and once when it is over."""

import structlog

log = structlog.get_logger()


class Outage:
    """One kind of fault that comes and goes. `what_next` says what the agent does about it.

    `event`, `over`: the log events of its beginning and its end, phrases without values.
    Several sources may have it at once (each websocket connection, say): it is told when the
    first has it, and when the last is rid of it.
    """

    def __init__(self, event: str, over: str, what_next: str) -> None:
        self._event = event
        self._over = over
        self._what_next = what_next
        self._sources: set[str] = set()

    def report(
        self, error: object, source: str, what_next: str | None = None, **fields: object
    ) -> None:
        """Note that a source has it; said aloud only when none had it.

        `what_next`: what is done about this one, where that is something else. `fields`: more for
        the log.
        """
        if self._sources:
            log.debug(
                "problem continues",
                problem=self._event,
                error=str(error),
                source=source,
                **fields,
            )
        else:
            log.warning(
                self._event,
                error=str(error),
                source=source,
                **fields,
                action=what_next or self._what_next,
            )
        self._sources.add(source)

    def clear(self, *sources: str) -> bool:
        """Note that these sources are rid of it; said aloud only when none has it any more.

        Return whether any of them had it.
        """
        had = not self._sources.isdisjoint(sources)
        self._sources.difference_update(sources)
        if had and not self._sources:
            log.info(self._over)
        return had

    def is_reported_by(self, source: str) -> bool:
        """Return whether this source has it now."""
        return source in self._sources

    def __bool__(self) -> bool:
        """Return whether any source has it now."""
        return bool(self._sources)
