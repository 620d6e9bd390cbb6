"""Send every REST request within BloFin's limits, one start at a time.

`SharedRateBudget` knows what is allowed. `RateLimiter` waits, sends, and records the response.
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
        self.shared_budget = SharedRateBudget(store, clock, egress)
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

    async def request(self, endpoint: str, question: Callable[[], Awaitable[T]]) -> T:
        """Wait until the budget admits a request, then send it. Raises ExchangeError.

        Raises StoreUnavailable if the database is unavailable for longer than `patience_s`.

        A 429 or 403 is recorded in the database, for every process, before it is raised.
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
                return await self._send(endpoint, question, under)
            finally:
                self._took_s = trio.current_time() - begun
        finally:
            self._under_way.release()

    async def _send(self, endpoint: str, question: Callable[[], Awaitable[T]], under: int) -> T:
        begun = trio.current_time()
        try:
            answer = await question()
        except RequestsSuspended as error:
            self._metrics.answered(endpoint, error.outcome, trio.current_time() - begun)
            await self.shared_budget.suspend(error, under)
            raise
        except ExchangeError as error:
            self._metrics.answered(endpoint, error.outcome, trio.current_time() - begun)
            if isinstance(error, Unreachable | RequestTimedOut | ServerError):
                self._trouble.report(error, "REST")
            else:
                await self._answered(under)
            raise
        self._metrics.answered(endpoint, "ok", trio.current_time() - begun)
        await self._answered(under)
        return answer

    async def websocket_admit(self) -> int | None:
        """Return whether one websocket connection may be opened now.

        A ban applies to websockets too, and the first connection after a ban may serve as the test
        request. Return the suspension level under which the connection is opened, which
        `websocket_banned` and `websocket_connected` need, or None if it may not be opened.
        A suspension after a 429 applies to REST only.
        """
        shared_budget = self.shared_budget
        with suppress(StoreUnavailable):
            # Another process may have met a ban since.
            await shared_budget.refresh()
            if shared_budget.suspension.banned and not shared_budget.suspended_until():
                grant = await shared_budget.admit(["websocket"], 0)
                if grant.entered:
                    return grant.under
        return None if shared_budget.suspension.banned else 0

    async def websocket_banned(self, error: Banned, under: int) -> None:
        """Record a ban that a websocket handshake met."""
        await self.shared_budget.suspend(error, under)

    async def websocket_connected(self, under: int) -> None:
        """Record that a websocket connected: this ends the ban before it."""
        await self.shared_budget.record_response(under)

    async def _wait(self, waiting: _Waiting) -> int:
        """Wait for our turn; return the suspension level under which the request was admitted."""
        try:
            async with self._turn:
                while True:
                    grant = self._ahead.take() or await self._admit()
                    if grant is None:
                        continue
                    # The one before may have reached the wire only now, or been refused meanwhile.
                    await self._space()
                    if self.shared_budget.holds(grant):
                        break
                self.rest.last_sent = trio.current_time()
                return grant.under
        finally:
            self._waiting.remove(waiting)

    async def _admit(self) -> Admission | None:
        """Admit as many waiting requests as the budget allows; return None if none.

        The admitted requests then need not read the request log again.
        """
        await self._sleep_until(self.shared_budget.next_at(self._spacing_ms))
        await self._space()
        grant = await self._request_admission()
        if not grant.entered:
            await self._sleep_until(grant.at)
            return None
        self._ahead = _Ahead(grant, grant.entered - 1, trio.current_time())
        return grant

    async def _space(self) -> None:
        """Keep the spacing on the wire, which may lag behind the request log."""
        at = self.rest.last_sent + self._spacing_ms / 1000
        if at > trio.current_time():
            await trio.sleep_until(at)

    async def _sleep_until(self, at: int) -> None:
        """Sleep until a time (ms), for a few seconds at most: other processes change the budget."""
        if (wait_ms := at - self._clock()) > 0:
            await trio.sleep(min(wait_ms, _MAX_SLEEP_MS) / 1000)

    async def _request_admission(self) -> Admission:
        """Ask the shared budget. While the database is unavailable, wait and send nothing."""
        give_up_at = trio.current_time() + self._patience_s
        while True:
            try:
                most = None if self._took_s < _QUICK_S else MAX_CONCURRENT_REQUESTS
                endpoints = [waiting.endpoint for waiting in self._waiting[:most]]
                return await self.shared_budget.admit(endpoints, self._spacing_ms)
            except StoreUnavailable:
                if trio.current_time() > give_up_at:
                    raise
            await self.shared_budget.pause(_DATABASE_RETRY_DELAY_S)

    async def _answered(self, under: int) -> None:
        """Record that BloFin responded, even if it rejected the request."""
        if self._trouble.clear("REST"):
            self.back()
        await self.shared_budget.record_response(under)
