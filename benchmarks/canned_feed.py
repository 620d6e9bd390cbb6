"""A canned exchange: pages and pushes of a market that never moves, at next to no cost.

It takes a process of its own, `python -m benchmarks.canned_feed SYMBOLS`, which says in a line of
JSON where it listens, and tells a line for each thing that it did.

- Over HTTP: BloFin's instruments and its pages of candles, whole but for a hole now and then.
- `/ws/public`: each second a push of each symbol subscribed to and, as BloFin does it, the
  completing pushes of all symbols at the same moment, when their minute ends.
- `/flood/RUN/CONNECTIONS/MINUTES`: so many minutes of such pushes as fast as they are taken. They
  are rendered beforehand and begin on all connections of a run at once, when each has subscribed
  to `MAX_SYMBOLS_PER_CONNECTION` symbols; a close frame stands behind the last.
"""

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from benchmarks.wire import CLOSE, accepted, frame, heard, request_head, response

PER_CONNECTION = 100
MINUTE = 60_000
_PRICES = '"100.5","101.25","99.75","100.75","1234","1.234","124191.9"'
HOLE_EVERY = 1_999
"""One minute in so many never was, another one for each symbol."""


def names(symbols: int) -> list[str]:
    """Return the market's symbols."""
    return [f"S{number:03}-USDT" for number in range(symbols)]


def push(symbol: str, minute: int, confirm: int) -> bytes:
    """Return a push of one candle. `minute`: its open time (ms); `confirm`: 1 completes it."""
    row = f'["{minute}",{_PRICES},"{confirm}"]'
    return frame(f'{{"arg":{{"channel":"candle1m","instId":"{symbol}"}},"data":[{row}]}}')


@dataclass(eq=False)
class Line:
    """A websocket connection. `read`: gives so many bytes of what its other side says."""

    wire: socket.socket
    read: Callable[[int], bytes]
    symbols: list[str] = field(default_factory=list)
    _sending: threading.Lock = field(default_factory=threading.Lock)

    def say(self, data: bytes) -> None:
        """Send all of it. Raises OSError."""
        with self._sending:
            self.wire.sendall(data)

    def obey(self) -> Iterator[int]:
        """Answer what is said until it is a goodbye; yield how many symbols are subscribed."""
        while (text := heard(self.read)) is not None:
            if text == b"ping":
                self.say(frame("pong"))
                continue
            wanted = json.loads(text)
            for arg in wanted["args"]:
                if wanted["op"] == "subscribe":
                    self.symbols.append(arg["instId"])
                else:
                    self.symbols.remove(arg["instId"])
                self.say(frame(json.dumps({"event": wanted["op"], "arg": arg})))
            yield len(self.symbols)


class Exchange:
    """Everything but the socket that listens: `serve` takes one connection, in its thread."""

    def __init__(self, symbols: Sequence[str]) -> None:
        self._numbers = {symbol: number for number, symbol in enumerate(symbols)}
        listed = [{"instId": symbol, "listTime": "1600000000000"} for symbol in symbols]
        self._instruments = _envelope(json.dumps(listed))
        self._lines: list[Line] = []
        self._gates: dict[str, threading.Barrier] = {}

    def serve(self, wire: socket.socket) -> None:
        """Serve one connection to its end."""
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with wire, wire.makefile("rb") as stream, suppress(OSError):
            while head := request_head(stream.readline):
                url = urlsplit(head.split()[1].decode())
                if answer := accepted(head):
                    wire.sendall(answer)
                    line = Line(wire, stream.read)
                    if url.path.startswith("/flood/"):
                        self._flood(line, *url.path.split("/")[2:])
                    else:
                        self._push_to(line)
                    return
                wire.sendall(response(self._answer(url.path, parse_qs(url.query))))

    def _answer(self, path: str, asked: dict[str, list[str]]) -> bytes:
        if path.endswith("/instruments"):
            return self._instruments
        limit, after = int(asked["limit"][0]), int(asked["after"][0])
        hole = self._numbers[asked["instId"][0]]
        now = _now() // MINUTE
        rows: list[str] = []
        minute = min(-(-after // MINUTE) - 1, now)
        while len(rows) < limit:
            if minute % HOLE_EVERY != hole:
                rows.append(f'["{minute * MINUTE}",{_PRICES},"{int(minute < now)}"]')
            minute -= 1
        return _envelope(f"[{','.join(rows)}]")

    def _push_to(self, line: Line) -> None:
        self._lines.append(line)
        try:
            for _ in line.obey():
                pass
            line.say(CLOSE)
        finally:
            self._lines.remove(line)

    def push_for_ever(self) -> None:
        """Push at each whole second, what was rendered before."""
        second = _now() // 1000 + 1
        while True:
            minute, first = second // 60 * MINUTE, second % 60 == 0
            batches = [(line, _second(line.symbols, minute, first)) for line in self._lines]
            time.sleep(max(0.0, second - time.time()))
            begun = time.time()
            for line, texts in batches:
                with suppress(OSError):
                    line.say(texts)
            if first and batches:
                _tell(minute=minute - MINUTE, begun=begun, ended=time.time())
            second += 1

    def _flood(self, line: Line, run: str, connections: str, minutes: str) -> None:
        for number in line.obey():
            if number == PER_CONNECTION:
                break
        end = _now() // MINUTE * MINUTE
        # The oldest minute first: 59 pushes of an open candle, and one that completes it.
        parts = [
            b"".join(
                push(symbol, end - age * MINUTE, int(second == 60))
                for second in range(1, 61)
                for symbol in line.symbols
            )
            for age in range(int(minutes), 0, -1)
        ]
        self._gates.setdefault(run, threading.Barrier(int(connections))).wait(60)
        begun = time.perf_counter()
        for part in parts:
            line.say(part)
        line.say(CLOSE)
        for _ in line.obey():
            pass
        _tell(messages=60 * int(minutes) * PER_CONNECTION, begun=begun, ended=time.perf_counter())


def _second(symbols: Sequence[str], minute: int, first: bool) -> bytes:
    """Return the pushes of one second. `first`: with those that complete the minute before."""
    complete = [push(symbol, minute - MINUTE, 1) for symbol in symbols if first]
    return b"".join([*complete, *(push(symbol, minute, 0) for symbol in symbols)])


def _envelope(data: str) -> bytes:
    return f'{{"code":"0","msg":"success","data":{data}}}'.encode()


def _now() -> int:
    return time.time_ns() // 1_000_000


def _tell(**what: float) -> None:
    # In one piece: threads tell at the same time.
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main(symbols: int) -> None:
    """Serve until the process is ended."""
    exchange = Exchange(names(symbols))
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        where = f"127.0.0.1:{listener.getsockname()[1]}"
        print(json.dumps({"rest": f"http://{where}", "ws": f"ws://{where}"}), flush=True)
        threading.Thread(target=exchange.push_for_ever, daemon=True).start()
        while True:
            wire, _ = listener.accept()
            threading.Thread(target=exchange.serve, args=(wire,), daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]))
