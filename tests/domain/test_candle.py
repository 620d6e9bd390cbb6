"""Laws of bars, and of the way from a wire row to a candle."""

import json
import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blofin_agent.domain.candle import Candle, RejectedRow, RejectReason, Source, Timeframe
from blofin_agent.domain.sanitize import one_line, shorten
from blofin_agent.protocol.candle_row import WireRow, judge_row, parse_row

NOON = 1_767_268_800_000  # 2026-01-01 12:00 UTC
LENGTHS = {
    "1m": timedelta(minutes=1),
    "3m": timedelta(minutes=3),
    "5m": timedelta(minutes=5),
    "15m": timedelta(minutes=15),
    "30m": timedelta(minutes=30),
    "1H": timedelta(hours=1),
    "2H": timedelta(hours=2),
    "4H": timedelta(hours=4),
    "6H": timedelta(hours=6),
    "8H": timedelta(hours=8),
    "12H": timedelta(hours=12),
    "1D": timedelta(days=1),
    "3D": timedelta(days=3),
    "1W": timedelta(weeks=1),
}

bars = st.sampled_from(Timeframe)
times = st.integers(-(10**13), 10**13)
decimals = st.builds(
    lambda digits, exponent: format(Decimal(digits).scaleb(exponent), "f"),
    st.integers(1, 10**15 - 1),
    st.integers(-14, 6),
)
floats = st.one_of(
    st.floats(), st.sampled_from([0.0, 1.0, 2.0, 3.0, -1.0, math.inf, math.nan]), st.just(1.0)
)


def wire(
    open_time=NOON, prices=("2", "3", "1", "2"), volumes=("1", "1", "1"), confirm="1"
) -> list[object]:
    return [str(open_time), *prices, *volumes, confirm]


def parse(
    row: object, closed_before: int = NOON + 60_000, bar: Timeframe = Timeframe.M1
) -> Candle | RejectedRow:
    return parse_row(json.dumps(row).encode(), bar, closed_before)


def test_every_bar_of_fixed_length_is_known():
    """Each bar lasts what its name on the wire says, and none is left out."""
    assert {bar.value: timedelta(milliseconds=bar.ms) for bar in Timeframe} == LENGTHS


@given(bars, times)
def test_every_time_lies_in_one_bar(bar, time):
    """The floor is the last open time that is not later, and open times are one length apart."""
    first = bar.floor(time)
    assert first <= time < first + bar.ms
    assert bar.floor(first) == first
    assert bar.floor(first - 1) == first - bar.ms
    assert bar.floor(first + bar.ms) == first + bar.ms


@given(bars, st.integers(0, 4 * 10**12))
def test_bars_open_where_the_calendar_says(bar, time):
    """In UTC: a weekly bar opens on Monday midnight, one of days at midnight, others inside it."""
    opened = datetime.fromtimestamp(bar.floor(time) // 1_000, UTC)
    midnight = opened.replace(hour=0, minute=0, second=0)
    if bar is Timeframe.W1:
        assert opened.weekday() == 0
    if bar.ms >= Timeframe.D1.ms:
        assert opened == midnight
    else:
        assert (opened - midnight) % LENGTHS[bar.value] == timedelta()


def test_sources_are_public():
    """Users query the two names of a candle's source."""
    assert [str(source) for source in Source] == ["blofin_ws", "historical_fill"]


@given(st.lists(decimals, min_size=4, max_size=4))
def test_fifteen_digits_survive(texts):
    """A decimal of up to 15 significant digits comes back as the wire wrote it."""
    price, *volumes = texts
    candle = parse(wire(prices=[price] * 4, volumes=volumes))
    assert isinstance(candle, Candle)
    assert candle.open_time == NOON
    for text, number in zip([price] * 4 + volumes, candle[1:], strict=True):
        assert Decimal(repr(number)) == Decimal(text)
        assert Decimal(f"{number:.15g}") == Decimal(text)


def test_columns_keep_their_order():
    """Each column of the wire becomes the field of its name."""
    candle = parse(wire(prices=("2", "4", "1", "3"), volumes=("5", "6", "7")))
    assert candle == Candle(NOON, 2.0, 4.0, 1.0, 3.0, 5.0, 6.0, 7.0)


@given(
    st.lists(st.sampled_from([2.0, 3.0]), min_size=7, max_size=7),
    st.dictionaries(st.integers(0, 6), floats, max_size=2),
)
def test_only_possible_candles_are_taken(good, strange):
    """Taken: finite, positive, enclosed by high and low, no volume negative. Else impossible."""
    columns = [strange.get(i, number) for i, number in enumerate(good)]
    prices, volumes = columns[:4], columns[4:]
    o, high, low, c = prices
    possible = (
        all(map(math.isfinite, prices + volumes))
        and min(prices) > 0
        and high == max(prices)
        and low == min(prices)
        and min(volumes) >= 0
    )
    judged = judge_row(WireRow(NOON, o, high, low, c, *volumes, "1"), Timeframe.M1, NOON + 1)
    if possible:
        assert judged == Candle(NOON, o, high, low, c, *volumes)
    else:
        assert isinstance(judged, RejectedRow)
        assert (judged.reason, judged.open_time) == (RejectReason.IMPOSSIBLE, NOON)


@pytest.mark.parametrize("column", range(1, 8))
@pytest.mark.parametrize("text", ["inf", "-inf", "nan", "-1"])
def test_one_impossible_column_is_enough(column, text):
    """In whichever column it stands."""
    row = wire()
    row[column] = text
    assert parse(row).reason is RejectReason.IMPOSSIBLE


@pytest.mark.parametrize(
    ("row", "reason", "time"),
    [
        (wire(NOON + 1), RejectReason.OFF_GRID, NOON + 1),
        (wire(NOON + 1, confirm="0"), RejectReason.OFF_GRID, NOON + 1),
        (wire(confirm="0"), RejectReason.OPEN, NOON),
        (wire(confirm="2"), RejectReason.OPEN, NOON),
        (wire(confirm=0), RejectReason.OPEN, NOON),
        (wire(confirm=2), RejectReason.OPEN, NOON),
        (wire(NOON + 60_000, confirm=1), RejectReason.OUTSIDE, NOON + 60_000),
        (wire(confirm=True), RejectReason.SHAPE, NOON),
        (wire(NOON + 60_000, confirm="0"), RejectReason.OPEN, NOON + 60_000),
        (wire(NOON + 60_000), RejectReason.OUTSIDE, NOON + 60_000),
        (wire(NOON + 60_000)[:8], RejectReason.OPEN, NOON + 60_000),
        (wire()[:7], RejectReason.SHAPE, NOON),
        (wire(confirm=None), RejectReason.SHAPE, NOON),
        (wire(prices=("2", "3", "1", "two")), RejectReason.SHAPE, NOON),
        (wire("soon"), RejectReason.SHAPE, None),
        ([], RejectReason.SHAPE, None),
        ({}, RejectReason.SHAPE, None),
        (None, RejectReason.SHAPE, None),
    ],
)
def test_a_bad_row_says_why_and_when(row, reason, time):
    """What is no complete candle is told apart by reason, with its time where it can be read."""
    judged = parse(row)
    assert isinstance(judged, RejectedRow)
    assert (judged.reason, judged.open_time) == (reason, time)


@given(st.integers(-3, 3), st.sampled_from(["absent", "0", "1", 0, 1]))
def test_the_clock_stands_in_for_an_absent_confirm(ahead, confirm):
    """Complete is a bar that opens before `closed_before`, unless `confirm` says that it is not."""
    time = NOON + ahead * 60_000
    row = wire(time, confirm=confirm)[: 8 if confirm == "absent" else 9]
    taken = isinstance(parse(row, closed_before=NOON), Candle)
    assert taken == (time < NOON and confirm not in ("0", 0))


@pytest.mark.parametrize(
    ("confirm", "complete"), [("1", True), (1, True), ("0", False), (0, False), ("", False)]
)
def test_confirm_is_a_text_or_a_number(confirm, complete):
    """Only "1" and the number 1 call a candle complete; without the column nothing does."""
    row = msgspec.json.decode(json.dumps(wire(confirm=confirm)), type=WireRow, strict=False)
    assert row.complete is complete
    assert row.confirm == confirm


@given(st.one_of(st.binary(), st.text().map(str.encode)), bars)
def test_no_bytes_make_a_row_raise(raw, bar):
    """Whatever comes is a candle or a bad row whose text fits a line."""
    judged = parse_row(raw, bar, NOON)
    assert isinstance(judged, RejectedRow)
    assert judged.reason is RejectReason.SHAPE


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 100_000,
        b'["\xff"]',
        b'["1","1","1","1","1","1","1","1","\xff"]',
        b'["1","1","1","1","1","1","1","1","\xed\xa0\x80"]',
        b'["1","1","1","1","1","1","1","1","\\ud800"]',
        b"[" + b"9" * 5_000 + b"]",
    ],
)
def test_hostile_bytes_are_bad_rows(raw):
    """Depth without end and text that is not UTF-8 are a matter of shape."""
    judged = parse_row(raw, Timeframe.M1, NOON)
    assert isinstance(judged, RejectedRow)
    assert judged.reason is RejectReason.SHAPE


@given(st.binary(max_size=400))
def test_foreign_text_is_cut_at_200_bytes(raw):
    """Short text is shown whole, long text says that it was cut."""
    text = shorten(raw)
    assert text.endswith("...") or len(raw) <= 200
    shown = one_line(raw[:200].decode("utf-8", "replace"))
    assert text == (shown if len(raw) <= 200 else f"{shown}...")
    assert text.isprintable()


@given(st.text(st.characters(exclude_categories=[]), max_size=40))
def test_foreign_text_is_one_printed_line(text):
    """What is not printed is written as in Python, and all else is left as it is."""
    shown = one_line(text)
    assert shown.isprintable()
    assert shown == text or not text.isprintable()
    assert [sign for sign in text if sign.isprintable() and sign in shown] == [
        sign for sign in text if sign.isprintable()
    ]
