"""Answers: BloFin's REST grammar. Envelopes and pages of candles.

Source of every fact: BloFin's API documentation, "Market Data".
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from operator import gt
from typing import Literal

import msgspec

from blofin_agent.domain.candle import Candle, RejectedRow, RejectReason, Timeframe
from blofin_agent.domain.candle_page import CandlePage
from blofin_agent.domain.errors import (
    Banned,
    InvalidResponse,
    RateLimited,
    RequestRejected,
    ServerError,
)
from blofin_agent.domain.sanitize import MAX_CODE, shorten
from blofin_agent.domain.time_range import TimeRange, is_gapless
from blofin_agent.protocol.candle_row import UNREADABLE, WireRow, all_possible, judge_row, parse_row

_TOO_MANY, _FORBIDDEN, _INTERNAL = 429, 403, 500
_TWICE = {True: RejectReason.REPEATED, False: RejectReason.CONFLICTING}


class _Envelope(msgspec.Struct):
    code: str | int | None = None
    msg: str | None = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


class _Page(msgspec.Struct):
    """A good answer with candles."""

    code: Literal["0"]
    data: list[WireRow]


_SoundRow = tuple[int, float, float, float, float, float, float, float, Literal["1"]]
"""The columns of a `WireRow` that is confirmed."""


class _SoundPage(msgspec.Struct):
    """A good answer all rows of which are confirmed, as nearly all are."""

    code: Literal["0"]
    data: list[_SoundRow]


_make = partial(tuple.__new__, Candle)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_envelope = msgspec.json.Decoder(_Envelope)
_page = msgspec.json.Decoder(_Page, strict=False)
_sound_page = msgspec.json.Decoder(_SoundPage, strict=False)
_raw_rows = msgspec.json.Decoder(list[msgspec.Raw])


def open_envelope(body: bytes) -> bytes:
    """Return the `data` of a REST answer as raw JSON.

    Raises Invalid when the body is no envelope, Refused on a `code` of BloFin's, ServerFault on
    its "internal error" (which comes with HTTP 200), RateLimited and Banned when `code` says so.
    """
    envelope = _decode(body)
    code = shorten(str(envelope.code), MAX_CODE)
    if code == "0":
        return bytes(envelope.data)
    message = shorten(envelope.msg or "")
    if code == "None":
        raise InvalidResponse(f"BloFin's answer has no code: {shorten(body)!r}")
    if code == str(_INTERNAL):
        raise ServerError(f"BloFin reports a fault of its own: {message} ({code})")
    if code == str(_TOO_MANY):
        raise RateLimited(f"BloFin says that there were too many requests: {message}")
    if code == str(_FORBIDDEN):
        raise Banned(f"BloFin's firewall refuses this address: {message}")
    raise RequestRejected(code, message)


def _decode(body: bytes) -> _Envelope:
    """Decode an envelope. Raises Invalid."""
    try:
        return _envelope.decode(body)
    except UNREADABLE:
        # Half a surrogate pair in one name or row must not cost the others.
        mended = _SURROGATE.sub(rb"\\ufffd", body)
    try:
        if mended != body:
            return _envelope.decode(mended)
    except UNREADABLE:
        pass
    raise InvalidResponse(f"BloFin's answer is not in its own format: {shorten(body)!r}")


def parse_page(body: bytes, bar: Timeframe, wanted: TimeRange, closed_before: int) -> CandlePage:
    """Turn the body of a candles request into an Answer.

    `wanted` (ms): from the start of the window to the page's cursor; complete rows outside it are
    not kept. `closed_before`: see `parse_row`. Raises what `open_envelope` raises, and Invalid
    when `data` is no list or none of its rows is older than the cursor.
    """
    with suppress(*UNREADABLE):
        rows = _sound_page.decode(body).data
        if (answer := _sound(rows, bar, wanted, closed_before)) is not None:
            return answer
    try:
        judged = [judge_row(row, bar, closed_before) for row in _page.decode(body).data]
        unreadable = False
    except UNREADABLE:
        judged, unreadable = _row_by_row(open_envelope(body), bar, closed_before)
    answer = _sort_out(judged, bar, wanted, unreadable=unreadable)
    if judged and not answer.times:
        raise InvalidResponse(
            f"none of the {len(judged)} rows that BloFin sent is a candle older than was asked for"
        )
    return answer


def _sound(
    rows: Sequence[_SoundRow], bar: Timeframe, wanted: TimeRange, closed_before: int
) -> CandlePage | None:
    """Return the answer to rows that are all of complete candles in order: nearly any page's.

    None when a row is anything else, or there is none. It says what `judge_row` and `_sort_out`
    would, column by column: a page of 1,440 rows is the most that the event loop does in one go.
    """
    if not rows:
        return None
    times, *figures, _ = zip(*rows, strict=True)
    newest, oldest, step = times[0], times[-1], bar.ms
    if oldest < 0 or newest >= min(wanted.end, closed_before) or bar.floor(newest) != newest:
        return None
    if not is_gapless(times, -step):
        # Rows are missing, or in another order.
        on_grid = not any((newest - time) % step for time in times)
        if not on_grid or not all(map(gt, times, times[1:])):
            return None
    if not all_possible(*figures):
        return None
    candles = list(map(_make, zip(reversed(times), *map(reversed, figures), strict=True)))
    if oldest < wanted.start:
        candles = [candle for candle in candles if candle.open_time >= wanted.start]
    return CandlePage(candles, [], list(times), clean=True, rows=len(rows))


def _row_by_row(
    data: bytes, bar: Timeframe, closed_before: int
) -> tuple[list[Candle | RejectedRow], bool]:
    try:
        raws = _raw_rows.decode(data)
    except UNREADABLE:
        raise InvalidResponse(f"BloFin's page is no list of rows: {shorten(data)!r}") from None
    judged = [parse_row(bytes(raw), bar, closed_before) for raw in raws]
    return judged, any(row.open_time is None for row in judged)


def _sort_out(
    judged: Sequence[Candle | RejectedRow], bar: Timeframe, wanted: TimeRange, *, unreadable: bool
) -> CandlePage:
    """Keep one complete candle an open time, within `wanted`; say why the others are not kept.

    Where two rows of a time differ, neither is.
    """
    kept: dict[int, Candle] = {}
    seen: dict[int, Candle] = {}
    bad: list[RejectedRow] = []
    times: list[int] = []
    clean = not unreadable
    for row in judged:
        time = row.open_time
        if time is not None and 0 <= time < wanted.end and bar.floor(time) == time:
            times.append(time)
        if isinstance(row, RejectedRow):
            bad.append(row)
            clean = clean and row.reason is RejectReason.OPEN
        elif time is not None and time >= wanted.end:
            bad.append(RejectedRow(RejectReason.OUTSIDE, str(tuple(row)), time))
            clean = False
        elif row.open_time in seen:
            same = row == seen[row.open_time]
            bad.append(RejectedRow(_TWICE[same], str(tuple(row)), time))
            clean = False
            if not same and (other := kept.pop(row.open_time, None)) is not None:
                bad.append(RejectedRow(RejectReason.CONFLICTING, str(tuple(other)), time))
        else:
            kept[row.open_time] = seen[row.open_time] = row
    candles = [kept[time] for time in sorted(kept) if time >= wanted.start]
    return CandlePage(candles, bad, times, clean, len(judged))
