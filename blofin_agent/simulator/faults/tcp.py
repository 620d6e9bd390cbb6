"""Wires: the TCP connections under the simulator, to be broken as no application can."""

import contextlib
import socket
import struct

import trio

Address = tuple[str, int]

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER without patience: RST in place of FIN
_HALF_A_FRAME = b"\x81\x7e\x10\x00" + b'{"arg":{"channel":"candle1m",'
"""The head of a text frame of 4,096 bytes, and a few of them. Source: RFC 6455, 5.2."""


class TcpFaults:
    """The connections that stand, by the client's address."""

    def __init__(self) -> None:
        self._all: dict[Address, trio.SocketStream] = {}

    def add(self, client: Address, stream: trio.SocketStream) -> None:
        """Enter a connection."""
        self._all[client] = stream

    def remove(self, client: Address) -> None:
        """Forget a connection that is over."""
        self._all.pop(client, None)

    def close(self) -> None:
        """Close all, also those that somebody waits to send on and nobody reads."""
        for stream in self._all.values():
            stream.socket.close()

    async def reset(self, client: Address) -> None:
        """Reset a connection, whatever is under way on it."""
        stream = self._all.get(client)
        if stream is None:
            return
        with contextlib.suppress(OSError):
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        await trio.aclose_forcefully(stream)

    async def cut(self, client: Address) -> None:
        """Send the beginning of a websocket frame, and end the connection there."""
        stream = self._all.get(client)
        if stream is None:
            return
        with contextlib.suppress(trio.BusyResourceError, trio.BrokenResourceError, OSError):
            await stream.send_all(_HALF_A_FRAME)
        await trio.aclose_forcefully(stream)
