"""Laws of one websocket session: it subscribes, keeps the heartbeat, and says why it ended."""

import ssl
from datetime import UTC, datetime, timedelta

import pytest
import trio
from trio_websocket import serve_websocket

from blofin_agent.exchange.websocket_session import FeedDisconnected, SessionTiming, session
from blofin_agent.protocol.subscriptions import Subscriptions
from blofin_agent.protocol.websocket import (
    MalformedMessage,
    Pong,
    Push,
    Subscribed,
    SubscriptionError,
)

URL = "ws://blofin.test/ws/public?x=1"
SYMBOLS = ("BTC-USDT", "ETH-USDT", "SOL-USDT")


class Watcher:
    """Takes the frames of a session as the agent does."""

    def __init__(self, *symbols):
        self.subscriptions = Subscriptions(symbols or SYMBOLS)
        self.frames = []
        self.opened = []

    def handle(self, frame, now):
        assert now <= trio.current_time()
        self.frames.append(frame)
        if isinstance(frame, Subscribed):
            self.subscriptions.acked(frame.symbol, now)
        elif isinstance(frame, Push):
            self.subscriptions.pushed(frame.symbol, now)

    async def tracker(self, url=URL, timing=None, per_message=2):
        await session(
            url,
            "candle1m",
            self.subscriptions,
            opened=lambda: self.opened.append(trio.current_time()),
            handle=self.handle,
            per_message=per_message,
            timing=timing or SessionTiming(),
        )

    async def lost(self, **how):
        """Run a session until it is lost; return why and when."""
        begun = trio.current_time()
        with pytest.raises(FeedDisconnected) as caught:
            await self.tracker(**how)
        return caught.value, trio.current_time() - begun


async def test_it_subscribes_in_small_messages_and_hands_frames_over(autojump_clock, peer):
    """Every kind of frame arrives as what it is; the peer's close ends the session."""

    async def script(line):
        for _ in range(2):
            for arg in (await line.hear())["args"]:
                await line.say({"event": "subscribe", "arg": arg})
        await line.push("BTC-USDT")
        await line.say({"event": "error", "code": "60012", "msg": "no"})
        await line.say("pong")
        await line.say("what?")
        await line.close(1001, "going away")

    peer.script = [script]
    watcher = Watcher()
    lost, _ = await watcher.lost()
    assert [symbols for _, symbols in peer.subscribed()] == [["BTC-USDT", "ETH-USDT"], ["SOL-USDT"]]
    assert watcher.frames == [
        *[Subscribed(symbol, "candle1m") for symbol in SYMBOLS],
        Push("BTC-USDT", "candle1m", []),
        SubscriptionError("60012", "no"),
        Pong(),
        MalformedMessage("what?"),
    ]
    assert (lost.reason, lost.status) == ("closed", None)
    assert "1001 going away" in str(lost)
    assert len(watcher.opened) == 1
    assert peer.urls == [URL]
    assert peer.paths == ["/ws/public?x=1"]


async def test_a_quiet_line_is_pinged_and_stays_while_it_answers(autojump_clock, peer):
    """After 15 s without a message the text ping goes out; the pong begins the count anew."""
    watcher = Watcher("BTC-USDT")
    with trio.move_on_after(50):
        await watcher.tracker()
    assert peer.pings() == [15, 30, 45]
    assert watcher.frames.count(Pong()) == 3


async def test_a_busy_line_is_pinged_too(autojump_clock, peer):
    """A server may want to hear from us, however much it says itself."""

    async def script(line):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(line.obey)
            while True:
                await trio.sleep(1)
                await line.push("BTC-USDT")

    peer.script = [script]
    watcher = Watcher("BTC-USDT")
    with trio.move_on_after(100):
        await watcher.tracker()
    assert peer.pings() == [15, 30, 45, 60, 75, 90]
    assert len(peer.subscribed()) == 1


async def test_no_pong_is_silence(autojump_clock, peer):
    """15 s quiet, then 10 s without an answer to the ping: the session is lost."""
    peer.script = [lambda line: line.obey(pong=False)]
    lost, seconds = await Watcher("BTC-USDT").lost()
    assert (lost.reason, str(lost)) == (
        "silent",
        "nothing came for 25 s, not even a pong",
    )
    assert 25 <= seconds <= 27.1


async def test_a_line_that_pongs_but_never_pushes_is_stale(autojump_clock, peer):
    """Each symbol is subscribed anew after a minute, the connection is given up after 90 s."""
    lost, seconds = await Watcher().lost()
    assert lost.reason == "stale"
    assert str(lost) == "no push for any symbol for 90 s"
    assert 90 <= seconds <= 94
    assert [symbols for _, symbols in peer.unsubscribed()] == [list(SYMBOLS[:2]), [SYMBOLS[2]]]


async def test_one_stale_symbol_among_others_ends_the_session_too(autojump_clock, peer):
    """Subscribed anew after a minute without a push; after as long again the line is given up."""

    async def script(line):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(line.obey)
            while True:
                await trio.sleep(1)
                await line.push("BTC-USDT")

    peer.script = [script]
    lost, seconds = await Watcher("BTC-USDT", "ETH-USDT").lost()
    assert lost.reason == "stale"
    assert str(lost) == "no push for ETH-USDT, although subscribed anew"
    assert [symbols for _, symbols in peer.unsubscribed()] == [["ETH-USDT"]]
    assert 120 <= seconds <= 124


async def test_what_is_not_acknowledged_is_sent_again_alone(autojump_clock, peer):
    """So that one bad symbol cannot spoil the others of its message."""

    async def deaf(line):
        while True:
            if await line.hear() == "ping":
                await line.say("pong")

    peer.script = [deaf]
    with trio.move_on_after(45):
        await Watcher().tracker()
    first, *again = peer.subscribed()[1:]
    assert first[0] < 1
    assert {tuple(symbols) for _, symbols in again} == {(symbol,) for symbol in SYMBOLS}
    assert len(again) == 2 * len(SYMBOLS)


@pytest.mark.parametrize("status", [403, 404, 503])
async def test_a_refused_handshake_tells_its_status(autojump_clock, peer, status):
    """403 is the firewall's ban; the caller must know."""
    peer.script = [status]
    watcher = Watcher()
    lost, _ = await watcher.lost()
    assert (lost.reason, lost.status) == ("rejected", status)
    assert str(lost) == f"BloFin refused the connection (HTTP {status})"
    assert watcher.opened == []


@pytest.mark.parametrize("after", [0, 1])
async def test_a_peer_that_does_not_read_is_silent(autojump_clock, peer, after):
    """No send waits for ever; nor does leaving."""

    async def plugged(line):
        await line.hear()
        await trio.sleep(after)
        peer.plug()
        await trio.sleep_forever()

    peer.script = [plugged]
    symbols = 1 if after else 3
    lost, seconds = await Watcher(*SYMBOLS[:symbols]).lost(
        per_message=1, timing=SessionTiming(ping_every_s=5, pong_within_s=30)
    )
    assert (lost.reason, str(lost)) == ("silent", "a message could not be sent")
    assert seconds <= 5 + 10 + 2


async def test_a_line_cut_without_a_word_is_closed(autojump_clock, peer):
    """No close frame, no status: the stream just ends."""

    async def cut(line):
        await line.hear()
        await trio.aclose_forcefully(line._connection._stream)

    peer.script = [cut]
    lost, _ = await Watcher().lost()
    assert lost.reason == "closed"
    assert str(lost)


async def test_a_peer_that_hangs_up_at_the_handshake_ends_the_session(autojump_clock, peer):
    """trio-websocket does not notice before its time is over; it is one of ours all the same."""
    peer.script = ["hang up"]
    lost, seconds = await Watcher().lost()
    assert lost.reason in ("closed", "timeout")
    assert seconds <= 10


async def test_a_bug_of_the_handler_is_not_hidden(autojump_clock, peer):
    """It is no loss of the feed: it goes to the top."""
    watcher = Watcher()

    def broken(_frame, _now):
        raise ZeroDivisionError

    watcher.handle = broken
    with pytest.raises(BaseExceptionGroup) as caught:
        await watcher.tracker()
    assert caught.group_contains(ZeroDivisionError)


async def test_cancellation_ends_a_session_at_once(autojump_clock, peer):
    """Shutdown does not wait for a closing handshake."""
    begun = trio.current_time()
    with trio.move_on_after(7) as scope:
        await Watcher().tracker()
    assert scope.cancelled_caught
    assert trio.current_time() - begun <= 9


async def test_nothing_listening_is_unreachable():
    """Over a real socket."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    lost, _ = await Watcher().lost(url=f"ws://127.0.0.1:{port}/ws")
    assert lost.reason == "unreachable"
    assert "127.0.0.1" in str(lost)


@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_a_peer_that_never_answers_the_handshake_is_a_timeout(scheme):
    """TCP stands, and nothing more comes: with TLS and without."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    try:
        lost, seconds = await Watcher().lost(
            url=f"{scheme}://127.0.0.1:{port}/ws", timing=SessionTiming(connect_s=0.1)
        )
    finally:
        await listener.aclose()
    assert lost.reason == "timeout"
    assert seconds < 2


async def test_a_peer_without_tls_is_unreachable():
    """wss to a plain socket: a sentence, no exception of OpenSSL's."""

    async def plain(stream):
        await stream.receive_some(1_000)
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await stream.aclose()

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, plain, [listener])
        lost, _ = await Watcher().lost(url=f"wss://127.0.0.1:{port}/ws")
        nursery.cancel_scope.cancel()
    assert lost.reason == "unreachable"


@pytest.fixture
def certificate(tmp_path):
    """Return the file of a certificate for localhost that signs itself, with its key."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "both.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@pytest.mark.parametrize("trusted", [True, False])
async def test_tls_is_spoken_with_who_can_be_trusted(certificate, monkeypatch, trusted):
    """A certificate that no one vouches for is a sentence, not a session."""
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    async def serve(request):
        connection = await request.accept()
        await connection.aclose(1000, "enough")

    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, serve, "127.0.0.1", 0, context)
        lost, _ = await Watcher("A-B").lost(url=f"wss://localhost:{server.port}/ws")
        nursery.cancel_scope.cancel()
    assert lost.reason == ("closed" if trusted else "unreachable")
    assert ("1000 enough" if trusted else "certificate verify failed") in str(lost)


async def test_a_real_server_is_talked_to():
    """trio-websocket's own server on a real socket: subscribe, acknowledge, push, close."""
    seen = []

    async def serve(request):
        connection = await request.accept()
        seen.append(await connection.get_message())
        await connection.send_message('{"arg":{"channel":"candle1m","instId":"A-B"},"data":[]}')
        await connection.aclose(1000, "enough")

    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, serve, "127.0.0.1", 0, None)
        watcher = Watcher("A-B")
        lost, _ = await watcher.lost(url=f"ws://127.0.0.1:{server.port}/ws")
        nursery.cancel_scope.cancel()
    assert seen == ['{"op":"subscribe","args":[{"channel":"candle1m","instId":"A-B"}]}']
    assert watcher.frames == [Push("A-B", "candle1m", [])]
    assert (lost.reason, str(lost)) == ("closed", "BloFin closed the connection (1000 enough)")
