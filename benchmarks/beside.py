"""Beside: the real agent beside a canned exchange, with a store that was filled before."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.canned_feed import PER_CONNECTION, names
from benchmarks.children import Told
from benchmarks.running import COMMAND, Agent, agent
from benchmarks.stock import stock

DAYS = 7
SUBSCRIBED_WITHIN_S = 60


@dataclass(frozen=True, slots=True)
class Beside:
    """An agent that is subscribed to every symbol, and its store."""

    agent: Agent
    database: Path
    folder: Path


@contextmanager
def beside(
    exchange: Told, symbols: int, *, empty: int = 0, command: Sequence[str] = COMMAND
) -> Iterator[Beside]:
    """Run an agent of so many symbols, of which the last `empty` have no candle yet.

    `exchange`: where it listens. `command`: what runs the agent.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kept = stock(folder / "blofin.db", names(symbols - empty), DAYS)
        settings = {
            "BLOFIN_SYMBOLS": ",".join(names(symbols)),
            "BLOFIN_REST_URL": exchange["rest"],
            "BLOFIN_WS_URL": exchange["ws"] + "/ws/public",
            "BLOFIN_DATABASE_URL": kept.url,
            "LOG_LEVEL": "warning",
        }
        with agent(folder, settings, command) as one:
            _until_subscribed(one, symbols)
            yield Beside(one, kept.path, folder)


def _until_subscribed(one: Agent, symbols: int) -> None:
    give_up_at = time.monotonic() + SUBSCRIBED_WITHIN_S
    standing = b'"subscribed":%d' % PER_CONNECTION
    while one.get("/api/v1/status").count(standing) < symbols // PER_CONNECTION:
        assert time.monotonic() < give_up_at, "not every symbol is subscribed to"
        time.sleep(0.5)
