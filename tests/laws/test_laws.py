"""Random faults, in virtual time.

After the faults the database equals the exchange row by row, coverage equals the rows, no open
candle was stored, no limit was exceeded, no task died, memory is flat, and each fault shows in a
metric. The suite simulates an hour with one seed, `make soak` a day or longer.
"""

import contextlib
import ctypes
import gc
import os
import random
import resource
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from blofin_agent.config import Settings
from blofin_agent.domain.candle import Timeframe
from blofin_agent.domain.rate_limit import RESERVED_FRACTION
from blofin_agent.simulator.rate_limits import RULES
from blofin_agent.simulator.server import SimulatorOptions
from tests.laws.world import world
from tests.pace import REAL

SYMBOLS = ("BTC-USDT", "ETH-USDT", "SOL-USDT")
HOURS = float(os.environ.get("SOAK_HOURS", "2" if REAL else "1"))
SEEDS = [int(seed) for seed in os.environ.get("SOAK_SEEDS", "1,2" if REAL else "1").split(",")]
LOOKBACK_HOURS = 36
PAGE_LIMIT = 8
"""So short that a cold fill takes more requests than a minute allows."""
CALM_HOURS = 8
"""How long after the last fault all must be well at the latest: proofs are asked for again after
an hour, and those seen twice after six."""

STEPS_MS = (0, 0, 4_000, -4_000, 90_000, -90_000, 600_000, -3_600_000)
"""How far the machine's clock may be ahead of the true time."""
LONG_HOURS = 12
QUARTERS = 4
FLAT_MIB = 12
"""What memory may grow from the first quarter's end to the last one's."""
QUIET_S = 60
"""Then no frame of 4 MB is on its way any more, in a buffer of each layer that it passes."""

REST = (
    *("429,chance=0.1", "429,times=1,seconds=300", "403,times=1,seconds=300", "5xx,chance=0.5"),
    *("hang,chance=0.3", "slow,chance=0.3,seconds=5", "reset,chance=0.5", "truncated,chance=0.5"),
    *("html,chance=0.5", "code,chance=0.5", "not-json,chance=0.5", "empty,chance=0.3"),
    *("garbage-rows,chance=0.5", "shuffled-rows", "repeated-rows,chance=0.5"),
    *("foreign-rows,chance=0.5", "edge-hole,chance=0.5"),
)
"""Beside these no push says that a candle is complete, so that all are asked for."""
FAULTS = (
    *REST,
    *("late,seconds=200", "withhold,symbol=BTC-USDT", "withhold,symbol=SOL-USDT"),
    *("ws-refuse,chance=0.7", "ws-drop,chance=0.1", "ws-cut,chance=0.1", "ws-silent"),
    *("ws-silent,symbol=ETH-USDT", "ws-pongs-only", "ws-no-pong", "ws-garbage,chance=0.2"),
    *("ws-oversize,chance=0.1", "ws-no-ack", "ws-refuse-subscription,chance=0.5"),
    *("ws-no-complete", "ws-repeated", "ws-shuffled", "ws-foreign,chance=0.3"),
    *("clock,seconds=40", "clock,seconds=-40", "clock,seconds=-200", "clock,seconds=300"),
)
"""What the schedule draws from."""

KINDS = {text.partition(",")[0] for text in FAULTS} - {"clock", "withhold"}
SPARE = 0 if HOURS >= LONG_HOURS else len(KINDS) / 4
"""How many kinds may never strike: what an hour or two do not bring, the soak's day must.
"""


async def schedule(place, chance, seconds):
    """Put faults in force, none to three at once, for so long; step the clock, too.

    They come in any order, and each has its turn before one comes again.
    """
    faults, deck = place.simulator.faults, place.deck
    end = trio.current_time() + seconds
    while trio.current_time() < end:
        for _ in range(chance.choice([0, 1, 1, 2, 3])):
            if not deck:
                deck += chance.sample(FAULTS, len(FAULTS))
            fault, lasts = deck.pop(), chance.randint(60, 900)
            faults.parse(f"{fault},for={lasts}")
            if fault in REST:
                faults.parse(f"ws-no-complete,for={lasts}")
            if fault.startswith("ws-"):
                # Some show only while a connection is made.
                faults.parse(f"ws-drop,times=1,for={lasts}")
        if chance.random() < 0.3:
            place.wall.ahead_ms = chance.choice(STEPS_MS)
        await trio.sleep(chance.uniform(20, 260))
    faults.clear()
    place.wall.ahead_ms = 0


def idle(faults):
    """Return the kinds that have not struck yet."""
    return KINDS - set(faults.struck)


def resident():
    """Return the memory in use, in MiB, without what the C library keeps for the next time."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # glibc has it
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def is_whole(place):
    """Say whether everything that the exchange has of the window is counted as present."""
    window = place.parts.tracker.window()
    return all(
        count.present == len(place.truth(symbol, window.start, window.end))
        and not place.parts.writer._pending
        for symbol, count in place.parts.tracker.counts().items()
    )


def laws(place):
    """Hold what is stored and counted against the exchange."""
    for symbol in SYMBOLS:
        stored = place.stored(symbol)
        window = place.parts.tracker.window()
        own = place.simulator.market
        wrong = [
            time for time, row in stored.items() if own.candle(symbol, Timeframe.M1, time) != row
        ]
        assert not wrong, (symbol, wrong)
        within = set(place.truth(symbol, window.start, window.end))
        assert within <= set(stored), (symbol, len(within - set(stored)))
        count = place.parts.tracker.counts()[symbol]
        assert count.present == sum(window.start <= time < window.end for time in stored)
        assert count.missing == count.expected - count.present
        assert place.figure("blofin_candles_present", symbol=symbol) == count.present
        assert place.figure("blofin_candles_missing", symbol=symbol) == count.missing
    counters = place.simulator.limits.counters()
    for rule in RULES:
        assert counters.most[rule.seconds] <= rule.requests * (1 - RESERVED_FRACTION)
    # Only a fault suspends; the one request that was under way then may come too late.
    assert counters.during_suspension <= 1
    assert place.figure("blofin_store_up") == 1


MOVED = {
    "429": ("blofin_api_requests_total", "outcome", "rate_limited"),
    "403": ("blofin_api_requests_total", "outcome", "banned"),
    "5xx": ("blofin_api_requests_total", "outcome", "server_error"),
    "hang": ("blofin_api_requests_total", "outcome", "timeout"),
    "reset": ("blofin_api_requests_total", "outcome", "unreachable"),
    "truncated": ("blofin_api_requests_total", "outcome", "unreachable"),
    "html": ("blofin_api_requests_total", "outcome", "invalid"),
    "not-json": ("blofin_api_requests_total", "outcome", "invalid"),
    "code": ("blofin_api_requests_total", "outcome", "refused"),
    "garbage-rows": ("blofin_rows_rejected_total", "reason", "shape"),
    "repeated-rows": ("blofin_rows_rejected_total", "reason", "repeated"),
    "foreign-rows": ("blofin_rows_rejected_total", "reason", "conflicting"),
    "ws-refuse": ("blofin_feed_disconnects_total", "reason", "rejected"),
    "ws-drop": ("blofin_feed_disconnects_total", "reason", "closed"),
    "ws-cut": ("blofin_feed_disconnects_total", "reason", "closed"),
    "ws-oversize": ("blofin_feed_disconnects_total", "reason", "closed"),
    "empty": ("blofin_oddities_total", "kind", "empty"),
    "ws-garbage": ("blofin_feed_messages_total", "kind", "invalid"),
    "ws-refuse-subscription": ("blofin_feed_messages_total", "kind", "refused"),
}
"""The series that shows that a fault struck."""


def shown(place, kind):
    """Return the sum of the series that show a fault."""
    name, label, value = MOVED[kind]
    families = place.parts.metrics.registry.collect()
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and sample.labels.get(label) == value
    )


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.slow("an hour of virtual time")
def test_under_any_mix_of_faults_the_store_becomes_what_the_exchange_has(
    store, monkeypatch, record_property, seed
):
    chance = random.Random(seed)
    options = SimulatorOptions(
        symbols=SYMBOLS, seed=seed, hole_rate=0.01, push_interval=2, page_limit=PAGE_LIMIT
    )
    settings = Settings(
        _env_file=None,
        blofin_symbols=SYMBOLS,
        backfill_lookback_hours=LOOKBACK_HOURS,
        backfill_request_sleep_ms=0,
        backfill_symbol_sleep_ms=0,
        blofin_rest_url="http://exchange",
        blofin_ws_url="ws://exchange/ws/public",
    )

    async def main():
        memory = []
        async with world(store, settings, options, monkeypatch) as place:
            faults = place.simulator.faults
            for _ in range(QUARTERS):
                await schedule(place, chance, HOURS * 3_600 / QUARTERS)
                await trio.sleep(QUIET_S)
                memory.append(resident())
            for _ in range(QUARTERS):
                # A long suspension left them no request to strike.
                if len(again := idle(faults)) <= SPARE:
                    break
                place.deck[:] = [text for text in FAULTS if text.partition(",")[0] in again]
                await schedule(place, chance, HOURS * 3_600 / QUARTERS)
            stopped, whole = trio.current_time(), False
            while not whole and trio.current_time() - stopped < CALM_HOURS * 3_600:
                await trio.sleep(60)
                whole = is_whole(place)
            laws(place)
            assert len(idle(faults)) <= SPARE, idle(faults)
            unseen = [kind for kind in faults.struck if kind in MOVED and not shown(place, kind)]
            assert not unseen
            assert memory[-1] - memory[0] < FLAT_MIB
            record_property("whole after (s)", round(trio.current_time() - stopped))
            record_property("struck", dict(faults.struck))
            record_property("memory (MiB)", memory)

    trio.run(main, clock=MockClock())
