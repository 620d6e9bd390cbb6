"""Laws of a push: it arrives, or a sentence says why not; it never waits long, or tells secrets."""

import base64
import socket

import pytest
import trio
from prometheus_client import CollectorRegistry, Gauge

from blofin_agent.observability.pushgateway import PushError, Pushgateway, parse, push
from tests.gateway import figures, gateway


@pytest.fixture
def server():
    with gateway() as server:
        yield server


@pytest.fixture
def families():
    registry = CollectorRegistry()
    Gauge("blofin_bar_seconds", "Length of a bar.", registry=registry).set(60)
    return registry


@pytest.mark.parametrize(
    ("text", "url", "user", "password"),
    [
        ("http://gateway:9091", "http://gateway:9091", None, ""),
        ("https://gateway/", "https://gateway", None, ""),
        ("http://[::1]:9091/a/b/", "http://[::1]:9091/a/b", None, ""),
        ("http://me:s%40cret@gateway:9091/x", "http://gateway:9091/x", "me", "s@cret"),
        ("http://me@gateway", "http://gateway", "me", ""),
    ],
)
def test_a_url_is_read_into_its_parts(text, url, user, password):
    """What is shown has no credentials."""
    read = parse(text)
    assert (read.url, read.user, read.password) == (url, user, password)
    assert "cret" not in repr(read)


@pytest.mark.parametrize(
    "text",
    [
        "gateway:9091",
        "ftp://me:secret@gateway",
        "http://",
        "http://me:secret@",
        "http://me:secret@gateway:0",
        "http://me:sec/secret@gateway",
        "http://me:secret@[::1",
        "http://me:secret@gateway/?a=b",
        "http://me:secret@gateway/#a",
    ],
)
def test_a_wrong_url_is_refused_and_not_repeated(text):
    """It may hold a password."""
    with pytest.raises(ValueError, match="it must be a URL ") as refused:
        parse(text)
    assert "sec" not in str(refused.value)


@pytest.mark.parametrize(("whole", "method"), [(True, "PUT"), (False, "POST")])
async def test_a_push_names_job_and_host(server, families, whole, method):
    """So that several hosts do not overwrite each other; PUT replaces all, POST the same names."""
    await push(Pushgateway(server.url + "/prefix"), families, whole=whole)
    (push_,) = server.pushes
    host = socket.gethostname()
    assert push_.method == method
    assert push_.path == f"/prefix/metrics/job/blofin-backfill/instance/{host}"
    assert push_.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "Authorization" not in push_.headers
    assert figures(push_.body) == {("blofin_bar_seconds",): 60}


async def test_credentials_of_the_url_go_into_the_header(server, families):
    """Basic authentication, as a gateway behind a proxy wants it."""
    await push(parse(f"http://me:s%40cret@{server.host}"), families, whole=True)
    (push_,) = server.pushes
    scheme, _, token = push_.headers["Authorization"].partition(" ")
    assert (scheme, base64.b64decode(token)) == ("Basic", b"me:s@cret")
    assert "@" not in push_.path


@pytest.mark.parametrize(
    ("status", "answer", "text"),
    [
        (400, b"text format parsing error\n in line 1\n", "HTTP 400: text format parsing error in"),
        (401, b"", "it answered with HTTP 401"),
        (302, b"", "it answered with HTTP 302"),
        (500, b"\xff" * 1_000, "it answered with HTTP 500: \N{REPLACEMENT CHARACTER}"),
    ],
)
async def test_a_refusal_is_told_with_what_the_gateway_says(server, families, status, answer, text):
    """Shortened to a line."""
    server.status, server.answer = status, answer
    with pytest.raises(PushError) as refused:
        await push(Pushgateway(server.url), families, whole=True)
    assert text in str(refused.value)
    assert len(str(refused.value)) < 250
    assert "\n" not in str(refused.value)


async def test_a_gateway_that_is_not_there_is_told(families):
    """By the reason of the system."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with pytest.raises(PushError, match="Connection refused"):
            await push(Pushgateway(f"http://127.0.0.1:{port}"), families, whole=True)


@pytest.mark.parametrize("host", ["a" * 64 + ".invalid", "two words"])
async def test_a_host_that_cannot_be_is_told(families, host):
    """It passes for a URL, but not for a name."""
    with pytest.raises(PushError, match=r".+"):
        await push(Pushgateway(f"http://{host}"), families, whole=True)


async def test_a_gateway_that_never_answers_is_given_up(families):
    """After the time that a push may take."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        with pytest.raises(PushError, match=r"no answer within 0\.2 s"):
            await push(Pushgateway(url), families, whole=True, within_s=0.2)


async def test_a_peer_that_is_no_web_server_is_told(families, nursery):
    """An SSH server, say."""

    async def greet(stream):
        await stream.send_all(b"SSH-2.0-OpenSSH_9.2\r\n")
        await stream.receive_some()

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, greet, [listener])
    port = listener.socket.getsockname()[1]
    with pytest.raises(PushError, match=r"it does not speak HTTP \(SSH-2\.0"):
        await push(Pushgateway(f"http://127.0.0.1:{port}"), families, whole=True)
