"""Cable: a way to a server that can be pulled out, or go dead without anybody being told."""

import time
from contextlib import suppress
from dataclasses import dataclass, field

import trio

from tests.between import CLOSED, Between


@dataclass
class Cable(Between):
    """Passes bytes on. `target`: the server's port."""

    target: int
    name: str = ""
    """Whose it is, where that matters."""
    heard: list[tuple[float, str]] = field(default_factory=list)
    """What was asked for over HTTP, and when, by `time.monotonic`."""
    _ends: set[trio.CancelScope] = field(default_factory=set)
    _pulled: bool = False

    # -- what tests do -----------------------------------------------------------------------------

    def mute(self):
        """Pass nothing on, either way, and close nothing: as a network that lost the way."""
        self._do(lambda: setattr(self, "_passing", trio.Event()))

    def pull(self):
        """Cut all connections, and let nobody connect."""
        self._do(self._pull)

    def mend(self):
        """Pass bytes on again, those too that were held back."""
        self._do(self._mend)

    # -- the cable ---------------------------------------------------------------------------------

    def _pull(self):
        self._pulled = True
        for scope in self._ends:
            scope.cancel()

    def _mend(self):
        self._pulled = False
        self._passing.set()

    async def _serve(self, ready):
        self._passing = trio.Event()
        self._passing.set()
        await super()._serve(ready)

    async def _client(self, stream):
        if self._pulled:
            return
        with trio.CancelScope() as scope:
            self._ends.add(scope)
            try:
                await self._pass_on(stream)
            finally:
                self._ends.discard(scope)

    async def _pass_on(self, stream):
        try:
            async with (
                await trio.open_tcp_stream("127.0.0.1", self.target) as target,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(self._pipe, target, stream, nursery)
                nursery.start_soon(self._pipe, stream, target, nursery)
        except* (*CLOSED, OSError):
            pass  # one of the two ends is gone

    async def _pipe(self, source, sink, nursery):
        with suppress(*CLOSED):
            async for chunk in source:
                await self._passing.wait()
                if chunk.startswith(b"GET "):
                    self.heard.append((time.monotonic(), chunk.split()[1].decode()))
                await sink.send_all(chunk)
        await self._passing.wait()
        nursery.cancel_scope.cancel()
