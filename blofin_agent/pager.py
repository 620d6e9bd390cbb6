"""Pager: asks for one page of candles until it comes, and learns how long BloFin's pages are."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog
import trio

from blofin_agent.core.answers import NO_SUCH_INSTRUMENT, Answer
from blofin_agent.core.candle import Reason
from blofin_agent.core.coverage import Span
from blofin_agent.core.errors import ExchangeError, RateLimited, Refused, Stopped
from blofin_agent.core.history import History
from blofin_agent.core.plan import Page
from blofin_agent.metrics import Metrics
from blofin_agent.retry import Backoff
from blofin_agent.store.ledger import Run
from blofin_agent.text import plural
from blofin_agent.throttle import Throttle
from blofin_agent.trouble import Seldom

log = structlog.get_logger()

SMALLER_PAGES = (300, 100)
"""What is asked for when BloFin refuses the page size: first what the brief observed."""


@dataclass(slots=True)
class _Trouble:
    """What one page has met so far."""

    failures: int = 0
    stops: int = 0
    empties: int = 0


class Pager:
    """Asks for pages of candles. `batch_limit`: rows a page, from the settings."""

    def __init__(
        self, throttle: Throttle, metrics: Metrics, clock: Callable[[], int], batch_limit: int
    ) -> None:
        self.limit = batch_limit
        """Rows asked for: the setting, or less once BloFin refused that."""
        self.size = batch_limit
        """Rows that a page really brings, as far as is known."""
        self._throttle = throttle
        self._metrics = metrics
        self._clock = clock
        self._seldom = Seldom(clock)

    async def fetch(
        self, history: History, page: Page, window: Span, run: Run, tries: int
    ) -> tuple[Page, Answer]:
        """Ask for a page until it comes, count it in `run`, and return what was asked and came.

        Raises ExchangeError when BloFin refuses it, or after `tries` failures.
        """
        met, backoff = _Trouble(), Backoff()
        while True:
            # A page as long as they come is asked for at full length: they may have grown.
            rows = self.limit if page.limit >= self.size else min(page.limit, self.limit)
            page = Page(page.after, rows)
            try:
                answer = await self._ask(history, page, window, run)
            except ExchangeError as error:
                await self._judge(history.symbol, error, page, met, backoff, tries)
                continue
            run.rows_fetched += answer.rows
            self._count_bad(history.symbol, answer)
            # An empty page where rows must exist is a fault, once; twice it is an answer.
            if answer.times or met.empties or not _older_exist(history, page):
                self._learn(history, page, window, answer)
                return page, answer
            met.empties += 1

    async def _ask(self, history: History, page: Page, window: Span, run: Run) -> Answer:
        run.requests += 1
        self._metrics.requests.labels(history.symbol).inc()
        try:
            return await self._throttle.ask(
                "candles",
                partial(
                    self._throttle.rest.candles,
                    history.symbol,
                    history.bar,
                    page,
                    Span(window.start, min(page.after, window.end)),
                    history.bar.floor(self._clock()),
                ),
            )
        except RateLimited:
            run.rate_limited += 1
            self._metrics.rate_limited.labels(history.symbol).inc()
            raise

    async def _judge(
        self,
        symbol: str,
        error: ExchangeError,
        page: Page,
        met: _Trouble,
        backoff: Backoff,
        tries: int,
    ) -> None:
        """Wait as long as the error asks for, or raise it when it is final."""
        if isinstance(error, Stopped):
            # The throttle waits the suspension out; only an endless series of them ends here.
            met.stops += 1
            if met.stops >= tries:
                raise error
        elif isinstance(error, Refused):
            if error.code == NO_SUCH_INSTRUMENT or not self._ask_for_less(page):
                raise error
            log.warning(f"{error}; asking for {self.limit} rows a page from now on")
        else:
            met.failures += 1
            log.debug(f"{symbol}: {error} (try {met.failures} of {tries})")
            if met.failures >= tries:
                raise error
            await trio.sleep(backoff.next())

    def _ask_for_less(self, page: Page) -> bool:
        """Take the next smaller page, if this one was larger than the least. Return whether."""
        smaller = next((rows for rows in SMALLER_PAGES if rows < page.limit), None)
        if smaller is None:
            return False
        self.limit = min(self.limit, smaller)
        self.size = min(self.size, self.limit)
        return True

    def _learn(self, history: History, page: Page, window: Span, answer: Answer) -> None:
        """Learn from a page that brought fewer rows than asked for although older ones exist."""
        rows = len(set(answer.times))
        if rows > self.size:
            self.size = rows
        elif 0 < rows < min(page.limit, self.size) and answer.clean:
            older_wanted = history.expected(window).start < min(answer.times)
            self.size = rows if older_wanted else self.size

    def _count_bad(self, symbol: str, answer: Answer) -> None:
        for row in answer.bad:
            self._metrics.rows_rejected.labels("rest", row.reason.value).inc()
        loud = [row for row in answer.bad if row.reason is not Reason.OPEN]
        if loud and self._seldom.ready(loud[0].reason):
            log.warning(
                f"{symbol}: {plural(len(loud), 'row')} of a page not stored "
                f"({loud[0].reason.value}), for example {loud[0].text}"
            )


def _older_exist(history: History, page: Page) -> bool:
    """Return whether rows older than the page's cursor must exist."""
    below = page.after - history.bar.ms
    oldest = history.held.oldest
    listed = history.list_time
    return (oldest is not None and oldest < below) or (listed is not None and listed < below)
