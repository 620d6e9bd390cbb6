"""Laws of a websocket peer that means ill: the session is lost, and nothing else is."""

import base64
import hashlib
import struct
import tracemalloc

import pytest
import trio

from blofin_agent.exchange.websocket_session import FeedDisconnected, SessionTiming, session
from blofin_agent.protocol.subscriptions import Subscriptions

QUICK = SessionTiming(
    connect_s=1.0, ping_every_s=0.5, pong_within_s=0.5, send_s=0.5, tick_s=0.1, leave_s=0.2
)
MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accepted(request, *lines):
    (key,) = [
        line.partition(b":")[2].strip()
        for line in request.split(b"\r\n")
        if line.lower().startswith(b"sec-websocket-key")
    ]
    proof = base64.b64encode(hashlib.sha1(key + MAGIC, usedforsecurity=False).digest())
    named = [b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Accept: " + proof]
    return b"\r\n".join([b"HTTP/1.1 101 X", *named, *lines, b"", b""])


def frame(kind, payload=b"", *, last=True, reserved=0, length=None):
    size = len(payload) if length is None else length
    first = bytes([last << 7 | reserved << 4 | kind])
    if size < 126:
        return first + bytes([size]) + payload
    if size < 1 << 16:
        return first + b"\x7e" + struct.pack(">H", size) + payload
    return first + b"\x7f" + struct.pack(">Q", size) + payload


async def lost(answer, again=None, *, opened=False, seconds=2, then=None):
    """Run a session with a peer that says `answer`; return why it was lost.

    Then it says `again` for so many seconds at most, `opened`: once the agent has said something,
    as it does when the session is open. It does what `then` does with the stream, and closes.
    """
    frames = []

    async def peer(stream):
        request = b""
        try:
            while b"\r\n\r\n" not in request:
                request += await stream.receive_some(4_096)
            await stream.send_all(answer(request) if callable(answer) else answer)
            if opened:
                await stream.receive_some(4_096)
            with trio.move_on_after(seconds):
                while again is not None:
                    await stream.send_all(again)
            if then:
                await then(stream)
            await stream.aclose()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    url = f"ws://127.0.0.1:{listener.socket.getsockname()[1]}/ws/public"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, peer, [listener])
        with trio.fail_after(20), pytest.raises(FeedDisconnected) as caught:
            await session(
                url,
                "candle1m",
                Subscriptions(["BTC-USDT"]),
                opened=lambda: None,
                handle=lambda frame, _now: frames.append(frame),
                per_message=8,
                timing=QUICK,
            )
        nursery.cancel_scope.cancel()
    text = str(caught.value)
    assert text.isprintable()
    assert len(text) < 1_000
    return caught.value, frames


@pytest.mark.parametrize(
    "answer",
    [
        b"\xff\x00\x01 nonsense\r\n\r\n",
        b"HTTP/1.1 999 \xff\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 302 X\r\nLocation: ws://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        lambda request: accepted(request).replace(b"Accept: ", b"Accept: \xff"),
        lambda request: accepted(request).replace(b"websocket", b"\xff"),
        lambda request: accepted(request).replace(b": Upgrade", b": \xff,\xfe"),
        lambda request: accepted(request, b"Sec-WebSocket-Extensions: \xff\xfe"),
        lambda request: accepted(request, b"Sec-WebSocket-Extensions: permessage-deflate"),
        lambda request: accepted(request, b"Sec-WebSocket-Protocol: \xff"),
        lambda request: accepted(request, b"Sec-WebSocket-Protocol: mine"),
    ],
)
async def test_an_answer_that_is_no_handshake_ends_the_session_alone(answer):
    """Such as from a proxy's login page. The agent connects anew, and lives on."""
    found, frames = await lost(answer)
    assert found.reason in ("closed", "rejected", "timeout")
    assert frames == []


@pytest.mark.parametrize(
    ("begin", "again"),
    [
        (b"HTTP/1.1 101 X\r\n", b"X-A: " + b"a" * 65_536 + b"\r\n"),
        (b"HTTP/1.1 101 X\r\n", b"X-A: b\r\n" * 8_000),
        (b"HTTP/1.1 404 X\r\n\r\n", b"x" * 65_536),
        (b"HTTP/1.1 404 X\r\nTransfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b"x" * 4_098),
        (b"", b"HTTP/1.1 103 X\r\nLink: x\r\n\r\n" * 1_000),
    ],
    ids=["a header", "headers", "a body", "chunks", "interim answers"],
)
async def test_a_handshake_without_end_fills_no_memory(begin, again):
    """It is broken off after some kilobytes."""
    tracemalloc.start()
    try:
        found, _ = await lost(begin, again)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
    assert found.reason in ("closed", "rejected", "timeout")


@pytest.mark.parametrize(
    "wrong",
    [
        frame(8, struct.pack(">H", 1001) + b"a\nb\x1b[31m\x00"),
        frame(8, b"\x03"),
        frame(8, struct.pack(">H", 5) + b"x"),
        frame(8, struct.pack(">H", 1000) + b"\xff"),
        frame(8, b"x" * 200),
        frame(1, b"\xff\xfe"),
        frame(1, b"x", reserved=4),
        frame(3, b"x"),
        frame(0, b"x"),
        frame(1, b"a", last=False) + frame(1, b"b"),
        frame(1, length=1 << 63),
        frame(9, b"x" * 126),
        frame(9, b"x", last=False),
        b"\x81\x81\x00\x00\x00\x00x",
    ],
)
async def test_a_frame_that_cannot_be_ends_the_session_in_words(wrong):
    """Reserved bits, masks, halves, wrong text and wrong reasons of a close."""
    found, frames = await lost(lambda request: accepted(request) + wrong)
    assert (found.reason, frames) == ("closed", [])
    assert "\\n" in str(found) or b"\n" not in wrong


async def test_binary_and_fragmented_messages_are_frames_too():
    """What they say is judged as any other."""
    parts = frame(1, b'{"event":"sub', last=False) + frame(9) + frame(0, b'scribe"}')
    _, frames = await lost(lambda request: accepted(request) + frame(2, b"\x00\xff") + parts)
    assert len(frames) == 2


@pytest.mark.parametrize("_", range(4))
async def test_what_comes_right_behind_the_handshake_is_no_part_of_it(_):
    """However much it is: which of trio's tasks is first is a matter of chance."""
    behind = frame(10, b"x" * 125) * 5_000 + frame(1, b'{"event":"subscribe"}')

    async def listen(stream):
        while await stream.receive_some(4_096):
            pass

    found, frames = await lost(lambda request: accepted(request) + behind, then=listen)
    assert (found.reason, len(frames)) == ("silent", 1)


async def test_a_ping_while_the_session_is_left_changes_nothing():
    """Once the agent has said that it leaves, trio-websocket cannot answer any more."""

    async def pings(stream):
        while chunk := await stream.receive_some(4_096):
            if chunk[0] == 0x88:  # a frame that closes
                await stream.send_all(frame(9))

    found, _ = await lost(accepted, then=pings)
    assert str(found) == "nothing came for 1 s, not even a pong"


@pytest.mark.parametrize(
    ("begin", "again", "reason"),
    [
        (frame(1, length=1 << 40), b"x" * 65_536, "closed"),
        (frame(1, b"a", last=False), frame(0, b"x" * 1_000, last=False) * 50, "closed"),
        (b"", frame(1, b"x" * 1_000_000), "closed"),
        (b"", frame(9, b"x" * 125) * 500, "silent"),
        (b"", frame(10, b"x" * 125) * 500, "silent"),
        (frame(1, b"a", last=False), frame(0, last=False) * 5_000, "silent"),
    ],
    ids=["a frame", "fragments", "messages", "pings", "pongs", "empty fragments"],
)
async def test_a_flood_fills_no_memory_and_is_noticed(begin, again, reason):
    """A message has a longest size; pings alone are no life."""
    tracemalloc.start()
    try:
        found, _ = await lost(
            lambda request: accepted(request) + begin,
            again,
            opened=True,
            seconds=2 if reason == "closed" else 60,
        )
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()
    assert found.reason == reason
