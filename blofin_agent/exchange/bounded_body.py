"""Body: the body of an answer, decompressed here, so that its size is bounded as it grows.

httpx would decompress each part that arrives as a whole, layer by layer: a thousandfold each.
"""

import zlib
from collections.abc import Callable

import httpx

from blofin_agent.domain.errors import InvalidResponse
from blofin_agent.domain.sanitize import shorten

ACCEPT_ENCODING = "gzip"
"""What is asked for; nothing else is read."""
_PLAIN = ("", "identity")
_GZIP = 16 + zlib.MAX_WBITS


async def read_body(response: httpx.Response, most: int) -> bytes:
    """Return the body of a response that is being streamed.

    Raises Invalid when it has more than `most` bytes, decompressed, or cannot be decompressed.
    """
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in (*_PLAIN, ACCEPT_ENCODING):
        raise InvalidResponse(
            f"BloFin's answer is encoded as {shorten(encoding, 40)!r}, not {ACCEPT_ENCODING}"
        )
    unzip = None if encoding in _PLAIN else zlib.decompressobj(_GZIP)
    body, came = bytearray(), 0
    async for part in response.aiter_raw():
        came += len(part)
        room = most + 1 - len(body)
        body += part if unzip is None else _unzip(unzip.decompress, part, room)
        if max(came, len(body)) > most:
            raise InvalidResponse(f"BloFin's answer is longer than {most} bytes")
    if unzip is not None and came and not unzip.eof:
        raise InvalidResponse("BloFin's answer cannot be read: its end is missing")
    return bytes(body)


def _unzip(decompress: Callable[[bytes, int], bytes], part: bytes, room: int) -> bytes:
    """Return at most `room` bytes of a part: more of it is not even made."""
    try:
        return decompress(part, room)
    except zlib.error as error:
        raise InvalidResponse(f"BloFin's answer cannot be read: {error}") from None
