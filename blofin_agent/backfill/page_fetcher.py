"""Pager: asks for one page of candles until it comes, and learns how long BloFin's pages are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

import structlog
import trio

from blofin_agent.backfill.page_size_probe import FirstRequestGate
from blofin_agent.domain import price_jump
from blofin_agent.domain.candle import Candle, RejectReason, Timeframe
from blofin_agent.domain.candle_page import NO_SUCH_INSTRUMENT, CandlePage
from blofin_agent.domain.errors import (
    ExchangeError,
    RateLimited,
    RequestRejected,
    RequestsSuspended,
)
from blofin_agent.domain.page_plan import PageRequest
from blofin_agent.domain.symbol_coverage import SymbolCoverage
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.observability.log_limit import LogLimiter
from blofin_agent.observability.metrics import Metrics
from blofin_agent.ratelimit.limiter import RateLimiter
from blofin_agent.runtime.backoff import Backoff

log = structlog.get_logger()

FALLBACK_PAGE_ROWS = (300, 100)
"""What is asked for when BloFin refuses the page size: first what the brief observed."""
INVALID_PARAMETER_CODE = "152002"
"""BloFin's "parameter error": of ours, only the page size can be meant."""
BAD_REQUEST_CODE = "400"
"""HTTP's "bad request": it may mean the page size, when it is said twice."""
_FIRST_PAGE_TIMEOUT_S = 5.0
"""So long the others wait for the first page: it may be in trouble of its own."""
FINAL_CODES = (NO_SUCH_INSTRUMENT, "152001")


class RequestTally(Protocol):
    """Where it is counted what was asked for: a run of the backfill, or a verification."""

    requests: int
    rate_limited: int
    rows_fetched: int


@dataclass(slots=True)
class _PageTrouble:
    """What one page has met so far."""

    failures: int = 0
    stops: int = 0
    refusals: int = 0
    empties: int = 0
    doubted: CandlePage | None = None
    """The answer in which a price leapt."""
    most: int = 1 << 30
    """Rows to ask for at most: less than before, once BloFin refused this page."""


class _ShortPage(NamedTuple):
    """A page that brought fewer rows than asked for: a short one, or the last there is."""

    rows: int
    oldest: int


class PageFetcher:
    """Asks for pages of candles. `batch_limit`: rows a page, from the settings."""

    def __init__(
        self,
        rate_limiter: RateLimiter,
        metrics: Metrics,
        clock: Callable[[], int],
        batch_limit: int,
    ) -> None:
        self.limit = batch_limit
        """Rows asked for: the setting, or less once BloFin refused that."""
        self.size = batch_limit
        """Rows that a page really brings, as far as is known."""
        self._rate_limiter = rate_limiter
        self._metrics = metrics
        self._clock = clock
        self._log_limiter = LogLimiter(clock)
        self._short: dict[str, _ShortPage] = {}
        # How long pages are is found out by one, not by each of those that are asked for at once.
        self._gate = FirstRequestGate(_FIRST_PAGE_TIMEOUT_S)

    @property
    def share(self) -> float:
        """How much of BloFin's limits is this agent's now, 0 to 1."""
        return self._rate_limiter.shared_budget.part()

    async def fetch(
        self,
        history: SymbolCoverage,
        page: PageRequest,
        below: int,
        window: TimeRange,
        tally: RequestTally,
        tries: int,
        beside: Sequence[Candle] = (),
    ) -> tuple[PageRequest, CandlePage]:
        """Ask for a page until it comes, count it in `tally`, and return what was asked and came.

        `below` (ms): where the newest gap ends. An answer without any row older than that, or
        with rows older than the window alone, is asked for twice and then returned as empty. So is
        one in which the price leaps, also from the candles `beside` it: then what both say counts.

        Raises ExchangeError when BloFin refuses it, or after `tries` failures.
        """
        async with self._gate.first():
            met, backoff = _PageTrouble(), Backoff()
            # A page as long as they come is asked for at full length: they may have grown.
            wanted = self.limit if page.limit >= self.size else page.limit
            while True:
                page = PageRequest(page.after, min(wanted, self.limit, met.most))
                try:
                    answer = await self._ask(history, page, window, tally)
                except ExchangeError as error:
                    await self._judge(history.symbol, error, page, met, backoff, tries)
                    continue
                if met.most < self.limit:
                    self.limit, self.size = met.most, min(self.size, met.most)
                    log.warning(
                        "page size rejected by BloFin",
                        page_rows=self.limit,
                        action="request no longer pages from now on",
                    )
                tally.rows_fetched += answer.rows
                self._count_bad(history.symbol, answer)
                leapt = price_jump.has_jump(answer.candles, beside, history.bar)
                if leapt and met.doubted is None:
                    met.doubted = answer
                    continue
                if met.doubted is not None:
                    answer = self._second(history.symbol, met.doubted, answer, leapt=leapt)
                times = answer.times
                self._count_odd(page, answer, history.bar)
                told = bool(times) and min(times) < below and max(times) >= window.start
                if told or met.empties:
                    self._learn(history, page, answer)
                    return page, answer if told else answer._replace(times=[])
                met.empties += 1

    def _count_odd(self, page: PageRequest, answer: CandlePage, bar: Timeframe) -> None:
        times, odd = answer.times, self._metrics.oddities
        if not times:
            odd.labels("rest", "empty").inc()
        elif times != sorted(times, reverse=True):
            odd.labels("rest", "unordered").inc()
        if times and max(times) < page.after - bar.ms:
            odd.labels("rest", "starts_late").inc()

    def _second(
        self, symbol: str, doubted: CandlePage, answer: CandlePage, *, leapt: bool
    ) -> CandlePage:
        """Return what is believed of two answers, in the first of which a price leapt."""
        believed = price_jump.agreed(doubted, answer) if leapt else answer
        dropped = set(doubted.candles).union(answer.candles).difference(believed.candles)
        self._metrics.rows_rejected.labels("rest", RejectReason.DOUBTFUL.value).inc(len(dropped))
        if dropped and self._log_limiter.allow(RejectReason.DOUBTFUL):
            log.warning(
                "rows rejected",
                symbol=symbol,
                feed="rest",
                reason=RejectReason.DOUBTFUL.value,
                count=len(dropped),
                example=str(tuple(min(dropped))),
                cause="price jump not confirmed by a second request",
            )
        return believed

    async def _ask(
        self, history: SymbolCoverage, page: PageRequest, window: TimeRange, tally: RequestTally
    ) -> CandlePage:
        tally.requests += 1
        self._metrics.requests.inc(history.symbol)
        try:
            return await self._rate_limiter.request(
                "candles",
                partial(
                    self._rate_limiter.rest.candles,
                    history.symbol,
                    history.bar,
                    page,
                    TimeRange(window.start, min(page.after, window.end)),
                    history.bar.floor(self._clock()),
                ),
            )
        except RateLimited:
            tally.rate_limited += 1
            self._metrics.rate_limited.inc(history.symbol)
            raise

    async def _judge(
        self,
        symbol: str,
        error: ExchangeError,
        page: PageRequest,
        met: _PageTrouble,
        backoff: Backoff,
        tries: int,
    ) -> None:
        """Wait as long as the error asks for, or raise it when it is final."""
        if isinstance(error, RequestsSuspended):
            # The throttle waits the suspension out; only an endless series of them ends here.
            met.stops += 1
            if met.stops >= tries:
                raise error
        elif isinstance(error, RequestRejected):
            met.refusals += 1
            again = met.refusals > 1
            smaller = [rows for rows in FALLBACK_PAGE_ROWS if rows < page.limit]
            if smaller and (
                error.code == INVALID_PARAMETER_CODE or (error.code == BAD_REQUEST_CODE and again)
            ):
                met.most = smaller[0]
            elif again or error.code in FINAL_CODES:
                raise error
            else:
                await trio.sleep(backoff.next())
        else:
            met.failures += 1
            log.debug(
                "request failed",
                symbol=symbol,
                endpoint="candles",
                error=str(error),
                attempt=met.failures,
                max_attempts=tries,
            )
            if met.failures >= tries:
                raise error
            await trio.sleep(backoff.next())

    def forget_size(self) -> None:
        """Take pages to be as long as they are asked for, until they prove shorter again."""
        self.size = self.limit
        self._short.clear()
        self._gate.forget()

    def _learn(self, history: SymbolCoverage, page: PageRequest, answer: CandlePage) -> None:
        """Learn how many rows a page brings.

        One that brought fewer than asked for was cut short if older rows exist: in the store, or
        in a page that comes later. Else it was the end of the symbol's history.
        """
        rows = len(answer.times if answer.clean else set(answer.times))
        self.size = max(self.size, rows)
        if not rows:
            return
        oldest = min(answer.times)
        short = self._short.pop(history.symbol, None)
        if short is not None and oldest < short.oldest and rows <= short.rows:
            self.size = min(self.size, short.rows)
        if rows < page.limit and answer.clean:
            held = history.held.oldest
            if held is not None and held < oldest:
                self.size = min(self.size, rows)
            else:
                self._short[history.symbol] = _ShortPage(rows, oldest)

    def _count_bad(self, symbol: str, answer: CandlePage) -> None:
        for row in answer.bad:
            self._metrics.rows_rejected.labels("rest", row.reason.value).inc()
        loud = [row for row in answer.bad if row.reason is not RejectReason.OPEN]
        if loud and self._log_limiter.allow(loud[0].reason):
            log.warning(
                "rows rejected",
                symbol=symbol,
                feed="rest",
                reason=loud[0].reason.value,
                count=len(loud),
                example=loud[0].text,
            )
