"""Rest: BloFin's answers to REST requests on market data, as a pure function of the time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from blofin_agent.domain.candle import Timeframe
from blofin_agent.simulator.faults.registry import Faults
from blofin_agent.simulator.faults.rows import spoil_rows
from blofin_agent.simulator.instruments import SimulatedInstrument
from blofin_agent.simulator.market import Market
from blofin_agent.simulator.ticker import ticker

PREFIX = "/api/v1/market/"
DEFAULT_LIMIT = 500
MAX_LIMIT = 1_440
"""Source of both: BloFin's API documentation, "Get Candlesticks"."""

_MOST_DIGITS = 18  # a longer number is no time and no count

_encode = msgspec.json.Encoder().encode


class RestError(Exception):
    """An answer with a `code` other than "0". Source of codes: BloFin's API documentation."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class RestApi:
    """Answers to the three endpoints of market data.

    `page_limit`: larger limits are clamped to it silently. `refuse_limit_above`: larger limits
    are refused with code 152002 instead, as some servers do.
    """

    market: Market
    faults: Faults
    page_limit: int = MAX_LIMIT
    refuse_limit_above: int | None = None

    def answer(self, endpoint: str, query: Mapping[str, str], now_ms: int) -> bytes:
        """Return the body of an answer, an error's too: all of them come with HTTP 200.

        `endpoint`: a key of `ENDPOINTS`.
        """
        try:
            data = ENDPOINTS[endpoint](self, query, now_ms)
        except RestError as fault:
            return envelope(fault.code, fault.message)
        return envelope("0", "success", data)

    def candles(self, query: Mapping[str, str], now_ms: int) -> list[object]:
        """Return rows, newest first. Raises Fault. `1M`, of no fixed length, is not simulated."""
        symbol = self._symbol(query.get("instId", ""))
        try:
            bar = Timeframe(query.get("bar") or Timeframe.M1)
        except ValueError:
            raise RestError("152002", "Parameter bar error") from None
        limit = _number(query, "limit")
        if limit is None:
            limit = DEFAULT_LIMIT
        refused = self.refuse_limit_above is not None and limit > self.refuse_limit_above
        if limit < 1 or refused:
            raise RestError("152002", "Parameter limit error")
        rows = self.market.page(
            symbol,
            bar,
            now_ms,
            after=self.faults.latest(symbol, _number(query, "after")),
            before=_number(query, "before"),
            limit=min(limit, self.page_limit),
        )
        if not self.faults:
            return list(rows)
        return spoil_rows(self.faults, self.market, symbol, bar, rows, now_ms)

    def instruments(self, query: Mapping[str, str], now_ms: int) -> list[dict[str, str]]:
        """Return the instruments, or the one asked for. Raises Fault."""
        return [_describe(self.market.instruments[name], now_ms) for name in self._chosen(query)]

    def tickers(self, query: Mapping[str, str], now_ms: int) -> list[dict[str, str]]:
        """Return the tickers of what is listed, or the one asked for. Raises Fault."""
        found = (ticker(self.market, name, now_ms) for name in self._chosen(query))
        return [one for one in found if one is not None]

    def _chosen(self, query: Mapping[str, str]) -> tuple[str, ...]:
        name = query.get("instId", "")
        return (self._symbol(name),) if name else self.market.symbols

    def _symbol(self, name: str) -> str:
        if not name:
            raise RestError("152001", "Parameter instId cannot be empty")
        if name not in self.market.instruments:
            raise RestError("152014", "Instrument ID does not exist")
        return name


ENDPOINTS: dict[str, Callable[[RestApi, Mapping[str, str], int], Any]] = {
    "candles": RestApi.candles,
    "instruments": RestApi.instruments,
    "tickers": RestApi.tickers,
}


def envelope(code: str, message: str, data: Any = None) -> bytes:
    """Return what BloFin wraps every answer in; without `data` an error's."""
    body = {"code": code, "msg": message}
    return _encode(body if data is None else {**body, "data": data})


def _number(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > _MOST_DIGITS:
        raise RestError("152002", f"Parameter {name} error")
    return int(text)


def _describe(instrument: SimulatedInstrument, now_ms: int) -> dict[str, str]:
    """Return an instrument's fields. Source: BloFin's API documentation, "Get Instruments"."""
    return {
        "instId": instrument.inst_id,
        "baseCurrency": instrument.base,
        "quoteCurrency": instrument.quote,
        "settleCurrency": instrument.quote,
        "contractValue": instrument.contract_value,
        "listTime": str(instrument.list_time),
        "expireTime": "4102444800000",
        "maxLeverage": "100",
        "minSize": instrument.contracts(1),
        "lotSize": instrument.contracts(1),
        "tickSize": instrument.tick_size,
        "instType": "SWAP",
        "contractType": "linear",
        "maxLimitSize": "100000000",
        "maxMarketSize": "1000000",
        "state": "live" if now_ms >= instrument.list_time else "suspend",
    }
