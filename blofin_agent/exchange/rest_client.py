"""Rest: ask BloFin one question over httpx. Every foreign error becomes one of ours, here."""

from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import trio

from blofin_agent.domain.candle import Timeframe
from blofin_agent.domain.candle_page import CandlePage
from blofin_agent.domain.errors import (
    Banned,
    InvalidResponse,
    RateLimited,
    RequestRejected,
    RequestTimedOut,
    ServerError,
    Unreachable,
    WrongEnvironment,
)
from blofin_agent.domain.instrument import InstrumentList
from blofin_agent.domain.page_plan import PageRequest
from blofin_agent.domain.sanitize import shorten
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.exchange.bounded_body import ACCEPT_ENCODING, read_body
from blofin_agent.protocol.instruments import parse_instruments
from blofin_agent.protocol.rest import open_envelope, parse_page

REQUEST_TIMEOUT_S = 20.0
"""The longest a question may take, from the connection to the last byte."""
MAX_BODY_BYTES = 16 * 1024 * 1024
_OK, _BAD_REQUEST, _FORBIDDEN, _TOO_MANY, _SERVER = 200, 400, 403, 429, 500


class RestClient:
    """BloFin's REST interface. `clock` gives ms since the epoch."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        clock: Callable[[], int],
        deadline_s: float = REQUEST_TIMEOUT_S,
    ) -> None:
        self._client = client
        self._clock = clock
        self._deadline_s = deadline_s
        self.last_sent = -1.0
        """When the last request really went out, by trio's clock, in seconds."""

    async def candles(
        self, symbol: str, bar: Timeframe, page: PageRequest, wanted: TimeRange, closed_before: int
    ) -> CandlePage:
        """Fetch one page of candles; see `answers.parse_page`. Raises ExchangeError."""
        body = await self._get(
            "/api/v1/market/candles",
            {
                "instId": symbol,
                "bar": bar.value,
                "after": str(page.after),
                "limit": str(page.limit),
            },
        )
        return parse_page(body, bar, wanted, closed_before)

    async def instruments(self) -> InstrumentList:
        """Fetch all instruments. Raises ExchangeError."""
        return parse_instruments(await self._get("/api/v1/market/instruments", {}))

    async def _get(self, path: str, params: dict[str, str]) -> bytes:
        try:
            with trio.fail_after(self._deadline_s):
                async with self._client.stream(
                    "GET", path, params=params, extensions={"trace": self._trace}
                ) as response:
                    return await self._judge(response)
        except (trio.TooSlowError, httpx.TimeoutException):
            raise RequestTimedOut(f"BloFin did not answer within {self._deadline_s:g} s") from None
        except (httpx.DecodingError, httpx.InvalidURL) as error:
            raise InvalidResponse(f"BloFin's answer cannot be read: {_reason(error)}") from None
        except httpx.TransportError as error:
            raise Unreachable(
                f"cannot reach BloFin at {self._client.base_url.host}: {_reason(error)}"
            ) from None

    async def _trace(self, event: str, _info: dict[str, Any]) -> None:
        if event.endswith("send_request_headers.complete"):
            self.last_sent = trio.current_time()

    async def _judge(self, response: httpx.Response) -> bytes:
        """Return the body of a good answer. Where the status says all, no body can deny it."""
        status = response.status_code
        if status == _TOO_MANY:
            raise RateLimited(
                "BloFin says that there were too many requests (429)", self._retry_after(response)
            )
        if status == _FORBIDDEN:
            raise Banned(
                "BloFin's firewall refuses this address (403)", self._retry_after(response)
            )
        if status >= _SERVER:
            raise ServerError(f"BloFin reports a fault of its own (HTTP {status})")
        if status >= _BAD_REQUEST:
            try:
                open_envelope(await read_body(response, MAX_BODY_BYTES))
            except InvalidResponse:
                raise RequestRejected(str(status), f"HTTP {status}") from None
        if status != _OK:
            raise InvalidResponse(
                f"BloFin answered with HTTP {status}, which is not in its documentation"
            )
        return await read_body(response, MAX_BODY_BYTES)

    def _retry_after(self, response: httpx.Response) -> float | None:
        """Return the seconds that the header Retry-After names: a number or a date. (RFC 9110)."""
        text = response.headers.get("Retry-After", "")
        try:
            seconds = float(text)
        except ValueError:
            try:
                seconds = parsedate_to_datetime(text).timestamp() - self._clock() / 1000
            except (ValueError, OverflowError, TypeError, IndexError):
                # The last two are slips of the library's on odd dates.
                return None
        # NaN fails the comparison too.
        return seconds if seconds >= 0 else None


def _reason(error: Exception) -> str:
    """Return what the library says, which may repeat what BloFin sent."""
    return shorten(str(error)) or type(error).__name__


def client(base_url: str, version: str) -> httpx.AsyncClient:
    """Return the one HTTP client for the life of a process. Raises WrongEnvironment."""
    try:
        return httpx.AsyncClient(
            base_url=base_url,
            timeout=httpx.Timeout(REQUEST_TIMEOUT_S),
            # More connections than requests under way: none ever waits for a connection.
            limits=httpx.Limits(
                max_connections=20, max_keepalive_connections=20, keepalive_expiry=30
            ),
            headers={"User-Agent": f"blofin-agent/{version}", "Accept-Encoding": ACCEPT_ENCODING},
        )
    except (ValueError, ImportError, OSError, httpx.InvalidURL):
        # What the library says may repeat a password.
        raise WrongEnvironment(
            "the environment names a proxy or certificates that cannot be used: look at "
            "HTTP_PROXY, HTTPS_PROXY and ALL_PROXY, which must be URLs of http or https, and at "
            "SSL_CERT_FILE and SSL_CERT_DIR"
        ) from None
