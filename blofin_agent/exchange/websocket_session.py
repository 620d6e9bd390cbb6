"""Feed: one websocket session with BloFin over trio-websocket.

It connects, keeps the heartbeat, sends what the subscriptions call for, and hands each frame, with
the time when it came, to a function that must not wait: while a message is unread, trio-websocket
answers no pings.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar
from urllib.parse import urlsplit

import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    HandshakeError,
    WebSocketConnection,
)

from blofin_agent.domain.sanitize import shorten
from blofin_agent.exchange.websocket_handshake import BoundedStream, open_websocket
from blofin_agent.protocol.subscriptions import DueMessages, Subscriptions
from blofin_agent.protocol.websocket import PING, Frame, decode_frame, subscribe_messages

Loss = Literal["closed", "rejected", "unreachable", "timeout", "silent", "stale"]

E = TypeVar("E", bound=BaseException)
_Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]
_BROKEN = (ConnectionClosed, OSError, trio.BrokenResourceError, trio.ClosedResourceError)


@dataclass(frozen=True, slots=True)
class SessionTiming:
    """How patient a session is, in seconds."""

    connect_s: float = 10.0
    ping_every_s: float = 15.0
    """The text ping is sent so often. BloFin drops a connection on which nothing goes for 30 s;
    whether what it sends itself counts, its documentation does not say."""
    pong_within_s: float = 10.0
    """With nothing received for so long after a ping was due, the connection is dead."""
    send_s: float = 10.0
    tick_s: float = 1.0
    leave_s: float = 2.0


class FeedDisconnected(Exception):
    """The session is over. `reason` is the metric's label; `status` an HTTP status if refused."""

    def __init__(self, reason: Loss, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.reason = reason
        self.status = status


async def session(
    url: str,
    channel: str,
    subscriptions: Subscriptions,
    *,
    opened: Callable[[], None],
    handle: Callable[[Frame, float], None],
    per_message: int,
    timing: SessionTiming,
) -> None:
    """Run one session until it is lost; always ends by raising FeedLost, or by cancellation."""
    lost, left = FeedDisconnected("closed", "the connection ended"), None
    stream = BoundedStream(await _connect(url, timing))
    # Ours to close: trio-websocket leaves the socket of a refused handshake open.
    try:
        async with trio.open_nursery() as nursery:
            with trio.fail_after(timing.connect_s):
                connection = await open_websocket(nursery, stream, _host(url), _resource(url))
            subscriptions.opened(trio.current_time())
            opened()
            left = await _talk(connection, channel, subscriptions, handle, per_message, timing)
            with trio.move_on_after(timing.leave_s):
                await connection.aclose()
            nursery.cancel_scope.cancel()
    except* ConnectionRejected as group:
        status = _first(group).status_code
        lost = FeedDisconnected(
            "rejected", f"BloFin refused the connection (HTTP {status})", status
        )
    except* trio.TooSlowError:
        lost = FeedDisconnected("timeout", f"no websocket handshake within {timing.connect_s:g} s")
    except* (HandshakeError, *_BROKEN) as group:
        lost = FeedDisconnected("closed", f"the connection broke: {_told(_first(group))}")
    except* Exception:
        # The library alone was at work. Before the session an answer that is no HTTP makes it fail,
        # and while it leaves a ping, which it may not answer any more.
        if stream.trusted and left is None:
            raise
        lost = FeedDisconnected("closed", "what BloFin answers is no websocket handshake")
    finally:
        await trio.aclose_forcefully(stream)
    raise left or lost


async def _connect(url: str, timing: SessionTiming) -> _Stream:
    """Open the TCP or TLS connection. Raises FeedLost."""
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "wss"
    port = parts.port or (443 if secure else 80)
    try:
        with trio.fail_after(timing.connect_s):
            if not secure:
                return await trio.open_tcp_stream(host, port)
            context = ssl.create_default_context()
            stream = await trio.open_ssl_over_tcp_stream(
                host, port, ssl_context=context, https_compatible=True
            )
            try:
                await stream.do_handshake()
            except BaseException:
                await trio.aclose_forcefully(stream)
                raise
            return stream
    except trio.TooSlowError:
        raise FeedDisconnected(
            "timeout", f"cannot reach BloFin at {host} within {timing.connect_s:g} s"
        ) from None
    except (OSError, UnicodeError, trio.BrokenResourceError) as error:
        raise FeedDisconnected(
            "unreachable", f"cannot reach BloFin at {host}: {_told(error.__cause__ or error)}"
        ) from None


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _resource(url: str) -> str:
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _first(group: BaseExceptionGroup[E]) -> E:
    """Return the first error of a group, however deep."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


@dataclass(slots=True)
class _LastMessage:
    """When the last message came, by trio's clock, in seconds."""

    at: float


async def _talk(
    connection: WebSocketConnection,
    channel: str,
    subscriptions: Subscriptions,
    handle: Callable[[Frame, float], None],
    per_message: int,
    timing: SessionTiming,
) -> FeedDisconnected:
    """Read and keep the subscriptions until the session is lost; return why.

    No error crosses the nursery: each task says why it ends, and the first one counts.
    """
    reasons: list[FeedDisconnected] = []
    heard = _LastMessage(trio.current_time())

    async with trio.open_nursery() as nursery:

        async def read() -> None:
            reasons.append(await _read(connection, handle, heard))
            nursery.cancel_scope.cancel()

        async def keep() -> None:
            reasons.append(
                await _keep(connection, channel, subscriptions, per_message, timing, heard)
            )
            nursery.cancel_scope.cancel()

        nursery.start_soon(read)
        nursery.start_soon(keep)
    return reasons[0]


async def _read(
    connection: WebSocketConnection, handle: Callable[[Frame, float], None], heard: _LastMessage
) -> FeedDisconnected:
    # Without a deadline of its own, which would cost as much as all the rest: `_keep` has it.
    while True:
        try:
            message = await connection.get_message()
        except _BROKEN as error:
            return FeedDisconnected("closed", f"BloFin closed the connection ({_told(error)})")
        now = heard.at = trio.current_time()
        handle(decode_frame(message), now)


async def _keep(
    connection: WebSocketConnection,
    channel: str,
    subscriptions: Subscriptions,
    per_message: int,
    timing: SessionTiming,
    heard: _LastMessage,
) -> FeedDisconnected:
    patience_s = timing.ping_every_s + timing.pong_within_s
    pinged = trio.current_time()
    while True:
        now = trio.current_time()
        if now - heard.at >= patience_s:
            return FeedDisconnected("silent", f"nothing came for {patience_s:g} s, not even a pong")
        due = subscriptions.due(now)
        if due.lost:
            return FeedDisconnected("stale", due.lost)
        messages = _messages(due, channel, per_message)
        if now - pinged >= timing.ping_every_s:
            messages.append(PING)
            pinged = now
        try:
            for message in messages:
                with trio.fail_after(timing.send_s):
                    await connection.send_message(message)
        except _BROKEN as error:
            return FeedDisconnected("closed", f"BloFin closed the connection ({_told(error)})")
        except trio.TooSlowError:
            return FeedDisconnected("silent", "a message could not be sent")
        await trio.sleep(timing.tick_s)


def _messages(due: DueMessages, channel: str, per_message: int) -> list[str]:
    return [
        *subscribe_messages(due.leave, channel, per_message=per_message, op="unsubscribe"),
        *subscribe_messages(due.subscribe, channel, per_message=per_message),
        *subscribe_messages(due.renew, channel, per_message=per_message, op="unsubscribe"),
        *subscribe_messages(due.renew, channel, per_message=per_message),
        *subscribe_messages(due.alone, channel, per_message=1),
    ]


def _told(error: BaseException) -> str:
    if isinstance(error, ConnectionClosed):
        reason = error.reason
        if reason is None:
            return "without a word"
        return f"{reason.code} {shorten(reason.reason or reason.name)}"
    return shorten(str(error)) or type(error).__name__
