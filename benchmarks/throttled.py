"""A fill under BloFin's real limits, in simulated time: its duration over the least they allow.

The agent's own parts fill an empty store from a simulator that holds 500 requests in 60 s and
1,500 in 300 s against it, over streams in memory and by trio's MockClock, so that half an hour
takes half a minute and what the machine does meanwhile costs nothing. 500 symbols need 7 pages
each, as a week of minutes does; here a page has 60 rows, so that the simulator is cheap.

Two requests are under way at most, so a fill cannot be faster than their answers come: the last two
figures show what an answer that takes its time costs.

The least is worked out from what a limit of N requests in W seconds means, and nothing else: the
request number k cannot go before W seconds after number k - N, nor sooner after the one before it
than the settings say. The agent keeps 5 % of each limit free for others, so its limits are 475 and
1,425; the duration over the bare limits is given too. A duration is from the first request to the
end of the fill, and not one request was refused.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace

import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from benchmarks.figure import Figure, at_most
from blofin_agent.config import Settings
from blofin_agent.domain.backfill_run import RunTrigger
from blofin_agent.jobs.backfill.job import MAX_PAGE_TRIES
from blofin_agent.simulator.instruments import choose
from blofin_agent.simulator.rate_limits import RULES
from blofin_agent.simulator.server import Simulator, SimulatorOptions
from blofin_agent.store.database import Database, open_store
from blofin_agent.wiring import Services, build_services
from tests.laws.virtual import Network, Wall, client
from tests.pace import jump

SYMBOLS = choose(500)
PAGES = 7
ROWS = 60
RESERVE = 0.05
REST = tuple((round(rule.requests * (1 - RESERVE)), rule.seconds) for rule in RULES)
BARE = tuple((rule.requests, rule.seconds) for rule in RULES)
ROUND_TRIPS_S = (0.1, 0.3)


@dataclass(frozen=True, slots=True)
class _Fill:
    """What a fill was told, and how long it took."""

    spacing_ms: int = 0
    pause_ms: int = 0
    """Between two symbols."""
    round_trip_s: float = 0.0
    seconds: float = 0.0
    requests: int = 0
    most: str = ""
    """The most requests that the simulator saw in any window."""

    def least(self, limits: Sequence[tuple[int, int]]) -> float:
        """Return the least seconds from the first request to the last."""
        starts: list[float] = []
        for number in range(self.requests):
            at = starts[-1] + self._apart(number) if starts else 0.0
            for most, seconds in limits:
                if number >= most:
                    at = max(at, starts[number - most] + seconds)
            starts.append(at)
        return starts[-1]

    def _apart(self, number: int) -> float:
        """Return how long the settings keep a request from the one before it."""
        # Number 0 asks for the list of instruments, number 1 for the first symbol's first page.
        new_symbol = number > 1 and (number - 1) % PAGES == 0
        return max(self.spacing_ms, self.pause_ms if new_symbol else 0) / 1000


def run() -> list[Figure]:
    """Fill with the settings at their least and at their defaults."""
    with capture_logs():
        free, spaced, default = _fill(_Fill()), _fill(_Fill(250)), _fill(_Fill(250, 500))
        far = [_fill(_Fill(round_trip_s=seconds)) for seconds in ROUND_TRIPS_S]
    return [
        _figure("spacing 0, over the limits less the reserve", free, REST, target=True),
        _figure("spacing 0, over the bare limits", free, BARE),
        _figure("spacing 250 ms, over limits and spacing", spaced, REST, target=True),
        _figure(
            "at the defaults (250 ms, and 500 ms between symbols), over limits and both",
            default,
            REST,
            target=True,
        ),
        *(
            _figure(f"spacing 0, each answer {one.round_trip_s * 1000:.0f} ms away", one, REST)
            for one in far
        ),
    ]


def _figure(
    what: str, fill: _Fill, limits: Sequence[tuple[int, int]], *, target: bool = False
) -> Figure:
    least = fill.least(limits)
    detail = (
        f"{fill.requests} requests in {fill.seconds:.2f} s; no sooner than {least:.2f} s; "
        f"seen at most {fill.most}"
    )
    aim = at_most(1.02) if target else None
    return Figure(f"throttled fill, {what}", fill.seconds / least, detail, target=aim)


def _fill(how: _Fill) -> _Fill:
    async def main() -> _Fill:
        with tempfile.TemporaryDirectory() as folder:
            store = open_store(f"sqlite:///{folder}/throttled.db")
            try:
                return await _in_virtual_time(store, how)
            finally:
                store.close()

    return trio.run(main, clock=MockClock())


async def _in_virtual_time(store: Database, how: _Fill) -> _Fill:
    virtual = trio.lowlevel.current_clock()
    assert isinstance(virtual, MockClock)
    wall = Wall(virtual)
    slow = (f"slow,seconds={how.round_trip_s}",) if how.round_trip_s else ()
    options = SimulatorOptions(symbols=SYMBOLS, hole_rate=0, page_limit=ROWS, faults=slow)
    simulator = Simulator(options, wall.true)
    settings = Settings(
        _env_file=None,
        blofin_symbols=SYMBOLS,
        backfill_lookback_hours=PAGES * ROWS // 60,
        backfill_batch_limit=ROWS,
        backfill_request_sleep_ms=how.spacing_ms,
        backfill_symbol_sleep_ms=how.pause_ms,
    )
    async with trio.open_nursery() as nursery:
        limiters = [store.limiter, trio.to_thread.current_default_thread_limiter()]
        nursery.start_soon(jump, virtual, limiters)
        async with client(Network(simulator, nursery)) as http:
            parts = build_services(
                settings, store, http, tries=MAX_PAGE_TRIES, what_next="", clock=wall
            )
            nursery.start_soon(parts.writer.run)
            begun = trio.current_time()
            requests = await _all(parts)
            seconds = trio.current_time() - begun
        nursery.cancel_scope.cancel()
    counters = simulator.limits.counters()
    assert counters.requests == requests, "the simulator counted otherwise"
    assert not counters.refused, "a limit was passed"
    most = " and ".join(f"{most} in {seconds} s" for seconds, most in counters.most.items())
    return replace(how, seconds=seconds, requests=requests, most=most)


async def _all(parts: Services) -> int:
    """Fill everything; return how many requests it took."""
    await parts.universe.load()
    parts.tracker.loaded = True
    await parts.universe.refresh()
    window = parts.tracker.window()
    done = await parts.passes.once(window, RunTrigger.ONESHOT)
    await parts.writer.until_idle()
    assert not any(one.missing(window) for one in parts.tracker.all()), "it is not filled"
    return 1 + sum(one.requests for one in done.runs)
