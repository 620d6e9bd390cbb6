"""Fill: candles in order, the stretches between them, and rows that stand in for what is missing.

Only exports use it. What is made up here is never stored, and says what it is.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from blofin_agent.domain.candle import Timeframe
from blofin_agent.domain.time_range import TimeRange


class FilledRow(NamedTuple):
    """A row of an export: a stored candle, or a synthetic one without a source."""

    open_time: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    volume_base: float
    volume_quote: float
    source: str | None
    synthetic: bool = False


class ForwardFill:
    """Goes over the stored rows of one symbol, oldest first, and keeps what it has met.

    `expected`: where candles should exist. `close`: that of the last candle before, if one is
    known. With `fill` each missing bar of `expected` becomes a row at the last close before it;
    before the first close there is none.
    """

    def __init__(
        self, bar: Timeframe, expected: TimeRange, *, fill: bool = False, close: float | None = None
    ) -> None:
        self.missing: list[TimeRange] = []
        """The stretches of `expected` without a candle, oldest first."""
        self.present = 0
        """Candles inside `expected`."""
        self.synthetic = 0
        self._bar = bar
        self._expected = expected
        self._fill = fill
        self._close = close
        self._next = expected.start

    def over(self, rows: Iterable[FilledRow]) -> Iterator[FilledRow]:
        """Yield the rows, and the synthetic ones between and after them."""
        for row in rows:
            if row.open_time >= self._expected.start:
                yield from self._without(min(row.open_time, self._expected.end))
                self.present += row.open_time < self._expected.end
                self._next = row.open_time + self._bar.ms
            self._close = row.close
            yield row

    def end(self) -> Iterator[FilledRow]:
        """Yield the synthetic rows after the last one."""
        yield from self._without(self._expected.end)

    def _without(self, until: int) -> Iterator[FilledRow]:
        """Note that nothing is held from where the walk stands up to a time (ms)."""
        gap = TimeRange(self._next, until)
        if not gap:
            return
        self._next = until
        self.missing.append(gap)
        if not self._fill or self._close is None:
            return
        self.synthetic += gap.bars(self._bar)
        price = self._close
        for time in range(gap.start, gap.end, self._bar.ms):
            yield FilledRow(time, price, price, price, price, 0.0, 0.0, 0.0, None, True)  # noqa: FBT003
