"""Demo: the agent against the simulator, with gaps in the store, so that one sees it heal."""

import socket
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import click
import sqlalchemy as sa
import trio

from blofin_agent import __version__, agent
from blofin_agent.clock import wall_ms
from blofin_agent.config import Settings
from blofin_agent.core.candle import HOUR, MINUTE, Source
from blofin_agent.core.coverage import Span, window
from blofin_agent.exchange.rest import client
from blofin_agent.simulator.market import Market
from blofin_agent.simulator.serve import Options, Running, serve
from blofin_agent.store import candles
from blofin_agent.store.candles import Rows
from blofin_agent.store.engine import Store, open_store

DATABASE = Path("data/demo.db")
SYMBOLS = 8
SEED = 7


class DemoError(Exception):
    """The demo or the simulator cannot run. The text is a sentence for a person."""


def simulate(
    *, host: str, port: int, symbols: str, seed: int, holes: float, page_limit: int, limits: bool
) -> None:
    """Run the simulator until Ctrl-C. Raises DemoError."""
    names = int(symbols) if symbols.isdigit() else [name.strip() for name in symbols.split(",")]
    options = Options(
        host=host,
        port=port,
        symbols=names,
        seed=seed,
        hole_rate=holes,
        page_limit=page_limit,
        limits=limits,
    )

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            running: Running = await nursery.start(serve, options)
            click.echo(f"BLOFIN_REST_URL={running.rest_url}")
            click.echo(f"BLOFIN_WS_URL={running.ws_url}")

    try:
        trio.run(main)
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
    except OSError as error:
        raise DemoError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    except ValueError as error:
        raise DemoError(str(error)) from None


def demo(
    settings: Settings, bound: socket.socket, announce: Callable[[Settings, Store], None]
) -> None:
    """Run simulator and agent together until a signal. The demo's own database is made anew."""
    for path in DATABASE.parent.glob(f"{DATABASE.name}*"):
        path.unlink()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            running: Running = await nursery.start(serve, Options(symbols=SYMBOLS, seed=SEED))
            here = settings.model_copy(
                update={
                    "blofin_rest_url": running.rest_url,
                    "blofin_ws_url": running.ws_url,
                    "blofin_database_url": f"sqlite:///{DATABASE}",
                    "blofin_symbols": running.market.symbols,
                }
            )
            with closing(open_store(here.blofin_database_url)) as store:
                await store.write("insert", partial(_seed, settings=here, market=running.market))
                announce(here, store)
                async with client(running.rest_url, __version__) as http:
                    await agent.run(here, store, http, bound)
            nursery.cancel_scope.cancel()

    trio.run(main)


def _seed(connection: sa.Connection, settings: Settings, market: Market) -> None:
    """Store a week of the market with gaps of every kind in it."""
    bar = settings.backfill_timeframe
    span = window(wall_ms(), bar, settings.backfill_lookback_hours, 0)
    rows = [
        Rows(
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


def _held(number: int, time: int, span: Span) -> bool:
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
