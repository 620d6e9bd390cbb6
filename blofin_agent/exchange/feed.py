"""Feed: one websocket session with BloFin over trio-websocket.

It connects, keeps the heartbeat, sends what the subscriptions call for, and hands each frame to
a function that must not wait: while a message is unread, trio-websocket answers no pings.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    ConnectionTimeout,
    HandshakeError,
    WebSocketConnection,
    open_websocket_url,
)

from blofin_agent.core.candle import Bar
from blofin_agent.core.frames import PING, Frame, decode_frame, subscribe_messages
from blofin_agent.core.subscriptions import Due, Subscriptions

Loss = Literal["closed", "rejected", "unreachable", "timeout", "silent", "stale"]

_BROKEN = (ConnectionClosed, OSError, trio.BrokenResourceError, trio.ClosedResourceError)


@dataclass(frozen=True, slots=True)
class Timing:
    """How patient a session is, in seconds."""

    connect_s: float = 10.0
    ping_after_s: float = 15.0
    """So long without a message: send the text ping. BloFin drops a connection at 30 s."""
    pong_within_s: float = 10.0
    send_s: float = 10.0
    tick_s: float = 1.0


class FeedLost(Exception):
    """The session is over. `reason` is the metric's label; `status` an HTTP status if refused."""

    def __init__(self, reason: Loss, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.reason = reason
        self.status = status


async def session(
    url: str,
    bar: Bar,
    subscriptions: Subscriptions,
    *,
    opened: Callable[[], None],
    handle: Callable[[Frame], None],
    per_message: int,
    timing: Timing,
) -> None:
    """Run one session until it is lost; always ends by raising FeedLost, or by cancellation."""
    lost: FeedLost | None = None
    try:
        async with open_websocket_url(
            url, connect_timeout=timing.connect_s, disconnect_timeout=2, message_queue_size=256
        ) as connection:
            subscriptions.opened(trio.current_time())
            opened()
            lost = await _talk(connection, bar, subscriptions, handle, per_message, timing)
    except ConnectionRejected as error:
        raise FeedLost(
            "rejected",
            f"BloFin refused the connection (HTTP {error.status_code})",
            error.status_code,
        ) from None
    except ConnectionTimeout:
        raise FeedLost("timeout", f"no connection within {timing.connect_s:g} s") from None
    except (HandshakeError, ssl.SSLError, *_BROKEN) as error:
        if lost is None:
            cause = error.__cause__ or error
            raise FeedLost("unreachable", f"cannot connect: {_told(cause)}") from None
    raise lost or FeedLost("closed", "the connection ended")


async def _talk(
    connection: WebSocketConnection,
    bar: Bar,
    subscriptions: Subscriptions,
    handle: Callable[[Frame], None],
    per_message: int,
    timing: Timing,
) -> FeedLost:
    """Read and keep the subscriptions until the session is lost; return why.

    No error crosses the nursery: each task says why it ends, and the first one counts.
    """
    reasons: list[FeedLost] = []

    async with trio.open_nursery() as nursery:

        async def read() -> None:
            reasons.append(await _read(connection, handle, timing))
            nursery.cancel_scope.cancel()

        async def keep() -> None:
            reasons.append(await _keep(connection, bar, subscriptions, per_message, timing))
            nursery.cancel_scope.cancel()

        nursery.start_soon(read)
        nursery.start_soon(keep)
    return reasons[0]


async def _read(
    connection: WebSocketConnection, handle: Callable[[Frame], None], timing: Timing
) -> FeedLost:
    pinged = False
    while True:
        message = None
        patience = timing.pong_within_s if pinged else timing.ping_after_s
        try:
            with trio.move_on_after(patience):
                message = await connection.get_message()
            if message is None:
                if pinged:
                    return FeedLost("silent", f"no answer to a ping within {patience:g} s")
                with trio.fail_after(timing.send_s):
                    await connection.send_message(PING)
        except _BROKEN as error:
            return FeedLost("closed", f"BloFin closed the connection ({_told(error)})")
        except trio.TooSlowError:
            return FeedLost("silent", "a ping could not be sent")
        pinged = message is None
        if message is not None:
            handle(decode_frame(message))


async def _keep(
    connection: WebSocketConnection,
    bar: Bar,
    subscriptions: Subscriptions,
    per_message: int,
    timing: Timing,
) -> FeedLost:
    while True:
        due = subscriptions.due(trio.current_time())
        if due.lost:
            return FeedLost("stale", due.lost)
        try:
            for message in _messages(due, bar, per_message):
                with trio.fail_after(timing.send_s):
                    await connection.send_message(message)
        except _BROKEN as error:
            return FeedLost("closed", f"BloFin closed the connection ({_told(error)})")
        except trio.TooSlowError:
            return FeedLost("silent", "a subscription could not be sent")
        await trio.sleep(timing.tick_s)


def _messages(due: Due, bar: Bar, per_message: int) -> list[str]:
    return [
        *subscribe_messages(due.subscribe, bar, per_message=per_message),
        *subscribe_messages(due.renew, bar, per_message=per_message, op="unsubscribe"),
        *subscribe_messages(due.renew, bar, per_message=per_message),
        *subscribe_messages(due.alone, bar, per_message=1),
    ]


def _told(error: BaseException) -> str:
    if isinstance(error, ConnectionClosed):
        reason = error.reason
        if reason is None:
            return "without a word"
        return f"{reason.code} {reason.reason or reason.name}"
    return str(error) or type(error).__name__
