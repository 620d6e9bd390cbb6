"""Old rows: what the columns of the old scripts' tables mean, and what their values are.

What the old tables looked like is not known to the letter, so columns are known by sensible names.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from blofin_agent.domain.backfill_run import BackfillRun
from blofin_agent.domain.candle import Candle, RejectedRow, RejectReason, Timeframe
from blofin_agent.domain.symbols import is_symbol
from blofin_agent.domain.trade import EARLIEST_TRADE_MS, MAX_AHEAD_MS, Trade
from blofin_agent.protocol.candle_row import WireRow, judge_row
from blofin_agent.protocol.trades import judge_trades
from blofin_agent.protocol.websocket import TRADES, Push

FILL = "historical_fill"
"""What the old scripts wrote into `source` for a minute's close that REST gave."""

Names = Mapping[str, Sequence[str]]
"""What a column may be called that means something, the likeliest first; see `recognise`."""

TICKS: Names = {
    "time": (
        *("tsms", "timestampms", "timems", "ts", "timestamp", "time", "datetime", "dt"),
        *("opentimems", "opentime", "minutets", "minute"),
    ),
    "symbol": ("symbol", "instid", "instrument", "inst", "pair", "market"),
    "price": ("price", "close", "lastprice", "last", "px"),
    "source": ("source", "src", "origin"),
    "bar": ("bar", "timeframe", "interval"),
    "open": ("open", "openprice", "o"),
    "high": ("high", "highprice", "h"),
    "low": ("low", "lowprice", "l"),
    "close": ("close", "closeprice", "c", "price"),
    "volume": ("volume", "vol", "v", "contracts"),
    "volume_base": ("volumebase", "volccy", "basevolume", "volbase"),
    "volume_quote": ("volumequote", "volccyquote", "quotevolume", "volquote", "turnover"),
    "confirm": ("confirm", "confirmed"),
    "trade_id": ("tradeid", "tid"),
    "size": ("size", "qty", "quantity", "amount", "sz"),
    "side": ("side", "takerside"),
}
RUNS: Names = {
    "started": ("started", "startedat", "startedms", "starttime", "runstarted"),
    "finished": ("finished", "finishedat", "finishedms", "endtime", "ended", "endedat"),
    "symbol": TICKS["symbol"],
    "bar": TICKS["bar"],
    "trigger": ("trigger",),
    "missing_before": ("missingbefore",),
    "missing_after": ("missingafter",),
    "gaps_found": ("gapsfound", "gaps"),
    "requests": ("requests", "batches", "apirequests"),
    "rate_limited": ("ratelimited", "ratelimits"),
    "rows_fetched": ("rowsfetched", "fetched"),
    "rows_inserted": ("rowsinserted", "inserted"),
    "first_gap": ("firstgap",),
    "last_gap": ("lastgap",),
    "coverage_before": ("coveragebefore",),
    "coverage_after": ("coverageafter",),
    "status": ("status", "result"),
    "note": ("note", "error", "errormessage", "message"),
}
OPTIONAL = ("first_gap", "last_gap", "note")
"""What a run of ours may be without."""
CANDLE = ("open", "high", "low", "close", "volume", "volume_base", "volume_quote")
TRADE = ("trade_id", "price", "size", "side")

NO_TIME = "no time that can be read, or one in the future"
NO_SYMBOL = "no symbol of BloFin's"
OTHER_BAR = "of another bar than 1m"

_MS_PER = ((1_000, 1), (1, 1), (1, 1_000), (1, 1_000_000))
"""A number may be seconds, ms, microseconds or nanoseconds: times what, divided by what."""
_LAST_MS = 4_102_444_800_000
"""2100-01-01: no number that is meant for a time is later."""
_MOST = (1 << 31) - 1
"""The highest count that a run may have."""
_NUMBER = re.compile(r"\s*\d{1,20}(\.\d{0,20})?\s*")


def recognise(columns: Iterable[str], names: Names) -> dict[str, str]:
    """Return the columns that mean something, by what they mean.

    `ts_ms`, `tsMs` and `TS-MS` are one name.
    """
    there = {re.sub(r"[^a-z0-9]", "", column.lower()): column for column in columns}
    found = {}
    for meaning, called in names.items():
        first = next((name for name in called if name in there), None)
        if first is not None:
            found[meaning] = there[first]
    return found


def moment(value: object) -> int | None:
    """Return the time (ms since the epoch) that a value means, None when it means none.

    A number of seconds, ms, microseconds or nanoseconds, or a date and time as ISO 8601 has it,
    in UTC where it does not say otherwise.
    """
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value) if "." in value else int(value)
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float) and math.isfinite(value):
        for times, over in _MS_PER:
            time = (
                round(value * times / over) if isinstance(value, float) else value * times // over
            )
            if EARLIEST_TRADE_MS <= time < _LAST_MS:
                return time
    if isinstance(value, str):
        try:
            found = datetime.fromisoformat(value.strip())
            found = found if found.tzinfo else found.replace(tzinfo=UTC)
            time = round(found.timestamp() * 1000)
        except (ValueError, OverflowError):
            return None
        return time if EARLIEST_TRADE_MS <= time < _LAST_MS else None
    return None


def number(value: object) -> float | None:
    """Return the finite number that a value means, None when it means none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def place(row: Mapping[str, object], now_ms: int) -> tuple[str, int] | str:
    """Return of which symbol and when (ms) a row is, or why that cannot be told."""
    time, symbol = moment(row["time"]), row["symbol"]
    if time is None or time > now_ms + MAX_AHEAD_MS:
        return NO_TIME
    if not isinstance(symbol, str) or not is_symbol(symbol):
        return NO_SYMBOL
    return OTHER_BAR if row.get("bar", Timeframe.M1.value) != Timeframe.M1.value else (symbol, time)


def candle(row: Mapping[str, object], time: int, closed_before: int) -> Candle | RejectedRow:
    """Return the candle that a row is by the rules for BloFin's own rows, or why it is none."""
    wire = [time, *(row[name] for name in CANDLE), row.get("confirm", "")]
    try:
        found = msgspec.convert(wire, WireRow, strict=False)
    except msgspec.ValidationError:
        return RejectedRow(RejectReason.SHAPE, "", time)
    return judge_row(found, Timeframe.M1, closed_before)


def tick(row: Mapping[str, object], symbol: str, time: int, now_ms: int) -> Trade | RejectedRow:
    """Return the trade that a row is by the rules for BloFin's own, or why it is none."""
    side = row["side"]
    wire = {
        "tradeId": row["trade_id"],
        "price": row["price"],
        "size": row["size"],
        "side": side.lower() if isinstance(side, str) else side,
        "ts": time,
    }
    try:
        raw = msgspec.json.encode(wire)
    except (TypeError, ValueError):
        return RejectedRow(RejectReason.SHAPE, "", time)
    (judged,) = judge_trades(Push(symbol, TRADES, [raw]), now_ms)
    return judged


def run(row: Mapping[str, object]) -> BackfillRun | None:
    """Return the run that a row is, None when it is none as ours are. See `core.run`."""
    values = {name: value for name, value in row.items() if value is not None}
    for name in ("started", "finished", "first_gap", "last_gap"):
        if name in values:
            values[name] = moment(values[name])
    try:
        found = msgspec.convert(values, BackfillRun, strict=False)
    except msgspec.ValidationError:
        return None
    counts = (
        *(found.missing_before, found.missing_after, found.gaps_found, found.requests),
        *(found.rate_limited, found.rows_fetched, found.rows_inserted),
    )
    sound = (
        is_symbol(found.symbol)
        and found.bar in set(Timeframe)
        and found.started <= found.finished
        and all(0 <= count <= _MOST for count in counts)
        and 0 <= found.coverage_before <= 1
        and 0 <= found.coverage_after <= 1
    )
    return found if sound and set(RUNS) - set(OPTIONAL) <= set(values) else None
