"""Gate: a way to the simulator that counts by itself, suspends and bans: an exchange in a bad mood.

It passes bytes on and counts each request as it arrives; what it refuses never gets through. All
come from one address, whoever they are.
"""

import json
import math
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import trio

from tests.between import CLOSED, Between

BOT = "a-bot-of-somebody-else"


@dataclass
class Arrival:
    """A request, or a websocket's handshake. Times by `time.monotonic`."""

    at: float
    websocket: bool
    bot: bool
    status: int
    """What the gate answered; 0 when it passed the request on."""


@dataclass
class Gate(Between):
    """`target`: the simulator's URL."""

    target: str
    rules: tuple[tuple[int, float, float], ...] = ((500, 60, 300), (1_500, 300, 3_600))
    """At most so many requests in so many seconds, or a suspension of so many."""
    said: float | None = None
    """What Retry-After says at most, in seconds, whatever is true."""
    slow: float = 0.0
    """Requests that are not the bot's are passed on so many seconds late."""
    arrivals: list[Arrival] = field(default_factory=list)
    suspended: float = 0.0
    """When the suspension ends."""
    banned: float = 0.0
    """When the firewall's ban ends."""
    no_websockets: bool = False
    """Refused with 403, while requests are passed on."""
    _counted: list[float] = field(default_factory=list)

    @property
    def rest_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws/public"

    # -- what tests ask and do ---------------------------------------------------------------------

    def rest(self, since=0.0, until=math.inf, *, bot=False):
        """Return the requests of the agents, or of the bot, that arrived in a stretch of time."""
        return [
            one
            for one in list(self.arrivals)
            if not one.websocket and one.bot == bot and since <= one.at < until
        ]

    def handshakes(self):
        return [one for one in list(self.arrivals) if one.websocket]

    def most(self, seconds):
        """Return the most requests that any window of so many seconds held."""
        times = [one.at for one in self.rest()]
        return max(sum(at - seconds < other <= at for other in times) for at in times)

    def use_up(self):
        """Be the bot: ask until the address is suspended."""
        question = urllib.request.Request(
            self.rest_url + "/api/v1/market/instruments?instId=BTC-USDT",
            headers={"User-Agent": BOT},
        )
        while time.monotonic() >= self.suspended:
            with suppress(urllib.error.HTTPError), urllib.request.urlopen(question, timeout=10):
                pass

    # -- the gate ----------------------------------------------------------------------------------

    async def _client(self, stream):
        url = urlsplit(self.target)
        try:
            async with (
                await trio.open_tcp_stream(url.hostname, url.port) as target,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(_pipe, target, stream)
                await self._requests(stream, target)
                nursery.cancel_scope.cancel()
        except* (*CLOSED, OSError):
            pass  # one of the two ends is gone

    async def _requests(self, stream, target):
        waiting = b""
        async for chunk in stream:
            waiting += chunk
            while b"\r\n\r\n" in waiting:
                head, _, waiting = waiting.partition(b"\r\n\r\n")
                websocket = b"upgrade: websocket" in head.lower()
                bot = BOT.encode() in head
                status, seconds = self._judge(websocket, bot)
                if status:
                    await stream.send_all(_refusal(status, seconds))
                    return
                await trio.sleep(0 if websocket or bot else self.slow)
                await target.send_all(head + b"\r\n\r\n")
                if websocket:
                    await _pipe(stream, target)
                    return

    def _judge(self, websocket, bot):
        now = time.monotonic()
        status, left = 0, 0.0
        if now < self.banned or (websocket and self.no_websockets):
            status, left = 403, self.banned - now
        elif not websocket:
            if now >= self.suspended:
                self._counted.append(now)
                for most, seconds, suspension in self.rules:
                    if sum(at > now - seconds for at in self._counted) > most:
                        self.suspended = max(self.suspended, now + suspension)
            if now < self.suspended:
                self._counted.clear()
                status, left = 429, self.suspended - now
        self.arrivals.append(Arrival(now, websocket, bot, status))
        return status, left if self.said is None else min(left, self.said)


async def _pipe(source, sink):
    with suppress(*CLOSED):
        async for chunk in source:
            await sink.send_all(chunk)


def _refusal(status, seconds):
    body = json.dumps({"code": str(status), "msg": "no"}).encode()
    return (
        f"HTTP/1.1 {status} No\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
        f"Retry-After: {max(0, math.floor(seconds))}\r\n\r\n"
    ).encode() + body
