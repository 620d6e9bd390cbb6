"""PostgreSQL: the ways into it, and what grows with symbols, with years and with agents.

A real server of this machine, with `fsync` on, as it comes otherwise, and everything on one disk.
The ways to store a page of 1,440 candles take turns on a plain table with the same key; the floor
is a COPY straight into it, which cannot leave out what is there already. Then the agent's own
store: a page, the end of a minute of all symbols, what a start reads, a sign of life in a fleet,
and the sharing out of the symbols, with 500, 5,000 and 50,000 symbols; a page and a read beside
ten years of partitions; what a pass leaves behind that had nothing to do. Medians.
"""

import time
from functools import partial
from typing import Any

import sqlalchemy as sa

from benchmarks import postgres
from benchmarks.big import minutes
from benchmarks.bulk import ways
from benchmarks.figure import Figure
from benchmarks.postgres import PAGE, in_transaction, median_ms, store_of
from blofin_agent.domain.backfill_run import BackfillRun, RunTrigger
from blofin_agent.domain.candle import DAY, MINUTE, CandleBatch, Source, Timeframe
from blofin_agent.domain.instrument import Instrument
from blofin_agent.domain.symbol_assignment import AgentRecord, assign_symbols
from blofin_agent.domain.time_range import TimeRange
from blofin_agent.runtime.clock import wall_ms
from blofin_agent.store.database import Database
from blofin_agent.store.postgresql import partitions
from blofin_agent.store.tables import backfill_runs, candles, coverage_blocks, fleet
from blofin_agent.store.tables.fleet import AgentIdentity

lacking = postgres.lacking

WIDTHS = (500, 5_000, 50_000)
CREWS = (3, 10, 50)
YEARS = 10
PASSES = 48
"""A day of them, at the default interval."""


def run() -> list[Figure]:
    """Measure, for some minutes."""
    with postgres.postgresql() as server:
        return [
            *ways(server),
            *_widths(server),
            *_years(server),
            _passes(server),
            *_shares(),
        ]


# -- more symbols ---------------------------------------------------------------------------------


def _widths(server: Any) -> list[Figure]:
    figures = []
    for width in WIDTHS:
        with store_of(server) as store:
            figures += _width(store, [f"SIM{number}-USDT" for number in range(width)])
    return figures


def _width(store: Database, names: list[str]) -> list[Figure]:
    end = wall_ms() // DAY * DAY
    turns = 5 if len(names) < WIDTHS[-1] else 3

    def minute(turn: int) -> None:
        rows = [CandleBatch(name, Source.LIVE, minutes(end + turn * MINUTE, 1)) for name in names]
        in_transaction(store, lambda db: candles.insert(db, Timeframe.M1, rows))

    def begin(_turn: int) -> None:
        span = TimeRange(end - 7 * DAY, end + DAY)
        for some in coverage_blocks.portions(names, Timeframe.M1, span):
            store.read_here(lambda db: coverage_blocks.load(db, Timeframe.M1, span, some))  # noqa: B023

    minute(0)
    live = median_ms(lambda turn: minute(turn + 1), turns)
    start = median_ms(begin, turns)
    me = AgentIdentity("bench", 1, "", "here", Timeframe.M1, ("all",), "", "token")
    in_transaction(store, lambda db: fleet.heartbeat(db, me, known=False))
    begun = time.perf_counter()
    in_transaction(store, lambda db: fleet.claim(db, me, names, []))
    claimed = time.perf_counter() - begun
    beat = median_ms(
        lambda _: in_transaction(store, lambda db: fleet.heartbeat(db, me, known=True))
    )
    what = f"{len(names):,} symbols"
    return [
        Figure(
            f"the end of a minute of {what}",
            live,
            f"{len(names):,} candles, one transaction",
            " ms",
        ),
        Figure(f"what a start reads of {what}, 7 days", start, "blocks of coverage", " ms"),
        Figure(
            f"a sign of life with {what}", beat, f"claiming them all took {claimed:.2f} s", " ms"
        ),
    ]


# -- more years -----------------------------------------------------------------------------------


def _years(server: Any) -> list[Figure]:
    now = wall_ms()
    end = now // DAY * DAY - DAY
    found: dict[int, tuple[float, float]] = {}
    for weeks in (2, YEARS * 52):
        with store_of(server) as store:
            in_transaction(
                store,
                lambda db: partitions.make(db, [now - n * partitions.WEEK for n in range(weeks)]),  # noqa: B023
            )

            def put(turn: int) -> None:
                rows = [CandleBatch(f"SIM{turn}-USDT", Source.FILL, minutes(end, PAGE))]
                in_transaction(store, lambda db: candles.insert(db, Timeframe.M1, rows))

            def read(turn: int) -> None:
                span = TimeRange(end, end + DAY)
                store.read_here(
                    lambda db: candles.page(db, f"SIM{turn}-USDT", Timeframe.M1, span, PAGE)
                )

            put(-1)
            found[weeks] = median_ms(put), median_ms(read)
            size = store.read_here(_bytes_a_candle)
    (few_page, few_read), (many_page, many_read) = found.values()
    beside = f"beside {YEARS * 52} partitions over 2"
    return [
        Figure(
            f"a page stored {beside}",
            many_page / few_page,
            f"{many_page:.1f} ms, {few_page:.1f} ms",
        ),
        Figure(
            f"a page read {beside}", many_read / few_read, f"{many_read:.1f} ms, {few_read:.1f} ms"
        ),
        Figure("bytes a candle", size, "table and key, pages of days", " B"),
    ]


def _passes(server: Any) -> Figure:
    now = wall_ms()
    with store_of(server) as store:
        for minute in range(0, DAY, DAY // PASSES):
            in_transaction(store, partial(_pass, at=now + minute))
        size = "SELECT pg_total_relation_size('gap_fill_runs')"
        taken = store.read_here(lambda db: db.exec_driver_sql(size).scalar_one())
    count = PASSES * WIDTHS[0]
    return Figure("bytes a run", taken / count, f"{count:,} runs, table and keys", " B")


def _pass(connection: sa.Connection, at: int) -> None:
    for number in range(WIDTHS[0]):
        run = BackfillRun(f"SIM{number}-USDT", "1m", RunTrigger.PERIODIC, started=at, finished=at)
        backfill_runs.record(connection, run)


def _bytes_a_candle(connection: sa.Connection) -> float:
    taken = connection.exec_driver_sql(
        "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits "
        "WHERE inhparent = to_regclass('candles') AND pg_relation_size(inhrelid) > 0"
    ).scalar_one()
    rows = connection.exec_driver_sql("SELECT count(*) FROM candles").scalar_one()
    return float(taken) / float(rows)


# -- more agents ----------------------------------------------------------------------------------


def _shares() -> list[Figure]:
    figures = []
    for width in WIDTHS:
        listed = {
            f"SIM{number}-USDT": Instrument(f"SIM{number}-USDT", None, "live")
            for number in range(width)
        }
        for crew in CREWS:
            members = [
                AgentRecord(f"agent {one}", f"egress {one}", ("all",)) for one in range(crew)
            ]
            taken = median_ms(
                lambda _: assign_symbols("agent 0", members, listed),  # noqa: B023
                3,
            )
            fair = len(assign_symbols("agent 0", members, listed).mine) * crew / width
            what = f"{width:,} symbols shared out among {crew} agents"
            figures.append(Figure(what, taken, f"one has {fair:.2f} of an equal share", " ms"))
    return figures
