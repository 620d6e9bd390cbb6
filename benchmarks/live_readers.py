"""Readers of a flooded websocket: `python -m benchmarks.live_readers KIND URL CONNECTIONS`.

Each takes a process, and says in a line of JSON what it counted. KIND is one of

- `raw`: bytes off a socket, to show what the server can send;
- `bare`: trio-websocket as it comes, and msgspec into the type of the agent's rows;
- `tuned`: the same, but with the agent's own larger buffers;
- `ours`: the agent's own Ingest with its intake, Writer, Metrics and Store.
"""

import json
import socket
import sys
import tempfile
import threading
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import trio
from trio_websocket import ConnectionClosed, wrap_client_stream

from benchmarks.canned_feed import PER_CONNECTION, names
from benchmarks.wire import CLOSE, GOODBYE, masked
from blofin_agent.agent import SWITCH_INTERVAL_S
from blofin_agent.config import Settings
from blofin_agent.domain.candle import Timeframe
from blofin_agent.domain.symbol_coverage import SymbolCoverage
from blofin_agent.exchange.rest_client import client
from blofin_agent.exchange.websocket_handshake import BoundedStream, open_websocket
from blofin_agent.live.connection_manager import MAX_SYMBOLS_PER_MESSAGE, ConnectionManager
from blofin_agent.protocol.candle_row import WireRow
from blofin_agent.protocol.websocket import channel, subscribe_messages
from blofin_agent.runtime.gc_tuning import freeze_garbage_collector
from blofin_agent.store.database import open_store
from blofin_agent.wiring import Services, build_services

Counted = dict[str, float]
_LOOK_S = 0.1


def _groups(connections: int) -> list[list[str]]:
    every = names(connections * PER_CONNECTION)
    return [every[at : at + PER_CONNECTION] for at in range(0, len(every), PER_CONNECTION)]


def _subscribing(symbols: list[str]) -> list[str]:
    return subscribe_messages(symbols, channel(Timeframe.M1), per_message=MAX_SYMBOLS_PER_MESSAGE)


# -- raw ------------------------------------------------------------------------------------------


def raw(url: str, connections: int) -> Counted:
    """Take bytes, and look at nothing but the last of them."""
    sizes: list[int] = []
    threads = [
        threading.Thread(target=lambda one=symbols: sizes.append(_take_bytes(url, one)))
        for symbols in _groups(connections)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"bytes": sum(sizes)}


def _take_bytes(url: str, symbols: list[str]) -> int:
    parts = urlsplit(url)
    key = b"Upgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    with socket.create_connection((parts.hostname, parts.port)) as wire:
        wire.sendall(b"GET %b HTTP/1.1\r\n%b" % (parts.path.encode(), key))
        for text in _subscribing(symbols):
            wire.sendall(masked(text))
        size = 0
        while (part := wire.recv(1 << 18)) and not part.endswith(CLOSE):
            size += len(part)
        wire.sendall(GOODBYE)
    return size + len(part)


# -- the floor ------------------------------------------------------------------------------------


class _Arg(msgspec.Struct, rename="camel", gc=False):
    channel: str
    inst_id: str


class _Push(msgspec.Struct, gc=False):
    arg: _Arg
    data: list[WireRow]


async def floor(kind: str, url: str, connections: int) -> Counted:
    """Receive and decode, and do nothing else."""
    counted: list[int] = []
    freeze_garbage_collector()
    async with trio.open_nursery() as nursery:
        for symbols in _groups(connections):
            nursery.start_soon(_decode, kind, url, symbols, counted)
    return {"messages": sum(counted)}


async def _decode(kind: str, url: str, symbols: list[str], counted: list[int]) -> None:
    parts = urlsplit(url)
    decode = msgspec.json.Decoder(_Push, strict=False).decode
    stream = await trio.open_tcp_stream(parts.hostname or "", parts.port or 80)
    count = 0
    async with trio.open_nursery() as nursery:
        if kind == "bare":
            connection = await wrap_client_stream(nursery, stream, parts.netloc, parts.path)
        else:
            connection = await open_websocket(
                nursery, BoundedStream(stream), parts.netloc, parts.path
            )
        for text in _subscribing(symbols):
            await connection.send_message(text)
        try:
            for _ in symbols:
                await connection.get_message()  # its acknowledgement
            while True:
                decode(await connection.get_message())
                count += 1
        except ConnectionClosed:
            counted.append(count)


# -- ours -----------------------------------------------------------------------------------------


async def ours(url: str, connections: int) -> Counted:
    """Let the parts of the agent take it in."""
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{Path(folder) / 'live.db'}")
        async with client(url.replace("ws:", "http:"), "benchmark") as http:
            parts = build_services(Settings(_env_file=None), store, http, tries=1, what_next="")
            for symbol in names(connections * PER_CONNECTION):
                parts.tracker.histories[symbol] = SymbolCoverage(symbol, Timeframe.M1)
                parts.metrics.add_symbol(symbol)
            await _ingest(url, parts, connections)
        store.close()
    return {
        "messages": parts.metrics.messages["candle"],
        "stored": _sum(parts, "blofin_candles_written_total"),
        "dropped": _sum(parts, "blofin_writer_dropped_total"),
    }


async def _ingest(url: str, parts: Services, connections: int) -> None:
    ingest = ConnectionManager(
        url, parts.tracker, parts.writer, parts.metrics, parts.rate_limiter, parts.trouble
    )
    ingest.add(parts.tracker.histories)
    # As the agent does both once all is loaded.
    freeze_garbage_collector()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ingest.run)
        nursery.start_soon(parts.writer.run)
        while sum(bool(one.lost) for one in ingest.links.all()) < connections:  # noqa: ASYNC110
            await trio.sleep(_LOOK_S)
        await parts.writer.until_idle()
        nursery.cancel_scope.cancel()


def _sum(parts: Services, name: str) -> float:
    families = parts.metrics.registry.collect()
    return sum(one.value for family in families for one in family.samples if one.name == name)


def main(kind: str, url: str, connections: int) -> None:
    """Read once, and tell."""
    if kind == "raw":
        found = raw(url, connections)
    else:
        found = trio.run(ours if kind == "ours" else partial(floor, kind), url, connections)
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
