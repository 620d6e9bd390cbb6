"""Throttle: every REST request passes here, one start at a time, within BloFin's limits.

The budget is kept in the store, so that it holds for all processes that share the store, and
across restarts. What is decided is in `core.budget`; this file waits, asks and notes the answer.
"""

import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol, TypeVar

import sqlalchemy as sa
import structlog
import trio

from blofin_agent.core import budget
from blofin_agent.core.answers import Answer, Listed
from blofin_agent.core.budget import Suspension
from blofin_agent.core.candle import Bar
from blofin_agent.core.coverage import Span
from blofin_agent.core.errors import (
    Banned,
    ExchangeError,
    ServerFault,
    Stopped,
    TimedOut,
    Unreachable,
)
from blofin_agent.core.plan import Page
from blofin_agent.metrics import Metrics
from blofin_agent.store import ledger
from blofin_agent.store.engine import Store
from blofin_agent.store.errors import StoreUnavailable
from blofin_agent.text import clock_text
from blofin_agent.trouble import Trouble

T = TypeVar("T")

log = structlog.get_logger()
_STORE_RETRY_S = 1.0
_LONGEST_SLEEP_MS = 5_000


class Exchange(Protocol):
    """What is asked: `exchange.rest.Rest`, or a stand-in of the tests."""

    last_sent: float
    """When the last request really went out, by trio's clock, in seconds."""

    async def candles(
        self, symbol: str, bar: Bar, page: Page, wanted: Span, closed_before: int
    ) -> Answer:
        """Fetch one page of candles; see `answers.parse_page`. Raises ExchangeError."""

    async def instruments(self) -> Listed:
        """Fetch all instruments. Raises ExchangeError."""


class Throttle:
    """Lets one request go at a time, when the budget allows. `clock` gives ms since the epoch."""

    def __init__(
        self,
        rest: Exchange,
        store: Store,
        metrics: Metrics,
        clock: Callable[[], int],
        spacing_ms: int,
        trouble: Trouble,
        patience_s: float = math.inf,
    ) -> None:
        self._patience_s = patience_s
        self.rest = rest
        self.starts: list[int] = []
        self.suspension = Suspension()
        self.back: Callable[[], None] = lambda: None
        """Called when BloFin is reached again."""
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._spacing_ms = spacing_ms
        self._trouble = trouble
        self._generation = store.generation
        self._unwritten: Callable[[sa.Connection], Suspension] | None = None
        """A suspension that the store could not take: entered before the next request goes."""
        # First come, first served: healing and a long pass take turns.
        self._turn = trio.StrictFIFOLock()

    async def ask(self, endpoint: str, question: Callable[[], Awaitable[T]]) -> T:
        """Wait until the budget lets a request go, then ask. Raises ExchangeError.

        Raises StoreUnavailable when the database was away for longer than `patience_s`.

        429 and 403 are noted in the store, for every process, before they are raised.
        """
        sent_ms = await self._wait(endpoint)
        begun = trio.current_time()
        try:
            answer = await question()
        except Stopped as error:
            self._metrics.answered(endpoint, error.outcome, trio.current_time() - begun)
            await self._stop(error, sent_ms)
            raise
        except ExchangeError as error:
            self._metrics.answered(endpoint, error.outcome, trio.current_time() - begun)
            if isinstance(error, Unreachable | TimedOut | ServerFault):
                self._trouble.seen(error, "REST")
            else:
                await self._clear(sent_ms)
            raise
        self._metrics.answered(endpoint, "ok", trio.current_time() - begun)
        await self._clear(sent_ms)
        return answer

    async def refresh(self) -> None:
        """Read what all processes on the store have used. Raises StoreUnavailable."""
        now = self._clock()

        def look(connection: sa.Connection) -> tuple[list[int], Suspension] | None:
            if self._store.generation != self._generation:
                return None
            return ledger.recent(connection, now), ledger.load_suspension(connection)

        found = await self._store.read("budget", look)
        # A new database knows less than memory does, until the next request has told it.
        if found is not None:
            self.starts = found[0]
            self.suspension = self.suspension if self._unwritten else found[1]

    async def ban(self, error: Banned) -> None:
        """Note a ban that was met elsewhere: at the websocket's handshake."""
        await self._stop(error, self._clock())

    def used(self) -> dict[str, int]:
        """Return how many requests count in each window now, by the limit's label."""
        return budget.used(self.starts, self._clock())

    def suspended_until(self) -> int:
        """Return when the suspension in force ends (ms), 0 when there is none."""
        until = self.suspension.until
        return until if until > self._clock() else 0

    async def _wait(self, endpoint: str) -> int:
        """Wait for our turn; return when the request was let go (ms)."""
        async with self._turn:
            while True:
                now = self._clock()
                await self._sleep_until(
                    max(
                        self.suspension.next_at(now),
                        budget.next_at(self.starts, now, self._spacing_ms),
                    )
                )
                grant = await self._ask_ledger(endpoint)
                self.starts, self.suspension = grant.starts, grant.suspension
                if grant.entered:
                    break
                await self._sleep_until(grant.at)
            # The ledger spaces what it entered; the wire may have been later than that.
            await trio.sleep_until(self.rest.last_sent + self._spacing_ms / 1000)
            self.rest.last_sent = trio.current_time()
            return grant.starts[-1]

    async def _sleep_until(self, at: int) -> None:
        """Sleep until a time (ms), but a while at most: another process may know better by then."""
        await trio.sleep(min(max(0, at - self._clock()), _LONGEST_SLEEP_MS) / 1000)

    async def _ask_ledger(self, endpoint: str) -> ledger.Grant:
        """Ask the ledger; while the store is away, wait: without a budget nothing is sent."""
        give_up_at = trio.current_time() + self._patience_s
        while True:
            unwritten = self._unwritten

            def let_go(
                connection: sa.Connection,
                note: Callable[[sa.Connection], Suspension] | None = unwritten,
            ) -> ledger.Grant:
                if self._store.generation != self._generation:
                    # A new database knows nothing of what was sent: it is told first.
                    ledger.restore(connection, self.starts, self.suspension)
                if note is not None:
                    note(connection)
                return ledger.let_go(connection, endpoint, self._clock(), self._spacing_ms)

            try:
                grant = await self._store.write("budget", let_go)
            except StoreUnavailable:
                if trio.current_time() > give_up_at:
                    raise
                await self._store.pause(_STORE_RETRY_S)
            else:
                if self._unwritten is unwritten:
                    self._unwritten = None
                self._generation = self._store.generation
                return grant

    async def _stop(self, error: Stopped, sent_ms: int) -> None:
        now = self._clock()
        note = partial(
            ledger.suspend,
            sent_ms=sent_ms,
            now_ms=now,
            reason=str(error),
            banned=isinstance(error, Banned),
            retry_after=error.retry_after,
        )
        try:
            after = await self._store.write("budget", note)
        except StoreUnavailable:
            self._unwritten = note
            after = budget.suspend(
                self.suspension,
                self.starts,
                sent_ms=sent_ms,
                now_ms=now,
                reason=str(error),
                banned=isinstance(error, Banned),
                retry_after=error.retry_after,
            )
        # Read only now: another request's 429 may have been noted meanwhile.
        before, self.suspension = self.suspension, after
        if after.until != before.until:
            log.warning(
                f"{error}: no request is sent until {clock_text(after.until)}, then one "
                "to see whether it is over; candles still come over the websocket"
            )

    async def _clear(self, sent_ms: int) -> None:
        """Note that BloFin answered, be it with a no."""
        if self._trouble.gone("REST"):
            self.back()
        if not self.suspension.strikes:
            return
        try:
            self.suspension = await self._store.write(
                "budget", partial(ledger.answered, sent_ms=sent_ms)
            )
        except StoreUnavailable:
            self.suspension = self.suspension.answered(sent_ms)
        if not self.suspension.strikes:
            log.info("BloFin answers again: the suspension is over")
