"""A world in one process and in virtual time: the agent's own parts, and the simulator.

REST and websocket go over streams in memory, through the real HTTP and websocket libraries on both
sides; the store is a real SQLite file. Time jumps to the next deadline whenever nothing is at
work, so a day takes a few minutes, and happens the same way for the same seed.
"""

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from types import SimpleNamespace

import trio
from trio.testing import MockClock

from blofin_agent import agent
from blofin_agent.config import Settings
from blofin_agent.domain.candle import Candle, Timeframe
from blofin_agent.exchange import websocket_session
from blofin_agent.simulator.server import Simulator, SimulatorOptions
from blofin_agent.store.database import Database
from blofin_agent.wiring import Services, build_services
from tests.laws.virtual import Network, Wall, client
from tests.pace import jump


class World:
    """A running agent and its exchange. Make one with `world`."""

    def __init__(self, wall: Wall, simulator: Simulator, store: Database, parts: Services) -> None:
        self.wall = wall
        self.simulator = simulator
        self.store = store
        self.parts = parts
        self.deck: list[str] = []
        """Faults that are still to come."""

    def stored(self, symbol: str) -> dict[int, Candle]:
        """Return the stored candles of a symbol by open time."""
        names = ", ".join(f'"{name}"' for name in Candle._fields)
        query = f"SELECT {names} FROM candles WHERE symbol = '{symbol}'"
        rows = self.store.read_here(lambda connection: connection.exec_driver_sql(query).all())
        return {row[0]: Candle(*row) for row in rows}

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """Return what a query of the store gives."""
        found = self.store.read_here(lambda connection: connection.exec_driver_sql(query).all())
        return [tuple(row) for row in found]

    def stored_times(self, symbol: str) -> list[int]:
        """Return the open times of the newest stored candles of a symbol."""
        query = (
            "SELECT open_time FROM candles WHERE symbol = ? AND bar = '1m' "
            "ORDER BY open_time DESC LIMIT 1"
        )
        with contextlib.closing(sqlite3.connect(self.store.where)) as connection:
            return [time for (time,) in connection.execute(query, (symbol,))]

    def truth(self, symbol: str, start: int, end: int) -> dict[int, Candle]:
        """Return what the exchange has."""
        return {
            time: candle
            for time in range(start, end, Timeframe.M1.ms)
            if (candle := self.simulator.market.candle(symbol, Timeframe.M1, time))
        }

    def figure(self, name: str, **labels: str) -> float | None:
        """Return a series' value as a scrape would show it."""
        return self.parts.metrics.registry.get_sample_value(name, labels)


@contextlib.asynccontextmanager
async def world(
    store: Database, settings: Settings, options: SimulatorOptions, monkeypatch
) -> AsyncIterator[World]:
    """Run an agent against a simulator until the block ends. Call it under a MockClock."""
    virtual = trio.lowlevel.current_clock()
    assert isinstance(virtual, MockClock)
    wall = Wall(virtual)
    simulator = Simulator(options, wall.true)
    async with trio.open_nursery() as nursery:
        limiters = [store.limiter, trio.to_thread.current_default_thread_limiter()]
        nursery.start_soon(jump, virtual, limiters)
        nursery.start_soon(simulator.push)
        network = Network(simulator, nursery)
        monkeypatch.setattr(websocket_session, "_connect", network.connect)
        async with client(network) as http:
            parts = build_services(
                settings,
                store,
                http,
                tries=agent.MAX_PAGE_TRIES,
                what_next="it goes on",
                clock=wall,
            )
            nursery.start_soon(parts.writer.run)
            snapshotter = SimpleNamespace(links=None)
            nursery.start_soon(agent._produce, settings, store, parts, snapshotter, None, None)
            yield World(wall, simulator, store, parts)
            nursery.cancel_scope.cancel()
