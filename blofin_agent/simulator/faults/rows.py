"""What is done wrong to the rows of a page, and to a candle."""

from collections.abc import Sequence

from blofin_agent.domain.candle import Timeframe
from blofin_agent.simulator.faults.registry import Faults
from blofin_agent.simulator.market import Market, Row

_GARBAGE: tuple[object, ...] = (
    None,
    "",
    {},
    [],
    ["x"] * 9,
    ["1790000000001", "1", "1", "1", "1", "1", "1", "1", "1"],
    ["1790000040000", "nan", "inf", "-1", "1", "1", "1", "1", "1"],
    ["1790000040000", "1", "1", "1", "1"],
    [10**30, "1", "1", "1", "1", "1", "1", "1", "1"],
    [[["1"]]] * 9,
)
_EDGE = 5


def spoil_rows(
    faults: Faults, market: Market, symbol: str, bar: Timeframe, rows: Sequence[Row], now_ms: int
) -> list[object]:
    """Return the rows of a page as the faults in force make them."""
    kept = [
        changed
        for row in rows
        if (changed := spoil_candle(faults, symbol, bar, row, now_ms)) is not None
    ]
    chance = faults.chance
    if faults.strikes("empty", symbol):
        return []
    if kept and faults.strikes("edge-hole", symbol):
        newest, oldest = chance.randint(0, _EDGE), chance.randint(0, _EDGE)
        kept = kept[newest : len(kept) - oldest]
    spoilt: list[object] = list(kept)
    if kept and faults.strikes("foreign-rows", symbol):
        spoilt = _with_foreign(faults, market, symbol, bar, kept, now_ms)
    if kept and faults.strikes("repeated-rows", symbol):
        for row in chance.sample(kept, min(len(kept), 3)):
            spoilt.insert(chance.randint(0, len(spoilt)), row)
    if faults.strikes("garbage-rows", symbol):
        for one in chance.sample(_GARBAGE, 3):
            spoilt.insert(chance.randint(0, len(spoilt)), one)
    if faults.strikes("shuffled-rows", symbol):
        chance.shuffle(spoilt)
    return spoilt


def spoil_candle(faults: Faults, symbol: str, bar: Timeframe, row: Row, now_ms: int) -> Row | None:
    """Return a candle as it is given now, None when it is not."""
    over_ms = now_ms - int(row[0]) - bar.ms
    late = faults.standing("late", symbol)
    if late and 0 <= over_ms < late.seconds * 1000:
        faults.struck["late"] += 1
        return None
    wrong = faults.standing("corrected", symbol)
    if wrong and 0 <= over_ms < wrong.seconds * 1000:
        faults.struck["corrected"] += 1
        # The last trade was missed: it closes as it opened, and less was traded.
        opened = row[1]
        return (*row[:4], opened, "0", "0", "0", row[8])
    return row


def another(market: Market, symbol: str) -> str:
    """Return the market's next symbol; the same one where there is no other."""
    names = market.symbols
    return names[(names.index(symbol) + 1) % len(names)]


def _with_foreign(
    faults: Faults, market: Market, symbol: str, bar: Timeframe, rows: Sequence[Row], now_ms: int
) -> list[object]:
    """Add, before or after some rows, what another symbol has for the same time."""
    other, chance = another(market, symbol), faults.chance
    chosen = set(chance.sample(rows, max(1, len(rows) // 5)))
    mixed: list[object] = []
    for row in rows:
        foreign = market.row_at(other, bar, int(row[0]), now_ms) if row in chosen else None
        pair = [row] if foreign is None else [row, foreign]
        chance.shuffle(pair)
        mixed += pair
    return mixed
