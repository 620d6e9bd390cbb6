"""The ticker and the last trade of a symbol at a moment, as the wire shows them."""

from blofin_agent.simulator.hashing import hash_integer
from blofin_agent.simulator.instruments import LOTS_PER_CONTRACT
from blofin_agent.simulator.market import Market


def ticker(market: Market, symbol: str, now_ms: int) -> dict[str, str] | None:
    """Return a ticker's fields, or None before the listing.

    Source: BloFin's API documentation, "Get Tickers".
    """
    instrument = market.instruments[symbol]
    if now_ms < instrument.list_time:
        return None
    opened, high, low, last, lots = market.day_until(symbol, now_ms)
    size = instrument.contracts(LOTS_PER_CONTRACT * (1 + _chance(market, symbol, now_ms) % 50))
    return {
        "instId": symbol,
        "last": instrument.price(last),
        "lastSize": _trade_size(market, symbol, now_ms),
        "askPrice": instrument.price(last + 1),
        "askSize": size,
        "bidPrice": instrument.price(last - 1),
        "bidSize": size,
        "high24h": instrument.price(high),
        "open24h": instrument.price(opened),
        "low24h": instrument.price(low),
        "volCurrency24h": instrument.base_amount(lots),
        "vol24h": instrument.contracts(lots),
        "ts": str(now_ms),
    }


def trade(market: Market, symbol: str, now_ms: int) -> dict[str, str] | None:
    """Return the trade of the moment at the last price, or None before the listing.

    Source: BloFin's API documentation, "Trades Channel".
    """
    instrument = market.instruments[symbol]
    if now_ms < instrument.list_time:
        return None
    return {
        "instId": symbol,
        "tradeId": str(now_ms),
        "price": instrument.price(market.last(symbol, now_ms)),
        "size": _trade_size(market, symbol, now_ms),
        "side": "buy" if _chance(market, symbol, now_ms) >> 60 & 1 else "sell",
        "ts": str(now_ms),
    }


def _trade_size(market: Market, symbol: str, now_ms: int) -> str:
    return market.instruments[symbol].contracts(1 + (_chance(market, symbol, now_ms) >> 8) % 100)


def _chance(market: Market, symbol: str, now_ms: int) -> int:
    return hash_integer(market.instruments[symbol].key ^ now_ms)
