"""Wire: the least of HTTP and websockets (RFC 6455) for a canned server and its readers."""

import base64
import hashlib
import re
from collections.abc import Callable

CLOSE = b"\x88\x02\x03\xe8"
"""A server's close frame: 1000."""
GOODBYE = b"\x88\x82\0\0\0\0\x03\xe8"
"""The same of a client's, behind a mask of zeros."""
_KEY = re.compile(rb"\r\nSec-WebSocket-Key: *([^\r]+)\r\n", re.IGNORECASE)
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CLOSING = 8


def request_head(readline: Callable[[], bytes]) -> bytes:
    """Return the head of the next request, empty at the end. Bodies are not expected."""
    head = b""
    while line := readline():
        head += line
        if line == b"\r\n":
            return head
    return b""


def response(body: bytes) -> bytes:
    """Return a good answer with a body of JSON."""
    size = b"Content-Length: %d\r\n\r\n" % len(body)
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + size + body


def accepted(head: bytes) -> bytes:
    """Return the answer to a request for a websocket, empty when it asks for none."""
    key = _KEY.search(head)
    if key is None:
        return b""
    proof = base64.b64encode(hashlib.sha1(key[1] + _GUID).digest())  # noqa: S324 - the RFC's
    named = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + proof
    return b"HTTP/1.1 101 Switching Protocols\r\n" + named + b"\r\n\r\n"


def frame(text: str) -> bytes:
    """Return a text as one frame of a server's."""
    data = text.encode()
    if len(data) < 126:
        return b"\x81%c%b" % (len(data), data)
    return b"\x81\x7e%b%b" % (len(data).to_bytes(2, "big"), data)


def masked(text: str) -> bytes:
    """Return a text of at least 126 bytes as one frame of a client's, behind a mask of zeros."""
    data = text.encode()
    return b"\x81\xfe%b\0\0\0\0%b" % (len(data).to_bytes(2, "big"), data)


def heard(read: Callable[[int], bytes]) -> bytes | None:
    """Return the text of a client's next frame, None for a close frame.

    `read` gives so many bytes, fewer at the end. Raises ConnectionError there.
    """
    head = read(2)
    if len(head) < 2:
        raise ConnectionError
    size = head[1] & 0x7F
    if size >= 126:
        size = int.from_bytes(read(2 if size == 126 else 8), "big")
    mask, data = read(4), read(size)
    if head[0] & 0x0F == _CLOSING:
        return None
    whole = (mask * (size // 4 + 1))[:size]
    plain = int.from_bytes(data, "big") ^ int.from_bytes(whole, "big")
    return plain.to_bytes(size, "big")
