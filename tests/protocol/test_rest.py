"""Laws of BloFin's REST grammar: good rows are kept whatever else comes, and errors are ours."""

import contextlib
import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blofin_agent.domain import errors
from blofin_agent.domain.candle import Candle, RejectReason, Timeframe
from blofin_agent.domain.candle_page import NO_SUCH_INSTRUMENT
from blofin_agent.domain.errors import (
    OUTCOMES,
    Banned,
    ExchangeError,
    InvalidResponse,
    RateLimited,
    RequestRejected,
    ServerError,
)
from blofin_agent.domain.instrument import Instrument
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.protocol import rest
from blofin_agent.protocol.instruments import parse_instruments
from blofin_agent.protocol.rest import open_envelope, parse_page

STEP = Timeframe.M1.ms
START = 1_767_225_600_000
WANTED = TimeRange(START, START + 100 * STEP)
CLOSED_BEFORE = START + 10_000 * STEP


NO_TIMES = ("", "soon", "0", "-5", 1 << 62, 253_402_300_800_000, "9" * 5_000)


def row(index: int, price: str = "2", confirm: str | int = "1") -> list[object]:
    return [str(START + index * STEP), price, "3", "1", "2", "10", "0.5", "20", confirm]


def candle(index: int) -> Candle:
    return Candle(START + index * STEP, 2.0, 3.0, 1.0, 2.0, 10.0, 0.5, 20.0)


def envelope(data: object, code: object = "0") -> bytes:
    return json.dumps({"code": code, "msg": "said", "data": data}).encode()


def page(rows: object):
    return parse_page(envelope(rows), Timeframe.M1, WANTED, CLOSED_BEFORE)


BAD = {
    RejectReason.SHAPE: st.sampled_from(
        [[], None, 7, "row", {"ts": "1"}, ["soon"], row(3)[:7], row(3, price="two"), [None] * 9]
    ),
    RejectReason.OFF_GRID: st.integers(0, 90).map(
        lambda i: [str(START + i * STEP + 1), *row(i)[1:]]
    ),
    RejectReason.IMPOSSIBLE: st.tuples(
        st.integers(0, 90), st.sampled_from(["nan", "0", "-2", "9"])
    ).map(lambda drawn: row(*drawn)),
    RejectReason.OUTSIDE: st.integers(100, 200).map(row),
    RejectReason.OPEN: st.tuples(st.integers(0, 200), st.sampled_from(["0", 0])).map(
        lambda drawn: row(drawn[0], confirm=drawn[1])
    ),
}
bad_rows = st.one_of(
    [rows.map(lambda bad, why=why: (why, bad)) for why, rows in BAD.items()],
)


@given(st.data())
def test_a_page_without_a_flaw_is_judged_as_row_by_row(data):
    """The quick way says what the slow one does, or leaves the page to it: in every respect."""
    indices = data.draw(st.lists(st.integers(-3, 103), min_size=1, max_size=30, unique=True))
    rows = [row(index) for index in sorted(indices, reverse=True)]
    flaws = st.tuples(st.sampled_from(rows), st.integers(0, 8), st.sampled_from(FLAWS))
    for spoilt, column, value in data.draw(st.lists(flaws, max_size=2)):
        spoilt[column] = value
    body, bounds = envelope(rows), data.draw(st.integers(START - STEP, CLOSED_BEFORE))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rest, "_sound", lambda *_: None)
        slowly = told(body, bounds)
    assert told(body, bounds) == slowly


FLAWS = ("nan", "inf", "-1", "0", "1", "1e308", str(START), str(START + 1), "", None, 0, 1)


def told(body, closed_before):
    """Return what is said of a page, the order of its bad rows aside, or the error."""
    try:
        answer = parse_page(body, Timeframe.M1, WANTED, closed_before)
    except InvalidResponse as error:
        return str(error)
    return answer._replace(bad=sorted(answer.bad, key=repr))


def test_a_whole_page_is_judged_the_quick_way(monkeypatch):
    """1,440 sound rows with a hole among them need no look at each row."""
    monkeypatch.setattr(rest, "judge_row", None)
    rows = [row(index) for index in range(1_440, -1, -1) if index != 700]
    end = START + 2_000 * STEP
    answer = parse_page(envelope(rows), Timeframe.M1, TimeRange(START + STEP, end), CLOSED_BEFORE)
    assert answer.candles == [candle(index) for index in range(1, 1_441) if index != 700]
    assert answer.clean
    assert answer.rows == len(answer.times) == 1_440


@given(
    st.sets(st.integers(0, 99), min_size=1),
    st.lists(bad_rows, max_size=6),
    st.data(),
)
def test_bad_rows_never_cost_the_good_ones(good, bad, data):
    """In any order, with any others between: all good rows are kept, each other has its reason."""
    repeated = data.draw(st.lists(st.sampled_from(sorted(good)), max_size=3))
    reasons = [why for why, _ in bad] + [RejectReason.REPEATED] * len(repeated)
    sent = [row(i) for i in [*good, *repeated]] + [wrong for _, wrong in bad]
    answer = page(data.draw(st.permutations(sent)))
    assert answer.candles == [candle(i) for i in sorted(good)]
    assert sorted(wrong.reason for wrong in answer.bad) == sorted(reasons)
    assert answer.rows == len(sent)
    assert answer.clean == (set(reasons) <= {RejectReason.OPEN})


@given(st.lists(st.integers(-50, 150), max_size=30, unique=True), st.data())
def test_times_are_those_older_than_the_cursor(indices, data):
    """Rows below the window say how far the page reached, but are not kept; nor is any above."""
    kind = data.draw(st.sampled_from([int, lambda full: str(int(full))]))
    shut = data.draw(st.lists(st.booleans(), min_size=len(indices), max_size=len(indices)))
    older = [i for i in indices if i < 100]
    rows = [row(i, confirm=kind(full)) for i, full in zip(indices, shut, strict=True)]
    if indices and not older:
        with pytest.raises(InvalidResponse, match=f"none of the {len(rows)} rows"):
            page(rows)
        return
    answer = page(rows)
    assert answer.times == [START + i * STEP for i in older]
    complete = {i for i, full in zip(indices, shut, strict=True) if full}
    assert answer.candles == [candle(i) for i in sorted(complete) if 0 <= i < 100]


@pytest.mark.parametrize("rows", [[[]], [row(100)], [["x"]] * 3, [[str(START + 1), *row(0)[1:]]]])
def test_a_page_of_nothing_asked_for_is_invalid(rows):
    """Rows none of which is a candle older than the cursor are no answer; no rows at all are."""
    with pytest.raises(InvalidResponse):
        page(rows)
    assert page([]) == ([], [], [], True, 0)


@given(st.sets(st.integers(0, 99), min_size=1))
def test_confirm_may_be_absent(indices):
    """Eight columns will do: then the clock says whether the candle is complete."""
    rows = [row(i)[:8] for i in sorted(indices, reverse=True)]
    closed = START + 50 * STEP
    answer = parse_page(envelope(rows), Timeframe.M1, WANTED, closed)
    assert answer.candles == [candle(i) for i in sorted(indices) if i < 50]
    assert {wrong.reason for wrong in answer.bad} <= {RejectReason.OPEN}
    assert answer.clean


@pytest.mark.parametrize(
    ("code", "error", "says"),
    [
        ("500", ServerError, "said"),
        (429, RateLimited, "said"),
        ("403", Banned, "said"),
        ("152014", RequestRejected, "said .152014."),
        ("", RequestRejected, "said"),
        ("00", RequestRejected, "said"),
        (None, InvalidResponse, "no code"),
        (0.5, InvalidResponse, "format"),
        ([], InvalidResponse, "format"),
    ],
)
def test_a_code_becomes_the_error_of_its_meaning(code, error, says):
    """500 is the server's fault, 429 and 403 stop us, others refuse; no code is no envelope."""
    with pytest.raises(error, match=says) as caught:
        open_envelope(envelope([], code))
    assert type(caught.value) is error


def test_code_0_opens_the_envelope():
    """As text or as a number it is success, and the data come as they were sent."""
    assert open_envelope(b'{"code":"0","data":[ 1.50 ]}') == b"[ 1.50 ]"
    assert open_envelope(b'{"code":0,"msg":null}') == b"null"
    with pytest.raises(RequestRejected) as caught:
        open_envelope(b'{"code":"152014","msg":null}')
    assert caught.value.code == NO_SUCH_INSTRUMENT
    assert "no reason given" in str(caught.value)


def test_instruments_are_read_one_by_one():
    """An unreadable one is left out; a time of listing that is none is not known."""
    wire = [
        {"instId": "BTC-USDT", "listTime": "1600000000000", "state": "live", "lever": 3},
        {"instId": "ETH-USDT", "listTime": 1_600_000_000_000, "state": "suspend"},
        {"instId": 7},
        None,
        {"instId": "A-USDT"},
        *({"instId": f"B{n}-USDT", "listTime": time} for n, time in enumerate(NO_TIMES)),
        {"instId": "A-USDT", "listTime": 7},
    ]
    found, bad = parse_instruments(envelope(wire))
    assert found == [
        Instrument("BTC-USDT", 1_600_000_000_000, "live"),
        Instrument("ETH-USDT", 1_600_000_000_000, "suspend"),
        Instrument("A-USDT", None, "live"),
        *(Instrument(f"B{n}-USDT", None, "live") for n in range(len(NO_TIMES))),
    ]
    assert [row.reason for row in bad] == [
        RejectReason.SHAPE,
        RejectReason.SHAPE,
        RejectReason.REPEATED,
    ]


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "-USDT",
            ".",
            "..",
            "../../etc",
            "btc-usdt",
            "BTC/USDT",
            "BTC USDT",
            "BTC-*",
            "A" * 41,
        ),
        *(
            "[red]A",
            ":BOOM:",
            "<b>",
            "A\n",
            "A\x00",
            "A\x1b[31m",
            "A\u202e",
            "\ud800",
            "A" * 10_000,
        ),
        *("\u0391-USDT", "A\u0301"),
    ],
)
def test_what_can_be_no_symbol_is_no_instrument(name):
    """It would become a file's name, a label, a part of a page and a word on a terminal."""
    found, (bad,) = parse_instruments(envelope([{"instId": name}, {"instId": "BTC-USDT"}]))
    assert [one.symbol for one in found] == ["BTC-USDT"]
    assert bad.reason is RejectReason.SHAPE
    assert bad.text.isprintable()
    assert len(bad.text) < 2_000


@pytest.mark.parametrize(
    "name", ["BTC-USDT", "1000PEPE-USDT", "BTC-USDT-250328", "龙-USDT", "A_B.C"]
)
def test_real_names_are_symbols(name):
    """Digits first, a date behind, East Asian names."""
    ((one,), bad) = parse_instruments(envelope([{"instId": name}]))
    assert (one.symbol, bad) == (name, [])


def read_in_every_way(body: bytes) -> None:
    """Only errors of our own may come out."""
    for read in (
        open_envelope,
        parse_instruments,
        lambda text: parse_page(text, Timeframe.M1, WANTED, CLOSED_BEFORE),
    ):
        with contextlib.suppress(ExchangeError):
            read(body)


@given(st.one_of(st.binary(), st.text().map(str.encode)))
def test_no_bytes_raise_anything_foreign(body):
    """Neither as an answer nor as the data inside one."""
    read_in_every_way(body)
    read_in_every_way(b'{"code":"0","data":' + body + b"}")
    read_in_every_way(b'{"code":"0","data":["' + body + b'"]}')


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 100_000 + b"]" * 100_000,
        b'[["1","1","1","1","1","1","1","1","\xff"]]',
        b'[{"instId":"\xff"},{"instId":"\xed\xa0\x80"}]',
        b'[["\\ud800"]]',
        b"[[" + b"9" * 5_000 + b"]]",
        b'[{"instId":"A","listTime":"' + b"9" * 5_000 + b'"}]',
        b'{"\xff":1}',
        b'"\xff"',
    ],
)
def test_hostile_bytes_raise_nothing_foreign(data):
    """Depth without end, text that is not UTF-8, numbers of 5,000 digits."""
    read_in_every_way(b'{"code":"0","data":' + data + b"}")
    read_in_every_way(b'{"code":' + data + b"}")
    read_in_every_way(b'{"code":"\xff","msg":' + data + b"}")


anything = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(),
        st.integers(-(10**400), 10**400).map(str),
        st.sampled_from(["nan", "-inf", "1e999", 10**30, -(10**30), "0", START]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(node: object, way: tuple = ()) -> list[tuple]:
    """Return the way to each node of a JSON document."""
    if isinstance(node, list):
        node = dict(enumerate(node))
    if not isinstance(node, dict):
        return [way]
    return [way] + [place for key in node for place in places(node[key], (*way, key))]


def replaced(node: object, way: tuple, new: object) -> object:
    """Return the document with the node at that place replaced."""
    if not way:
        return new
    changed = copy.copy(node)
    changed[way[0]] = replaced(node[way[0]], way[1:], new)
    return changed


GOOD = {
    "code": "0",
    "msg": "success",
    "data": [row(2), row(1), {"instId": "BTC-USDT", "listTime": "1", "state": "live"}],
}


@given(st.lists(st.tuples(st.sampled_from(places(GOOD)), anything), max_size=3), st.data())
def test_no_change_of_a_good_answer_raises_anything_foreign(changes, data):
    """With values replaced and bytes cut off or overwritten, it is read or it is our error."""
    document = GOOD
    for way, new in changes:
        if way in places(document):
            document = replaced(document, way, new)
    body = json.dumps(document).encode()
    read_in_every_way(body)
    at = data.draw(st.integers(0, len(body)))
    read_in_every_way(body[:at])
    read_in_every_way(body[:at] + data.draw(st.binary(min_size=1, max_size=2)) + body[at + 1 :])


def test_every_error_has_an_outcome_of_its_own():
    """The errors' outcomes and `ok` are all the values of the label."""
    family = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, ExchangeError)
    ]
    assert {kind.outcome for kind in family} | {"ok"} == set(OUTCOMES)
    assert len(OUTCOMES) == len(set(OUTCOMES))
    assert RateLimited("", 7.0).retry_after == 7.0
    assert Banned("").retry_after is None


def test_of_two_rows_of_a_minute_that_differ_neither_is_believed():
    """Nor of three; the others are, and the page proves nothing."""
    other = [row(1)[0], "2", "4", "1", "3", *row(1)[5:]]
    third = [row(1)[0], "2", "5", "1", "3", *row(1)[5:]]
    for sent in (
        [row(0), row(1), other],
        [other, row(1), row(0), row(1)],
        [row(1), other, third, row(0)],
    ):
        answer = page(sent)
        assert answer.candles == [candle(0)]
        assert {wrong.reason for wrong in answer.bad} <= {
            RejectReason.CONFLICTING,
            RejectReason.REPEATED,
        }
        assert not answer.clean


def test_half_a_surrogate_pair_costs_its_own_row_alone():
    """It is no text; in one row or name it must not cost the others. Elsewhere it is no answer."""
    spoilt = [*row(3)[:8], "\ud83d"]
    answer = page([row(5), spoilt])
    assert answer.candles == [candle(5)]
    assert [bad.reason for bad in answer.bad] == [RejectReason.OPEN]
    with pytest.raises(InvalidResponse):
        open_envelope(b'{"code":"\\ud800"')


def test_a_row_before_1970_is_nowhere():
    """It proves no hole of decades, and no time is shown that no calendar has."""
    early = [str(-(1 << 63) // STEP * STEP), *row(0)[1:]]
    answer = page([row(5), early])
    assert (answer.candles, answer.times, answer.clean) == ([candle(5)], [START + 5 * STEP], False)
    assert [bad.reason for bad in answer.bad] == [RejectReason.OUTSIDE]


def test_what_blofin_says_is_shown_in_one_short_line():
    """A code and a message may be anything."""
    with pytest.raises(RequestRejected) as caught:
        open_envelope(json.dumps({"code": "1\n" * 99, "msg": "\x1b[31m" * 999}).encode())
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1_000
