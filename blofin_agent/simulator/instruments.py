"""Instrument: what a contract is called and how its numbers are written; names(count)."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from blofin_agent.simulator.hashing import hash_fraction, name_key

LISTED_LONG_AGO = 1_577_836_800_000
"""2020-01-01 00:00 UTC (ms): when a symbol was listed unless something else is asked for."""

LOTS_PER_CONTRACT = 10
"""Sizes are whole lots of 0.1 contracts, as BloFin's `lotSize` of most instruments is."""

MAX_DIGITS = 4
"""Of a count of symbols."""

_NAME = re.compile(r"[A-Z0-9]{1,20}-[A-Z0-9]{1,10}")

# Base currency: typical price, price decimals, exponent of the contract value. Magnitudes as on
# BloFin in 2026; the prices are only where the made-up ones start from.
_KNOWN: dict[str, tuple[float, int, int]] = {
    "BTC": (64_000, 1, -3),
    "ETH": (3_100, 2, -2),
    "SOL": (150, 3, 0),
    "XRP": (0.6, 4, 2),
    "DOGE": (0.15, 5, 3),
    "BNB": (580, 2, -2),
    "ADA": (0.45, 4, 2),
    "AVAX": (30, 3, 0),
    "LINK": (14, 3, 0),
    "LTC": (80, 2, 0),
    "DOT": (6, 3, 0),
    "TRX": (0.12, 5, 3),
    "BCH": (400, 1, -1),
    "NEAR": (5, 3, 0),
    "UNI": (8, 3, 0),
    "ATOM": (7, 3, 0),
    "ETC": (25, 3, 0),
    "FIL": (5, 3, 0),
    "APT": (8, 3, 0),
    "ARB": (0.8, 4, 1),
    "OP": (1.8, 4, 1),
    "SUI": (1.1, 4, 1),
    "INJ": (25, 3, 0),
    "AAVE": (95, 2, -1),
    "XLM": (0.1, 5, 3),
    "HBAR": (0.07, 5, 3),
    "TON": (6, 3, 0),
    "SEI": (0.4, 4, 2),
    "TIA": (7, 3, 0),
    "WLD": (2, 4, 1),
    "SHIB": (0.000_02, 9, 6),
    "PEPE": (0.000_01, 10, 6),
}


@dataclass(frozen=True, slots=True)
class SimulatedInstrument:
    """A linear perpetual contract. Prices are whole ticks, sizes whole lots."""

    inst_id: str
    price_ticks: int
    """The typical price, in ticks."""
    decimals: int
    """Decimals of a price; one tick is 10 ** -decimals of the quote currency."""
    contract_exponent: int
    """One contract is 10 ** contract_exponent of the base currency."""
    list_time: int
    """When trading began, ms since the epoch."""
    key: int
    """Where this symbol's chance starts from."""

    @property
    def base(self) -> str:
        """Return the base currency's name."""
        return self.inst_id.partition("-")[0]

    @property
    def quote(self) -> str:
        """Return the quote currency's name."""
        return self.inst_id.partition("-")[2]

    @property
    def tick_size(self) -> str:
        """Return the price step as the wire writes it."""
        return f"{10**-self.decimals:.{self.decimals}f}"

    @property
    def contract_value(self) -> str:
        """Return how much base currency one contract is, as the wire writes it."""
        exponent = self.contract_exponent
        return f"{10.0**exponent:.{max(0, -exponent)}f}"

    def price(self, ticks: int) -> str:
        """Write a price of so many ticks."""
        return f"{ticks / 10**self.decimals:.{self.decimals}f}"

    def contracts(self, lots: int) -> str:
        """Write a size of so many lots in contracts."""
        return f"{lots / LOTS_PER_CONTRACT:.1f}"

    def base_amount(self, lots: int) -> str:
        """Write so many lots in base currency: contracts times contract value, exactly."""
        decimals = 1 - self.contract_exponent
        if decimals <= 0:
            return str(lots * 10**-decimals)
        return f"{lots / 10**decimals:.{decimals}f}"

    def quote_amount(self, lots: int, ticks: float) -> str:
        """Write the worth of so many lots at a price in ticks, with 15 significant digits."""
        worth = lots * 10.0 ** (self.contract_exponent - 1) * ticks / 10**self.decimals
        return f"{worth:.15g}"


def names(count: int) -> tuple[str, ...]:
    """Return `count` symbols: the well-known ones first, then made-up ones."""
    known = [f"{base}-USDT" for base in _KNOWN][:count]
    return (*known, *(f"SIM{number}-USDT" for number in range(len(known) + 1, count + 1)))


def parse_symbols(text: str) -> tuple[str, ...]:
    """Read what a command line says: a count such as `32`, or a list such as `BTC-USDT,ETH-USDT`.

    Raises ValueError with a sentence for a person.
    """
    if text.strip().isdecimal():
        if len(text.strip()) > MAX_DIGITS:
            raise ValueError(f"a market has fewer than {10**MAX_DIGITS:,} symbols")
        return choose(int(text))
    return choose([name.strip().upper() for name in text.split(",") if name.strip()])


def choose(symbols: int | Sequence[str]) -> tuple[str, ...]:
    """Return the symbols meant by a count or by their names, each once.

    Raises ValueError when there is none or one is no BloFin name.
    """
    chosen = names(symbols) if isinstance(symbols, int) else tuple(dict.fromkeys(symbols))
    if not chosen:
        raise ValueError("a market needs at least one symbol")
    for name in chosen:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no symbol; one looks like BTC-USDT")
    return chosen


def make_instrument(seed: int, name: str, list_time: int = LISTED_LONG_AGO) -> SimulatedInstrument:
    """Return the instrument of that name: a known one's numbers, or plausible ones made up."""
    base = name.partition("-")[0]
    price, decimals, exponent = _KNOWN.get(base) or _made_up(name)
    ticks = round(price * 10**decimals)
    return SimulatedInstrument(name, ticks, decimals, exponent, list_time, name_key(seed, name))


def _made_up(name: str) -> tuple[float, int, int]:
    """Return a price between 0.001 and 1,000, written with five digits or so."""
    magnitude = 6 * hash_fraction(name_key(0, name)) - 3
    whole = math.floor(magnitude)
    return 10**magnitude, max(1, 4 - whole), -whole
