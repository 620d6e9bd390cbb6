"""Market: every candle there ever was, as a pure function of seed, symbol, bar and open time."""

from collections.abc import Mapping, Sequence

from blofin_agent.domain.candle import MINUTE, Candle, Timeframe
from blofin_agent.simulator.instruments import (
    LISTED_LONG_AGO,
    SimulatedInstrument,
    choose,
    make_instrument,
)
from blofin_agent.simulator.missing_bars import MissingBars
from blofin_agent.simulator.price_path import DAY, PricePath, Span

Row = tuple[str, str, str, str, str, str, str, str, str]
"""`[ts, open, high, low, close, vol, volCurrency, volCurrencyQuote, confirm]`, as on the wire.

Source: BloFin's API documentation, "Get Candlesticks".
"""

MISSING_BAR_RATE = 0.0005
"""About five bars of a week's 10,080 are missing by default."""


class Market:
    """A made-up market, the same one for the same arguments on every machine.

    `symbols`: names, or how many. `hole_rate`: the share of bars that never existed, 0 to 0.25.
    `listed`: when a symbol was listed (ms since the epoch), where that is not long ago.
    Raises ValueError for names, rates or times that cannot be; a symbol that is not of this
    market is a KeyError in every method.
    """

    def __init__(
        self,
        seed: int = 1,
        symbols: int | Sequence[str] = 8,
        *,
        hole_rate: float = MISSING_BAR_RATE,
        listed: Mapping[str, int] | None = None,
    ) -> None:
        times = dict(listed or {})
        self.instruments: dict[str, SimulatedInstrument] = {
            name: make_instrument(seed, name, times.pop(name, LISTED_LONG_AGO))
            for name in choose(symbols)
        }
        if times:
            raise ValueError(f"a listing time is given for {min(times)}, which is not traded here")
        self._path = PricePath(self.instruments)
        self._holes = MissingBars(hole_rate)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Return the names, in the order given."""
        return tuple(self.instruments)

    def row(self, symbol: str, bar: Timeframe, open_time: int) -> Row | None:
        """Return the complete candle as the wire has it, or None where there never was one.

        There is none in a hole and before the listing; the bar in which a symbol is listed is its
        first. Raises ValueError when `open_time` (ms) is not on the bar's grid.
        """
        if not self.exists(symbol, bar, open_time):
            return None
        first = open_time // MINUTE
        if bar is Timeframe.M1:
            span = self._path.minute(symbol, first)
        else:
            span = self._path.span(symbol, first, first + bar.ms // MINUTE)
        return _write(self.instruments[symbol], open_time, span, "1")

    def candle(self, symbol: str, bar: Timeframe, open_time: int) -> Candle | None:
        """Return the complete candle, the numbers of `row`, or None where there never was one."""
        row = self.row(symbol, bar, open_time)
        return None if row is None else Candle(int(row[0]), *map(float, row[1:8]))

    def open_row(self, symbol: str, bar: Timeframe, now_ms: int) -> Row | None:
        """Return the open candle at a moment, `confirm` "0", or None where there is none.

        It is what its minutes so far made of it, so it ends as exactly the complete candle.
        """
        open_time = bar.floor(now_ms)
        if not self.exists(symbol, bar, open_time):
            return None
        span = self._span_until(symbol, open_time // MINUTE, now_ms)
        return _write(self.instruments[symbol], open_time, span, "0")

    def row_at(self, symbol: str, bar: Timeframe, open_time: int, now_ms: int) -> Row | None:
        """Return a candle as it is known at a moment: complete, open, or None when yet to come."""
        if open_time + bar.ms <= now_ms:
            return self.row(symbol, bar, open_time)
        return self.open_row(symbol, bar, now_ms) if open_time <= now_ms else None

    def page(
        self,
        symbol: str,
        bar: Timeframe,
        now_ms: int,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int,
    ) -> list[Row]:
        """Return at most `limit` rows, newest first: those older than `after`, newer than `before`.

        `before` alone gives the latest rows, not the ones next to it. Without `after` the first
        row is the open candle. Source: BloFin's API documentation, "Get Candlesticks".
        """
        time = bar.floor(now_ms if after is None else min(now_ms, after - 1))
        oldest = bar.floor(self.instruments[symbol].list_time)
        if before is not None:
            oldest = max(oldest, before + 1)
        rows: list[Row] = []
        while time >= oldest and len(rows) < limit:
            row = self.row_at(symbol, bar, time, now_ms)
            if row is not None:
                rows.append(row)
            time -= bar.ms
        return rows

    def exists(self, symbol: str, bar: Timeframe, open_time: int) -> bool:
        """Say whether there is, was or will be such a bar: it is in no hole and not unlisted.

        Raises ValueError when `open_time` (ms) is not on the bar's grid.
        """
        if bar.floor(open_time) != open_time:
            raise ValueError(f"no {bar} bar opens at {open_time}")
        instrument = self.instruments[symbol]
        if open_time + bar.ms <= instrument.list_time:
            return False
        return not self._holes.has(instrument.key, bar, open_time)

    def last(self, symbol: str, now_ms: int) -> int:
        """Return the price of the moment, in ticks: the close of every bar that is open then."""
        return self._span_until(symbol, now_ms // MINUTE, now_ms)[3]

    def day_until(self, symbol: str, now_ms: int) -> Span:
        """Return the last 24 hours up to a moment, holes or not, in ticks and lots."""
        first = max(now_ms // MINUTE - DAY, self.instruments[symbol].list_time // MINUTE)
        return self._span_until(symbol, min(first, now_ms // MINUTE), now_ms)

    def _span_until(self, symbol: str, first: int, now_ms: int) -> Span:
        minute, elapsed = divmod(now_ms, MINUTE)
        return self._path.unfinished(symbol, first, minute, elapsed)


def _write(instrument: SimulatedInstrument, open_time: int, span: Span, confirm: str) -> Row:
    opened, high, low, closed, lots = span
    scale, form = 10**instrument.decimals, f".{instrument.decimals}f"
    return (
        str(open_time),
        format(opened / scale, form),
        format(high / scale, form),
        format(low / scale, form),
        format(closed / scale, form),
        instrument.contracts(lots),
        instrument.base_amount(lots),
        instrument.quote_amount(lots, (opened + high + low + closed) / 4),
        confirm,
    )
