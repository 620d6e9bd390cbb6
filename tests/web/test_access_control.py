"""Laws of who may ask: names that are the agent's own, and the token where one is set."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from blofin_agent.web.access_control import AccessControl, AccessPolicy, is_loopback

TOKEN = "s3cret+/=~"


async def _nothing(_scope, _receive, _send):
    raise AssertionError("it was let through")


def ours(host, **how):
    return AccessControl(_nothing, names=["Candles.example"], token=None, **how)._is_ours(host)


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "localhost:8780", "LOCALHOST", "a.localhost:1", "localhost."),
        *("127.0.0.1", "127.0.0.1:8780", "127.9.9.9", "[::1]", "[::1]:8780"),
        *("candles.example", "CANDLES.EXAMPLE:443"),
    ],
)
def test_own_names_are_known(host):
    """With and without a port, in any case."""
    assert ours(host)


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "localhost.evil.example", "evil.localhost.example:8780", "notlocalhost"),
        *("10.0.0.7", "10.0.0.7:8780", "[2001:db8::1]:80", "0.0.0.0"),
        *("", ":", "[", "[]", "127.0.0.1.evil.example", "127.0.0.1@evil.example", "2130706433"),
        *("candles.example.evil.example", "xcandles.example", "evil.example:localhost"),
    ],
)
def test_foreign_names_are_not(host):
    """An address of another machine's network is foreign too, while it listens on loopback."""
    assert not ours(host)


def test_where_it_listens_for_others_any_address_may_be_meant():
    """A page cannot be made to point an address elsewhere; a name it can."""
    assert ours("10.0.0.7:8780", wide=True)
    assert ours("[2001:db8::1]:80", wide=True)
    assert not ours("evil.example", wide=True)


@given(st.text())
def test_no_name_breaks_it(host):
    """Whatever a client sends."""
    assert ours(host) in (True, False)


@pytest.mark.parametrize("path", ["/", "/metrics", "/healthz", "/api/v1/status", "/static/x.js"])
async def test_a_foreign_name_is_refused_everywhere(site, client_of, path):
    """With a problem that says what to do; nothing of the agent's is in it."""
    answer = await client_of(site.app, "evil.example").get(path)
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == 400
    assert "API_ALLOWED_HOSTS" in answer.json()["detail"]


async def test_every_answer_is_guarded(site, client_of):
    """No inline script, no frame, no sniffing, no answer for another origin."""
    site.hold("BTC-USDT")
    http = client_of(site.app)
    for path in ("/", "/metrics", "/api/v1/status", "/static/style.css", "/nothing", "/api/v1/x"):
        headers = (await http.get(path, headers={"Origin": "http://evil.example"})).headers
        policy = headers["Content-Security-Policy"]
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Access-Control-Allow-Origin" not in headers
    preflight = await http.options("/api/v1/status", headers={"Origin": "http://evil.example"})
    assert preflight.status_code == 405
    assert "Access-Control-Allow-Origin" not in preflight.headers


@pytest.fixture
def locked(make_site, client_of):
    """A client of a site with a token."""
    site = make_site(access=AccessPolicy(names=("agent",), token=TOKEN))
    site.hold("BTC-USDT")
    return client_of(site.app)


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


PATHS = ["/", "/metrics", "/readyz", "/runbook", "/api/v1/status", "/static/map.js", "/nothing"]


@pytest.mark.parametrize("path", PATHS)
async def test_with_a_token_everything_wants_it(locked, path):
    """The page too: a browser asks for it as a password."""
    refused = await locked.get(path)
    assert refused.status_code == 401
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert refused.headers.get_list("WWW-Authenticate") == [
        'Bearer realm="blofin-agent"',
        'Basic realm="blofin-agent", charset="UTF-8"',
    ]
    for shown in (f"Bearer {TOKEN}", f"bearer  {TOKEN}", basic("anybody", TOKEN)):
        answer = await locked.get(path, headers={"Authorization": shown})
        assert answer.status_code == (404 if path == "/nothing" else 200)


async def test_whether_it_lives_may_be_asked_without(locked):
    """And nothing else that looks like it."""
    assert (await locked.get("/healthz")).text == "alive\n"
    for path in ("/healthz/", "//healthz", "/HEALTHZ", "/metrics?/healthz", "/x/../healthz/.."):
        assert (await locked.get(path)).status_code == 401


@pytest.mark.parametrize(
    "shown",
    [
        *("", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", TOKEN),
        *(f"Token {TOKEN}", f"Basic {TOKEN}", basic(TOKEN, ""), basic(TOKEN, "x"), "Basic ===="),
        *("Basic " + base64.b64encode(TOKEN.encode()).decode(), f"Bearer {TOKEN} {TOKEN}"),
    ],
)
async def test_another_token_is_none(locked, shown):
    """Nor is half of it, or it in the wrong place."""
    answer = await locked.get("/metrics", headers={"Authorization": shown})
    assert answer.status_code == 401


async def test_the_token_is_compared_in_constant_time(locked, monkeypatch):
    """By the function that is made for it."""
    seen = []
    monkeypatch.setattr(
        "hmac.compare_digest", lambda shown, token: seen.append((shown, token)) or False
    )
    assert (await locked.get("/", headers={"Authorization": "Bearer x"})).status_code == 401
    assert seen == [(b"x", TOKEN.encode())]


@given(st.text())
def test_no_header_breaks_it(shown):
    """Whatever a client sends."""
    raw = [(b"authorization", shown.encode("utf-8", "replace"))]
    assert not AccessControl._shown(Headers(raw=raw), b"\x00never")


@pytest.mark.parametrize(
    ("address", "answer"),
    [
        *(("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("::1%lo", True)),
        *(("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("localhost", False)),
    ],
)
def test_loopback_is_this_machine_alone(address, answer):
    """By its address, not by a name."""
    assert is_loopback(address) is answer


async def test_a_query_that_is_no_ascii_is_refused(site, client_of):
    """HTTP/2 lets any bytes through, and what makes URLs of them would fail."""

    async def raw(scope, receive, send):
        await site.app(scope | {"query_string": b"\xff=\xfe"}, receive, send)

    for path in ("/", "/runs/", "/nowhere", "/api/v1/status"):
        assert (await client_of(raw).get(path)).status_code == 400
