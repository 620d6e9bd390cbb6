"""Steady state: what the agent takes while all is well, with a push a second for every symbol.

The real agent beside a canned exchange, in real time: 500 symbols on 5 connections, a week of each
in a SQLite store, 500 pushes a second and the completing ones at the end of each minute, a scrape
every 15 s. CPU time in user and system mode, and memory, as Linux tells them of its process, from
when it has filled what was missing. How memory grows with symbols and with the window is measured
where it starts, in `start`.
"""

import time

from benchmarks.beside import beside
from benchmarks.children import Tells, started
from benchmarks.figure import Figure, at_most
from benchmarks.running import Agent

SYMBOLS = 500
MINUTES = 2
SCRAPE_EVERY_S = 15
FILLED_WITHIN_S = 300


def run() -> list[Figure]:
    """Watch it for some minutes."""
    with started("benchmarks.canned_feed", str(SYMBOLS)) as tells, beside(tells(), SYMBOLS) as one:
        agent = one.agent
        _until_filled(agent)
        # From the end of a minute to the end of another.
        _minute(tells)
        before, begun, pushes = agent.cpu_s(), time.perf_counter(), _pushes(agent)
        for _ in range(MINUTES * 60 // SCRAPE_EVERY_S):
            time.sleep(SCRAPE_EVERY_S)
            agent.samples()
        cpu_s, seconds = agent.cpu_s() - before, time.perf_counter() - begun
        pushes = _pushes(agent) - pushes
        now, most = agent.mib("VmRSS"), agent.mib("VmHWM")
    assert pushes >= 0.95 * SYMBOLS * seconds, f"{pushes} pushes in {seconds} s"
    return [
        Figure(
            f"CPU of one core, {SYMBOLS} symbols",
            100 * cpu_s / seconds,
            f"{cpu_s:.1f} s of CPU in {seconds:.0f} s, {pushes / seconds:.0f} pushes a second",
            unit=" %",
            target=at_most(15),
        ),
        Figure(
            f"RSS, {SYMBOLS} symbols",
            now,
            f"at the end; the most since its start {most:.0f} MiB",
            unit=" MiB",
            target=at_most(120),
        ),
    ]


def _until_filled(agent: Agent) -> None:
    give_up_at = time.monotonic() + FILLED_WITHIN_S
    while _sum(agent, "blofin_candles_missing") > _sum(agent, "blofin_candles_unavailable"):
        assert time.monotonic() < give_up_at, "what was missing is not filled"
        time.sleep(5)


def _minute(tells: Tells) -> None:
    while "minute" not in tells():
        pass


def _pushes(agent: Agent) -> float:
    return _sum(agent, 'blofin_feed_messages_total{kind="candle"}')


def _sum(agent: Agent, name: str) -> float:
    return sum(value for key, value in agent.samples().items() if key.startswith(name))
