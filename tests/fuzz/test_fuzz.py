"""Laws of all that comes from outside: it is taken, or refused with a plain word; nothing breaks.

The same properties that `make fuzz` gives to atheris. What was found stands here as an example.
"""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.fuzz.bodies import SEEDS as BODIES
from tests.fuzz.bodies import bodies
from tests.fuzz.command_line import COMMANDS, command_line
from tests.fuzz.command_line import SEEDS as COMMAND_LINES
from tests.fuzz.frames import SEEDS as FRAMES
from tests.fuzz.frames import frames
from tests.fuzz.hostile import TEXTS, WORDS, cut, spoilt
from tests.fuzz.queries import SEEDS as QUERIES
from tests.fuzz.queries import queries
from tests.fuzz.settings import NAMES
from tests.fuzz.settings import SEEDS as SETTINGS
from tests.fuzz.settings import settings as read_settings
from tests.fuzz.urls import SCHEMES, urls
from tests.fuzz.urls import SEEDS as URLS
from tests.pace import REAL

LESS = 1 if REAL else 3
"""The suite draws a third of the examples."""
OPTIONS = (
    *("--symbols", "--lookback-hours", "--since", "--until", "--json", "--failed", "--limit"),
    *("--output", "--manifest", "--format", "--split", "--fill", "--dry-run", "--verbose"),
    *("--metrics-textfile", "--pushgateway", "--help", "--version", "--", "-o", "-"),
)
PATHS = (
    *("/", "/metrics", "/runs", "/runbook", "/events", "/healthz", "/readyz", "/openapi.json"),
    *("/symbols/", "/static/", "/api/v1/status", "/api/v1/coverage", "/api/v1/coverage/"),
    *("/api/v1/gaps", "/api/v1/map", "/api/v1/runs", "/api/v1/candles", "/api/v1/openapi.json"),
)
PARAMETERS = ("symbol", "limit", "after", "before", "status", "since", "until", "columns", "recent")
HEADERS = (
    *("Accept", "Accept-Encoding", "Host", "Authorization", "Range", "If-Range", "X-Other"),
    *("If-Modified-Since", "If-None-Match", "Content-Length", "Cookie"),
)
ROW = ["1789999920000", "2", "3", "1", "2", "10", "0.5", "20", "1"]


def page(*rows):
    return json.dumps({"code": "0", "data": list(rows)}).encode()


def all_of(seeds):
    """Add what atheris begins with as examples."""

    def add(test):
        for seed in seeds:
            test = example(seed)(test)
        return test

    return add


documents = st.sampled_from(FRAMES[1:]).map(json.loads).flatmap(spoilt)


@settings(max_examples=400 // LESS)
@given(st.one_of(documents, st.binary(max_size=300)))
@all_of(FRAMES)
@example(b'{"event":"error","code":"' + b"x" * 9_000 + b'\\u001b[31m\\n","msg":"a\\nb"}')
@example(b'{"arg":{"channel":"candle1m","instId":"A"},"data":[["-9223372036854720000"]]}')
@example(b'{"arg":{"channel":"candle1m","instId":"A"},"data":' + b"[" * 5_000)
def test_frames(data):
    """Each is told what it is; of a push each row is a candle, a trade or bad."""
    frames(data)


answers = st.sampled_from(BODIES).map(json.loads).flatmap(spoilt)


@settings(max_examples=400 // LESS)
@given(st.one_of(answers, st.binary(max_size=300)))
@all_of(BODIES)
@example(page(["-9223372036854720000", *ROW[1:]], ROW))
@example(page([str(-(1 << 70) // 60_000 * 60_000), *ROW[1:]], ROW))
@example(page({"instId": "A-B", "listTime": 1 << 61}, {"instId": "../x"}, {"instId": "A-B"}))
@example(page({"instId": "\ud800"}, {"instId": "A-B", "state": "\x1b[31m" * 99}))
@example(b'{"code":"1\\n\\u001b[2J","msg":"\\u202e\\n"}')
@example(b'{"code":' + b"9" * 5_000 + b"}")
def test_bodies(data):
    """An answer is a page, a list of instruments, or an error of ours."""
    bodies(data)


lines = st.tuples(st.sampled_from([name.encode() for name in NAMES]), WORDS).map(b"=".join)


@settings(max_examples=300 // LESS)
@given(st.one_of(st.lists(lines, max_size=4).map(b"\n".join), st.binary(max_size=200)))
@all_of(SETTINGS)
@example(b"BLOFIN_SYMBOLS=" + b",".join(b"A%d" % n for n in range(2_000)))
@example(b"BLOFIN_SYMBOLS=A\xff\nBLOFIN_REST_URL=http://ho\rst\nAPI_HOST=" + b"a" * 64)
@example(b"BLOFIN_REST_URL=http://\xc3\xa4.example\nBLOFIN_WS_URL=ws://[::1%25]/\x7f")
@example(b"API_PORT=" + b"9" * 5_000 + b"\nLOG_LEVEL=\x1b[31m")
@example(b"\xef\xbb\xbfAPI_TOKEN=s3cr3t s3cr3t\n\0=\0")
@pytest.mark.slow("300 files of settings")
def test_settings(data):
    """They are sound, or there is one line for each that is wrong."""
    read_settings(data)


words = st.lists(st.one_of(st.sampled_from(OPTIONS).map(str.encode), WORDS), max_size=5)
times = st.sampled_from([b"0001-01-01", b"1970-01-01", b"9999-12-31T23:59:59-23:59", b"2026-W01"])
ranges = st.lists(st.tuples(st.sampled_from([b"--since", b"--until"]), times), max_size=2)


@settings(max_examples=150 // LESS)
@given(
    st.integers(0, len(COMMANDS) - 1),
    ranges.map(lambda found: [word for pair in found for word in pair]),
    words,
)
@example(0, [], [b"--symbols", b"\xff"])
@example(1, [], [b"--symbols", b":BOOM:,[RED],X/Y"])
@example(0, [], [b"--lookback-hours", b"9" * 6_000])
@example(5, [b"--since", b"0001-01-01"], [b"--symbols", b"ETH-USDT"])
@example(3, [b"--until", b"0001-01-01"], [])
@example(3, [], [b"--manifest", b""])
@example(6, [], [b"--\x1b[31m\xff"])
def test_command_line(command, times, words):
    """It ends with one of four codes, and says in a plain line what was wrong."""
    command_line(
        b"\0".join([bytes([command]), *times, *(word.replace(b"\0", b"") for word in words)])
    )


def test_command_lines_that_atheris_begins_with():
    """Each option once."""
    for seed in COMMAND_LINES:
        command_line(seed)


values = st.one_of(TEXTS.map(lambda text: text[:3_000].encode(errors="replace")), st.binary())
quoted = values.map(lambda value: b"".join(b"%%%02x" % byte for byte in value[:1_000]))
parameters = st.tuples(st.sampled_from(PARAMETERS).map(str.encode), quoted).map(b"=".join)
headers = st.tuples(st.sampled_from(HEADERS).map(str.encode), values).map(b": ".join)


@st.composite
def requests(draw):
    path = draw(st.sampled_from(PATHS)).encode()
    if path.endswith(b"/"):
        path += draw(quoted)
    query = b"&".join(draw(st.lists(parameters, max_size=3)))
    more = [line.replace(b"\n", b"") for line in draw(st.lists(headers, max_size=3))]
    return b"\n".join([path + b"?" + query, *more])


@settings(max_examples=300 // LESS)
@given(st.one_of(requests(), st.sampled_from(QUERIES).flatmap(cut)))
@all_of(QUERIES)
@example(b"/metrics\nAccept: text/plain;version=" + b"9" * 5_000)
@example(b"/metrics\nAccept: application/openmetrics-text; version=x.y")
@example(b"/runs?before=" + b"9" * 5_000 + b"&symbol=%3Cq%22'%26%3E")
@example(b"/%00%ff/<q\"'&>")
@example(b"/static/%00")
@pytest.mark.slow("300 requests through the whole application")
def test_queries(data):
    """A request gets one whole answer, and no fault of the agent's own."""
    queries(data)


@settings(max_examples=300 // LESS)
@given(
    st.integers(0, len(SCHEMES) - 1),
    st.tuples(TEXTS, TEXTS).map("\0".join),
    st.sampled_from(
        ["@host:5432/db", "@[::1]/x?y=z", "@/", "@h@h/", "", "@host:port/", "@h/\ud800"]
    ),
)
@example(0, "p@\0", "@host/db")
@example(0, "", "")
@example(3, "12/\0", "@host/x")
@example(2, "\0", "@h/x.db?timeout=1")
def test_urls(scheme, password, behind):
    """It is taken or refused, and nobody is told the password in it."""
    urls(bytes([scheme]) + (password + behind).encode(errors="surrogatepass"))


def test_urls_that_atheris_begins_with():
    """Each scheme once."""
    for seed in URLS:
        urls(seed)
