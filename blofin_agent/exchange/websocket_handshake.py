"""Handshake: opens a websocket on a stream; what may arrive is bounded, then and later."""

import math
from typing import cast

import trio
from trio_websocket import WebSocketConnection, wrap_client_stream

MAX_HANDSHAKE_BYTES = 64 * 1024
"""What may come before the handshake is over; its headers are some hundred bytes."""
MAX_MESSAGE_BYTES = 1024 * 1024
"""A longer message closes the connection. A push has some hundred bytes."""
MAX_QUEUED_MESSAGES = 256
"""Messages that may wait to be taken; they are, at once."""
RECEIVE_BYTES = 64 * 1024
"""What is taken from the socket at once: the pushes of all symbols come in one go."""
_FIRST_BYTES = 4 * 1024
"""Before the handshake is over less is taken at once: twice as much may come right behind it before
`trust` is called, and is no part of it."""


async def open_websocket(
    nursery: trio.Nursery, stream: "BoundedStream", host: str, resource: str
) -> WebSocketConnection:
    """Open a websocket. Raises what trio-websocket does, and whatever its parser trips over."""
    connection = await wrap_client_stream(
        nursery,
        cast("trio.SocketStream", stream),
        host,
        resource,
        message_queue_size=MAX_QUEUED_MESSAGES,
        max_message_size=MAX_MESSAGE_BYTES,
        receive_buffer_size=RECEIVE_BYTES,
    )
    stream.trust()
    return connection


class BoundedStream(trio.abc.Stream):
    """A stream that breaks once more than `most` bytes came in, until `trust` is called.

    What answers a websocket's handshake is kept in memory until its end.
    """

    def __init__(self, stream: trio.abc.Stream, most: int = MAX_HANDSHAKE_BYTES) -> None:
        self._stream = stream
        self._left: float = most

    @property
    def trusted(self) -> bool:
        """Whether any amount may arrive."""
        return self._left == math.inf

    def trust(self) -> None:
        """Let any amount arrive from now on."""
        self._left = math.inf

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive what is there. Raises BrokenResourceError when it was too much."""
        part = await self._stream.receive_some(max_bytes if self.trusted else _FIRST_BYTES)
        self._left -= len(part)
        if self._left < 0:
            raise trio.BrokenResourceError("the other side says too much")
        return part

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of it."""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until something may be sent."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close it."""
        await self._stream.aclose()
