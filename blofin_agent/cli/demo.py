"""Demo: the agent against the simulator, with gaps in the store, so that one sees it heal."""

import signal
import socket
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import sqlalchemy as sa
import trio

from blofin_agent import __version__, agent
from blofin_agent.cli import progress
from blofin_agent.config import Settings
from blofin_agent.domain.candle import HOUR, MINUTE, CandleBatch, Source
from blofin_agent.domain.time_range import TimeRange, window_at
from blofin_agent.exchange.rest_client import client
from blofin_agent.runtime import clock
from blofin_agent.runtime.clock import wall_ms
from blofin_agent.runtime.user_errors import Failed, WrongUse
from blofin_agent.simulator.instruments import parse_symbols
from blofin_agent.simulator.market import Market
from blofin_agent.simulator.server import RunningSimulator, SimulatorOptions, serve
from blofin_agent.store.database import Database, open_store
from blofin_agent.store.tables import candles

DATABASE = Path("data/demo.db")
SYMBOL_COUNT = 8
SEED = 7
REQUEST_SLEEP_MS = 1_000
"""Slower than need be, so that there is time to open the page and watch."""


class DemoError(Failed):
    """The demo or the simulator cannot run. The text is a sentence for a person."""


class WrongOptionError(WrongUse):
    """An option of the simulator's cannot be."""


def simulate(symbols: str, options: SimulatorOptions) -> None:
    """Run the simulator until Ctrl-C. Raises DemoError and WrongOptionError.

    `symbols`: how many, or which, as a command line says it.
    """

    async def main() -> None:
        chosen = replace(options, symbols=parse_symbols(symbols))
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                running: RunningSimulator = await nursery.start(serve, chosen)
                progress.print_lines(
                    [f"BLOFIN_REST_URL={running.rest_url}", f"BLOFIN_WS_URL={running.ws_url}"]
                )
                await anext(signals)
                nursery.cancel_scope.cancel()

    problem: Failed | None = None
    try:
        clock.run(main)
    except* ValueError as group:
        problem = WrongOptionError(str(group.exceptions[0]))
    except* OSError as group:
        problem = DemoError(
            f"cannot listen on {options.host}:{options.port}: {group.exceptions[0]}"
        )
    if problem is not None:
        raise problem


def demo(
    settings: Settings, bound: socket.socket, announce: Callable[[Settings, Database], None]
) -> None:
    """Run simulator and agent together until a signal. The demo's own database is made anew."""
    for path in DATABASE.parent.glob(f"{DATABASE.name}*"):
        path.unlink()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            running: RunningSimulator = await nursery.start(
                serve, SimulatorOptions(symbols=SYMBOL_COUNT, seed=SEED)
            )
            here = settings.model_copy(
                update={
                    "blofin_rest_url": running.rest_url,
                    "blofin_ws_url": running.ws_url,
                    "blofin_database_url": f"sqlite:///{DATABASE}",
                    "blofin_symbols": running.market.symbols,
                    "backfill_request_sleep_ms": REQUEST_SLEEP_MS,
                }
            )
            with closing(open_store(here.blofin_database_url)) as store:
                await store.write("insert", partial(_seed, settings=here, market=running.market))
                async with client(running.rest_url, __version__) as http:
                    await agent.run(here, store, http, bound, partial(announce, here, store))
            nursery.cancel_scope.cancel()

    clock.run(main)


def _seed(connection: sa.Connection, settings: Settings, market: Market) -> None:
    """Store a week of the market with gaps of every kind in it."""
    bar = settings.backfill_timeframe
    span = window_at(wall_ms(), bar, settings.backfill_lookback_hours, 0)
    rows = [
        CandleBatch(
            symbol,
            Source.FILL,
            [
                candle
                for time in range(span.start, span.end, bar.ms)
                if _held(number, time, span) and (candle := market.candle(symbol, bar, time))
            ],
        )
        for number, symbol in enumerate(market.symbols)
    ]
    candles.insert(connection, bar, rows)


def _held(number: int, time: int, span: TimeRange) -> bool:
    """Return whether the demo begins with this bar of its symbol of that number."""
    age = span.end - time
    match number:
        case 0:  # an outage of three hours, a day ago
            return not 24 * HOUR < age <= 27 * HOUR
        case 1:  # a minute lost here and there
            return time // MINUTE % 997 != 0
        case 2:  # a symbol added lately, as in the brief: a fifth of the week is there
            return age <= (span.end - span.start) // 5
        case 3:  # nothing yet
            return False
        case _:  # the last half hour: the agent was down
            return age > HOUR // 2
