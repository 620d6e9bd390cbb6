"""Canned: a BloFin whose pages are made beforehand, so that nobody waits for it.

A request costs it one slice of bytes and one send. It answers candles of 1m and the list of
instruments, knows `after`, `before` and `limit`, and nothing of limits or faults.

Usage: python -m benchmarks.canned SYMBOLS START END   (ms since the epoch); ends with its input.
"""

import socket
import sys
import threading
from urllib.parse import parse_qsl, urlsplit

import msgspec

from blofin_agent.domain.candle import Timeframe
from blofin_agent.simulator.faults.registry import Faults
from blofin_agent.simulator.market import Market
from blofin_agent.simulator.rest_api import DEFAULT_LIMIT, MAX_LIMIT, RestApi

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_BEGIN, _END = b'{"code":"0","msg":"success","data":[', b"]}"


class Series:
    """The rows of one symbol, the newest first, as one text of JSON."""

    def __init__(self, market: Market, symbol: str, start: int, end: int) -> None:
        times = range(end - Timeframe.M1.ms, start - 1, -Timeframe.M1.ms)
        rows = [msgspec.json.encode(market.row(symbol, Timeframe.M1, time)) for time in times]
        self._newest = end - Timeframe.M1.ms
        self._text = memoryview(b",".join(rows))
        self._offsets = [0]
        for row in rows:
            self._offsets.append(self._offsets[-1] + len(row) + 1)

    def page(self, after: int, before: int, limit: int) -> memoryview:
        """Return the rows older than `after` and newer than `before` (ms), at most `limit`."""
        last = len(self._offsets) - 1
        first = min(last, max(0, (self._newest - after) // Timeframe.M1.ms + 1))
        stop = min(last, first + limit, max(first, -(-(self._newest - before) // Timeframe.M1.ms)))
        return self._text[self._offsets[first] : max(self._offsets[first], self._offsets[stop] - 1)]


class Canned:
    """Serves each connection in a thread of its own."""

    def __init__(self, symbols: int, start: int, end: int) -> None:
        market = Market(symbols=symbols, hole_rate=0)
        self._series = {name: Series(market, name, start, end) for name in market.symbols}
        self._instruments = RestApi(market, Faults(lambda: end, 1)).answer("instruments", {}, end)

    def serve(self, listener: socket.socket) -> None:
        """Accept connections for ever."""
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        left = b""
        with connection:
            while True:
                request, found, left = left.partition(b"\r\n\r\n")
                if found:
                    connection.sendmsg(self._answer(request))
                    continue
                part = connection.recv(65_536)
                if not part:
                    return
                left = request + part

    def _answer(self, request: bytes) -> list[bytes | memoryview]:
        url = urlsplit(request.split(b" ", 2)[1].decode())
        if not url.path.endswith("/candles"):
            return [_HEAD % len(self._instruments), self._instruments]
        query = dict(parse_qsl(url.query))
        limit = min(int(query.get("limit", DEFAULT_LIMIT)), MAX_LIMIT)
        after, before = int(query.get("after", 1 << 60)), int(query.get("before", 0))
        page = self._series[query["instId"]].page(after, before, limit)
        length = len(_BEGIN) + len(page) + len(_END)
        return [_HEAD % length, _BEGIN, page, _END]


def main() -> None:
    """Serve until the standard input ends; the first line out is the URL."""
    symbols, start, end = map(int, sys.argv[1:])
    canned = Canned(symbols, start, end)
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=canned.serve, args=(listener,), daemon=True).start()
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
