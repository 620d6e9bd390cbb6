"""Cable: a way to a server that can be pulled out, or go dead without anybody being told."""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import trio

CLOSED = (trio.BrokenResourceError, trio.ClosedResourceError)


@dataclass
class Cable:
    """Listens on a free port of 127.0.0.1 from `open` to `close`, and passes bytes on.

    `target`: the server's port.
    """

    target: int
    name: str = ""
    """Whose it is, where that matters."""
    port: int = 0
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

    def open(self):
        ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._serve, ready), daemon=True)
        self._thread.start()
        assert ready.wait(10)
        return self

    def close(self):
        self._token.run_sync_soon(self._scope.cancel)
        self._thread.join(10)

    def _do(self, change):
        done = threading.Event()
        self._token.run_sync_soon(lambda: (change(), done.set()))
        assert done.wait(10)

    def _pull(self):
        self._pulled = True
        for scope in self._ends:
            scope.cancel()

    def _mend(self):
        self._pulled = False
        self._passing.set()

    async def _serve(self, ready):
        self._token = trio.lowlevel.current_trio_token()
        self._passing = trio.Event()
        self._passing.set()
        with trio.CancelScope() as self._scope:
            async with trio.open_nursery() as nursery:
                listeners = await nursery.start(
                    partial(trio.serve_tcp, host="127.0.0.1"), self._client, 0
                )
                self.port = listeners[0].socket.getsockname()[1]
                ready.set()

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
