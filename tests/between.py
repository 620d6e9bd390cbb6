"""Between: what stands between two programs of a test, on a port and in a thread of its own."""

import threading
from abc import ABC, abstractmethod
from functools import partial

import trio

CLOSED = (trio.BrokenResourceError, trio.ClosedResourceError)


class Between(ABC):
    """Listens on a free port of 127.0.0.1 from `open` to `close`."""

    port: int = 0

    @abstractmethod
    async def _client(self, stream):
        """Serve one connection."""

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
        """Do something in the thread, and wait until it is done."""
        done = threading.Event()
        self._token.run_sync_soon(lambda: (change(), done.set()))
        assert done.wait(10)

    async def _serve(self, ready):
        self._token = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as self._scope:
            async with trio.open_nursery() as nursery:
                listeners = await nursery.start(
                    partial(trio.serve_tcp, host="127.0.0.1"), self._client, 0
                )
                self.port = listeners[0].socket.getsockname()[1]
                ready.set()
