"""A fleet: how long a cold fill takes that is asked for from one address, and from three.

The real agents on one PostgreSQL database of this machine, each with an address of its own to go
by (BLOFIN_EGRESS), beside the simulator, which sets no limits: what holds the agents back is the
budget of each address, as at BloFin. From their start until nothing is missing but what the
exchange does not have. What the limits allow is reckoned for the address with the most symbols.
"""

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks import postgres
from benchmarks.figure import Figure, at_least
from benchmarks.running import Agent, agent, simulator
from blofin_agent.domain import rate_limit

lacking = postgres.lacking

SYMBOLS = 240
PAGES = 7
"""Of each symbol's week."""
ADDRESSES = (1, 3)
WITHIN_S = 900


def run() -> list[Figure]:
    """Fill twice, for some seven minutes together."""
    taken = {count: _fill(count) for count in ADDRESSES}
    one, three = (taken[count] for count in ADDRESSES)
    allowed = {count: _allowed(most) for count, (_, most) in taken.items()}
    return [
        Figure(
            f"a cold fill of {SYMBOLS} symbols from {count} "
            f"{'addresses' if count > 1 else 'address'}, over what the limits allow",
            seconds / allowed[count],
            f"{seconds:.0f} s, {allowed[count]:.0f} s with {most} symbols of {SYMBOLS} at the "
            "busiest address",
        )
        for count, (seconds, most) in taken.items()
    ] + [
        Figure(
            f"times as fast from {ADDRESSES[1]} addresses as from one",
            one[0] / three[0],
            f"{one[0]:.0f} s, {three[0]:.0f} s",
            target=at_least(3),
        )
    ]


def _fill(addresses: int) -> tuple[float, int]:
    """Return how long it took (s), and how many symbols the busiest address had."""
    with (
        postgres.postgresql() as server,
        simulator(SYMBOLS, "--no-limits") as exchange,
        tempfile.TemporaryDirectory() as name,
        ExitStack() as stack,
    ):
        url = server.url(server.database())
        begun = time.perf_counter()
        agents = []
        for number in range(addresses):
            folder = Path(name) / str(number)
            folder.mkdir()
            settings = exchange | {
                "BLOFIN_DATABASE_URL": url,
                "BLOFIN_EGRESS": f"address-{number}",
                "BLOFIN_SYMBOLS": "all",
                "BACKFILL_REQUEST_SLEEP_MS": "0",
                "BACKFILL_SYMBOL_SLEEP_MS": "0",
            }
            agents.append(stack.enter_context(agent(folder, settings)))
        while _left(agents):
            assert time.perf_counter() - begun < WITHIN_S, "it is not filled"
            time.sleep(1)
        seconds = time.perf_counter() - begun
        owned = [round(one.samples()["blofin_fleet_symbols_owned"]) for one in agents]
    assert sum(owned) == SYMBOLS, owned
    return seconds, max(owned)


def _left(agents: Sequence[Agent]) -> bool:
    """Return whether something is missing that the exchange has, of all symbols."""
    missing = symbols = 0.0
    for one in agents:
        for name, value in one.samples().items():
            symbols += name.startswith("blofin_coverage_ratio{")
            missing += value * name.startswith("blofin_candles_missing{")
            missing -= value * name.startswith("blofin_candles_unavailable{")
    # At the ends of minutes the newest may be on its way.
    return symbols < SYMBOLS or missing > SYMBOLS


def _allowed(symbols: int) -> float:
    return rate_limit.least_seconds(symbols * PAGES, (), 0, 0, rate_limit.LIMITS)
