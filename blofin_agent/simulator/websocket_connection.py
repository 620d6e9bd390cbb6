"""One websocket connection, from its handshake until it goes away, is dropped or is too slow."""

import trio
from starlette.websockets import WebSocket

from blofin_agent.simulator.broadcaster import Broadcaster, Outbox
from blofin_agent.simulator.faults.registry import Faults
from blofin_agent.simulator.faults.tcp import TcpFaults
from blofin_agent.simulator.faults.websocket import GARBAGE, OVERSIZE, spoil_reply
from blofin_agent.simulator.market import Market
from blofin_agent.simulator.request_stats import RequestStats
from blofin_agent.simulator.websocket_protocol import reply_to

MAX_QUEUED_PUSHES = 20
"""How many batches a client may leave unread: 20 seconds of pushes, as a rule."""

_POLICY_VIOLATION, _GOING_AWAY = 1008, 1001


class SilenceTimeout:
    """Ends its scope after `seconds` without traffic, or without a subscription.

    Source: BloFin's API documentation, "WebSocket": a connection with no subscription or no
    traffic for 30 s is dropped. Pushes are traffic; a `ping` is, but does not make up for a
    missing subscription.
    """

    def __init__(self, seconds: float) -> None:
        self.scope = trio.CancelScope(deadline=trio.current_time() + seconds)
        self._seconds = seconds
        self._subscribed_at: float | None = trio.current_time()

    def traffic(self) -> None:
        """Note that something was sent or came."""
        now = trio.current_time()
        since = now if self._subscribed_at is None else self._subscribed_at
        self.scope.deadline = min(now, since) + self._seconds

    def subscribed(self, *, anything: bool) -> None:
        """Note whether the connection is subscribed to anything now."""
        if anything:
            self._subscribed_at = None
        elif self._subscribed_at is None:
            self._subscribed_at = trio.current_time()
        self.traffic()


async def serve_connection(
    socket: WebSocket,
    market: Market,
    hub: Broadcaster,
    counts: RequestStats,
    idle_seconds: float,
    faults: Faults,
    wires: TcpFaults,
) -> None:
    """Accept a connection and serve it until it ends. Ends without an error in every case."""
    await socket.accept()
    silence = SilenceTimeout(idle_seconds)
    outbox, inbox = trio.open_memory_channel[list[str]](MAX_QUEUED_PUSHES)
    hub.join(outbox)
    try:
        with silence.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_write, socket, inbox, silence, faults, wires)
                await _read(socket, market, hub, outbox, silence, faults)
                nursery.cancel_scope.cancel()
    finally:
        hub.leave(outbox)
        outbox.close()
    if silence.scope.cancelled_caught:
        counts.silent += 1
        await socket.close(_POLICY_VIOLATION)


async def _read(
    socket: WebSocket,
    market: Market,
    hub: Broadcaster,
    outbox: Outbox,
    silence: SilenceTimeout,
    faults: Faults,
) -> None:
    """Answer what comes until the client leaves."""
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        silence.traffic()
        reply = reply_to(market, message.get("text") or "")
        if faults:
            reply = spoil_reply(faults, reply)
        try:
            await outbox.send(list(reply.texts))
        except trio.ClosedResourceError:  # it was too slow, and the hub let it go
            return
        if reply.added or reply.removed:
            silence.subscribed(anything=hub.change(outbox, reply.added, reply.removed))


async def _write(
    socket: WebSocket,
    inbox: trio.MemoryReceiveChannel[list[str]],
    silence: SilenceTimeout,
    faults: Faults,
    wires: TcpFaults,
) -> None:
    """Send what the hub and the reader put there; close the connection when that ends."""
    async for batch in inbox:
        for text in batch:
            await socket.send_text(text)
        silence.traffic()
        if faults and await _break(socket, faults, wires):
            return
    await socket.close(_POLICY_VIOLATION)


async def _break(socket: WebSocket, faults: Faults, wires: TcpFaults) -> bool:
    """Do what the faults in force do to a connection; return whether that was its end."""
    if faults.strikes("ws-garbage"):
        for one in GARBAGE:
            await (socket.send_text(one) if isinstance(one, str) else socket.send_bytes(one))
    if faults.strikes("ws-oversize"):
        await socket.send_text(OVERSIZE)
    if faults.strikes("ws-cut"):
        client = socket.client
        await wires.cut((client.host, client.port) if client else ("", 0))
        return True
    if faults.strikes("ws-drop"):
        await socket.close(_GOING_AWAY)
        return True
    return False
