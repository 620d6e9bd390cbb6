"""Throttle: every REST request passes here, one start at a time, within BloFin's limits.

What is allowed is known to `allowance`; this file waits, asks and notes the answer.
"""

import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TypeVar

import trio

from blofin_agent.domain.candle import Timeframe
from blofin_agent.domain.candle_page import CandlePage
from blofin_agent.domain.errors import (
    Banned,
    ExchangeError,
    RequestsSuspended,
    RequestTimedOut,
    ServerError,
    Unreachable,
)
from blofin_agent.domain.instrument import InstrumentList
from blofin_agent.domain.page_plan import PageRequest
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.observability.metrics import Metrics
from blofin_agent.observability.outage import Outage
from blofin_agent.ratelimit.shared_budget import SharedRateBudget
from blofin_agent.store.database import Database
from blofin_agent.store.errors import StoreUnavailable
from blofin_agent.store.tables.rate_limit import Admission

T = TypeVar("T")

MAX_CONCURRENT_REQUESTS = 2
"""Requests that may be under way at once: as fast as the limits allow while an answer takes less
than 0.4 s. When a suspension begins, those that are under way reach BloFin all the same."""
_DATABASE_RETRY_DELAY_S = 1.0
_MAX_SLEEP_MS = 5_000
_AHEAD_S = 0.1
"""A request goes within so long after the time that the ledger has for it: less than its slack."""
_QUICK_S = 0.01
"""With answers so quick all who wait go in time, not only those that can be under way at once."""


class ExchangeClient(Protocol):
    """What is asked: `exchange.rest.Rest`, or a stand-in of the tests."""

    last_sent: float
    """When the last request really went out, by trio's clock, in seconds."""

    async def candles(
        self, symbol: str, bar: Timeframe, page: PageRequest, wanted: TimeRange, closed_before: int
    ) -> CandlePage:
        """Fetch one page of candles; see `answers.parse_page`. Raises ExchangeError."""

    async def instruments(self) -> InstrumentList:
        """Fetch all instruments. Raises ExchangeError."""


@dataclass(eq=False, slots=True)
class _Waiting:
    """Somebody who waits to be let go."""

    endpoint: str


@dataclass(slots=True)
class _Ahead:
    """Requests that the ledger let go together with one before: whoever is next takes one."""

    grant: Admission | None = None
    left: int = 0
    since: float = 0.0
    """When they were let go, by trio's clock, in seconds."""

    def take(self) -> Admission | None:
        """Return the grant of one; None when there is none, or its time in the ledger is over."""
        if not self.left or trio.current_time() - self.since > _AHEAD_S:
            return None
        self.left -= 1
        return self.grant


class RateLimiter:
    """Lets one request go at a time, when the budget allows. `clock` gives ms since the epoch."""

    def __init__(
        self,
        rest: ExchangeClient,
        store: Database,
        metrics: Metrics,
        clock: Callable[[], int],
        spacing_ms: int,
        trouble: Outage,
        patience_s: float = math.inf,
        egress: str = "",
    ) -> None:
        self._patience_s = patience_s
        self.rest = rest
        self.allowance = SharedRateBudget(store, clock, egress)
        self.back: Callable[[], None] = lambda: None
        """Called when BloFin is reached again."""
        self._metrics = metrics
        self._clock = clock
        self._spacing_ms = spacing_ms
        self._trouble = trouble
        # First come, first served: healing and a long pass take turns.
        self._turn = trio.StrictFIFOLock()
        self._under_way = trio.Semaphore(MAX_CONCURRENT_REQUESTS)
        self._waiting: list[_Waiting] = []
        self._took_s = math.inf
        """How long the last answer took."""
        self._ahead = _Ahead()

    async def ask(self, endpoint: str, question: Callable[[], Awaitable[T]]) -> T:
        """Wait until the budget lets a request go, then ask. Raises ExchangeError.

        Raises StoreUnavailable when the database was away for longer than `patience_s`.

        429 and 403 are noted in the store, for every process, before they are raised.
        """
        waiting = _Waiting(endpoint)
        self._waiting.append(waiting)
        try:
            await self._under_way.acquire()
        except BaseException:
            self._waiting.remove(waiting)
            raise
        try:
            under = await self._wait(waiting)
            begun = trio.current_time()
            try:
                return await self._ask(endpoint, question, under)
            finally:
                self._took_s = trio.current_time() - begun
        finally:
            self._under_way.release()

    async def _ask(self, endpoint: str, question: Callable[[], Awaitable[T]], under: int) -> T:
        begun = trio.current_time()
        try:
            answer = await question()
        except RequestsSuspended as error:
            self._metrics.answered(endpoint, error.outcome, trio.current_time() - begun)
            await self.allowance.stopped(error, under)
            raise
        except ExchangeError as error:
            self._metrics.answered(endpoint, error.outcome, trio.current_time() - begun)
            if isinstance(error, Unreachable | RequestTimedOut | ServerError):
                self._trouble.seen(error, "REST")
            else:
                await self._answered(under)
            raise
        self._metrics.answered(endpoint, "ok", trio.current_time() - begun)
        await self._answered(under)
        return answer

    async def knock(self) -> int | None:
        """Ask whether a websocket connection may be made now, once.

        A ban holds for those too, and after it a connection may be the one careful request. Return
        the strikes under which it is made, for `banned` and `let_in`; None when it may not be.
        A suspension after a 429 is REST's alone: a connection neither waits for it nor ends it.
        """
        allowance = self.allowance
        with suppress(StoreUnavailable):
            # Another process may have met a ban since.
            await allowance.refresh()
            if allowance.suspension.banned and not allowance.suspended_until():
                grant = await allowance.let_go(["websocket"], 0)
                if grant.entered:
                    return grant.under
        return None if allowance.suspension.banned else 0

    async def banned(self, error: Banned, under: int) -> None:
        """Note a ban that was met at the websocket's handshake."""
        await self.allowance.stopped(error, under)

    async def let_in(self, under: int) -> None:
        """Note that a websocket connection stands: the ban after which it was made is over."""
        await self.allowance.answered(under)

    async def _wait(self, waiting: _Waiting) -> int:
        """Wait for our turn; return the strikes under which the request was let go."""
        try:
            async with self._turn:
                while True:
                    grant = self._ahead.take() or await self._ask_to_go()
                    if grant is None:
                        continue
                    # The one before may have reached the wire only now, or been refused meanwhile.
                    await self._space()
                    if self.allowance.holds(grant):
                        break
                self.rest.last_sent = trio.current_time()
                return grant.under
        finally:
            self._waiting.remove(waiting)

    async def _ask_to_go(self) -> Admission | None:
        """Let all go who wait, if the budget does, or as many as it does; None while it is none.

        Those who come next need not ask the ledger again then.
        """
        await self._sleep_until(self.allowance.next_at(self._spacing_ms))
        await self._space()
        grant = await self._ask_ledger()
        if not grant.entered:
            await self._sleep_until(grant.at)
            return None
        self._ahead = _Ahead(grant, grant.entered - 1, trio.current_time())
        return grant

    async def _space(self) -> None:
        """Keep the spacing on the wire: it may be later than what the ledger entered."""
        at = self.rest.last_sent + self._spacing_ms / 1000
        if at > trio.current_time():
            await trio.sleep_until(at)

    async def _sleep_until(self, at: int) -> None:
        """Sleep until a time (ms), but a while at most: another process may know better by then."""
        if (wait_ms := at - self._clock()) > 0:
            await trio.sleep(min(wait_ms, _MAX_SLEEP_MS) / 1000)

    async def _ask_ledger(self) -> Admission:
        """Ask the ledger; while the store is away, wait: without a budget nothing is sent."""
        give_up_at = trio.current_time() + self._patience_s
        while True:
            try:
                most = None if self._took_s < _QUICK_S else MAX_CONCURRENT_REQUESTS
                endpoints = [waiting.endpoint for waiting in self._waiting[:most]]
                return await self.allowance.let_go(endpoints, self._spacing_ms)
            except StoreUnavailable:
                if trio.current_time() > give_up_at:
                    raise
            await self.allowance.pause(_DATABASE_RETRY_DELAY_S)

    async def _answered(self, under: int) -> None:
        """Note that BloFin answered, be it with a no."""
        if self._trouble.gone("REST"):
            self.back()
        await self.allowance.answered(under)
