"""PostgreSQL: the ways into it, and what grows with symbols, with years and with agents.

A real server of this machine, with `fsync` on, as it comes otherwise, and everything on one disk.
The ways to store a page of 1,440 candles take turns on a plain table with the same key; the floor
is a COPY straight into it, which cannot leave out what is there already. Then the agent's own
store: a page, the end of a minute of all symbols, what a start reads, a sign of life in a fleet,
and the sharing out of the symbols, with 500, 5,000 and 50,000 symbols; a page and a read beside
ten years of partitions. Medians.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import sqlalchemy as sa

from benchmarks.figure import Figure
from blofin_agent.clock import wall_ms
from blofin_agent.core.candle import DAY, MINUTE, Bar, Candle, Source
from blofin_agent.core.coverage import Span
from blofin_agent.core.fleet import Member, share_out
from blofin_agent.core.instruments import Instrument
from blofin_agent.store import blocks, candles, fleet, partitions
from blofin_agent.store.candles import Rows
from blofin_agent.store.engine import Store, open_store
from blofin_agent.store.fleet import Me
from blofin_agent.store.postgresql import driver_of
from tests.postgres import Server

PAGE = 1_440
TURNS = 15
WIDTHS = (500, 5_000, 50_000)
CREWS = (3, 10, 50)
YEARS = 10
_NAMES = "symbol, bar, open_time, open, high, low, close, volume, volume_base, volume_quote, source"
_KINDS = ("text", "text", "int8", *("float8",) * 7, "text")
_TABLE = """CREATE TABLE plain (symbol text, bar text, open_time bigint, open float8, high float8,
    low float8, close float8, volume float8, volume_base float8, volume_quote float8, source text,
    PRIMARY KEY (symbol, bar, open_time))"""


def run() -> list[Figure]:
    """Measure, for some minutes."""
    with postgresql() as server:
        return [
            *_ways(server),
            *_widths(server),
            *_years(server),
            *_shares(),
        ]


@contextmanager
def postgresql() -> Iterator[Any]:
    """Run a server of its own, which ends with the block; see `tests.postgres.Server`."""
    where, on = tempfile.gettempdir(), "on"
    server = Server.make(where, fsync=on, autovacuum=on, shared_buffers="256MB")  # type: ignore[no-untyped-call]
    try:
        server.start()
        yield server
    finally:
        server.remove()


@contextmanager
def _store(server: Any) -> Iterator[Store]:
    store = open_store(server.url(server.database()))
    try:
        yield store
    finally:
        store.close()


def _page(start: int, count: int = PAGE) -> list[Candle]:
    figures = (50_000.5, 50_001.5, 49_999.25, 50_000.75, 100.5, 0.125, 12.5)
    return [Candle(start + place * MINUTE, *figures) for place in range(count)]


def _median_ms(work: Callable[[int], object], turns: int = TURNS) -> float:
    """Return how long a call takes (ms); each is given its number."""
    taken = []
    for turn in range(turns):
        begun = time.perf_counter()
        work(turn)
        taken.append((time.perf_counter() - begun) * 1000)
    return statistics.median(taken)


def _in_transaction(store: Store, work: Callable[[sa.Connection], object]) -> None:
    with store.engine.begin() as connection:
        work(connection)


# -- the ways into it -----------------------------------------------------------------------------


def _ways(server: Any) -> list[Figure]:
    start = wall_ms() // DAY * DAY
    rows = _page(start)
    with _store(server) as store:
        _in_transaction(store, lambda db: db.exec_driver_sql(_TABLE))
        ways = {
            "COPY beside the table, and from there into it": partial(_copy_beside, rows),
            "arrays of columns": partial(_arrays, rows),
            "rows as parameters, 240 a statement": partial(_values, rows),
            "executemany": partial(_executemany, rows),
            "COPY straight into it (the floor)": partial(_copy_straight, rows),
        }
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(TURNS):
            for name, way in ways.items():
                symbol = f"{name}-{turn}"
                begun = time.perf_counter()
                _in_transaction(store, partial(way, symbol))
                taken[name].append((time.perf_counter() - begun) * 1000)
    medians = {name: statistics.median(found) for name, found in taken.items()}
    *others, floor = medians
    return [
        Figure(
            f"a page by {name}, over the floor",
            medians[name] / medians[floor],
            f"{medians[name]:.1f} ms over {medians[floor]:.1f} ms, {PAGE:,} rows and a commit",
        )
        for name in others
    ]


def _copy_beside(rows: Sequence[Candle], symbol: str, connection: sa.Connection) -> None:
    connection.exec_driver_sql(
        "CREATE TEMPORARY TABLE IF NOT EXISTS beside (LIKE plain) ON COMMIT DELETE ROWS"
    )
    _copy_into(connection, "beside", symbol, rows)
    connection.exec_driver_sql("INSERT INTO plain SELECT * FROM beside ON CONFLICT DO NOTHING")


def _copy_straight(rows: Sequence[Candle], symbol: str, connection: sa.Connection) -> None:
    _copy_into(connection, "plain", symbol, rows)


def _copy_into(connection: sa.Connection, table: str, symbol: str, rows: Sequence[Candle]) -> None:
    statement = f"COPY {table} ({_NAMES}) FROM STDIN (FORMAT BINARY)"
    with driver_of(connection).cursor() as cursor, cursor.copy(statement.encode()) as taking:
        taking.set_types(_KINDS)
        for row in rows:
            taking.write_row((symbol, "1m", *row, "historical_fill"))


def _arrays(rows: Sequence[Candle], symbol: str, connection: sa.Connection) -> None:
    doubles = ", ".join(["%s::float8[]"] * 7)
    connection.exec_driver_sql(
        f"INSERT INTO plain SELECT %s, '1m', *, 'historical_fill' "  # noqa: S608 - a constant
        f"FROM unnest(%s::int8[], {doubles}) ON CONFLICT DO NOTHING",
        (symbol, *map(list, zip(*rows, strict=True))),
    )


def _values(rows: Sequence[Candle], symbol: str, connection: sa.Connection) -> None:
    marks = f"({', '.join(['%s'] * 11)})"
    for at in range(0, len(rows), 240):
        some = [(symbol, "1m", *row, "historical_fill") for row in rows[at : at + 240]]
        connection.exec_driver_sql(
            f"INSERT INTO plain VALUES {', '.join([marks] * len(some))} ON CONFLICT DO NOTHING",  # noqa: S608
            tuple(value for row in some for value in row),
        )


def _executemany(rows: Sequence[Candle], symbol: str, connection: sa.Connection) -> None:
    marks = ", ".join(["%s"] * 11)
    connection.exec_driver_sql(
        f"INSERT INTO plain VALUES ({marks}) ON CONFLICT DO NOTHING",  # noqa: S608
        [(symbol, "1m", *row, "historical_fill") for row in rows],
    )


# -- more symbols ---------------------------------------------------------------------------------


def _widths(server: Any) -> list[Figure]:
    figures = []
    for width in WIDTHS:
        with _store(server) as store:
            figures += _width(store, [f"SIM{number}-USDT" for number in range(width)])
    return figures


def _width(store: Store, names: list[str]) -> list[Figure]:
    end = wall_ms() // DAY * DAY
    turns = 5 if len(names) < WIDTHS[-1] else 3

    def minute(turn: int) -> None:
        rows = [Rows(name, Source.LIVE, _page(end + turn * MINUTE, 1)) for name in names]
        _in_transaction(store, lambda db: candles.insert(db, Bar.M1, rows))

    def begin(_turn: int) -> None:
        span = Span(end - 7 * DAY, end + DAY)
        for some in blocks.portions(names, Bar.M1, span):
            store.read_here(lambda db: blocks.load(db, Bar.M1, span, some))  # noqa: B023

    minute(0)
    live = _median_ms(lambda turn: minute(turn + 1), turns)
    start = _median_ms(begin, turns)
    me = Me("bench", 1, "", "here", Bar.M1, ("all",), "", "token")
    _in_transaction(store, lambda db: fleet.beat(db, me, known=False))
    begun = time.perf_counter()
    _in_transaction(store, lambda db: fleet.claim(db, me, names, []))
    claimed = time.perf_counter() - begun
    beat = _median_ms(lambda _: _in_transaction(store, lambda db: fleet.beat(db, me, known=True)))
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
        with _store(server) as store:
            _in_transaction(
                store,
                lambda db: partitions.make(db, [now - n * partitions.WEEK for n in range(weeks)]),  # noqa: B023
            )

            def page(turn: int) -> None:
                rows = [Rows(f"SIM{turn}-USDT", Source.FILL, _page(end))]
                _in_transaction(store, lambda db: candles.insert(db, Bar.M1, rows))

            def read(turn: int) -> None:
                span = Span(end, end + DAY)
                store.read_here(lambda db: candles.page(db, f"SIM{turn}-USDT", Bar.M1, span, PAGE))

            page(-1)
            found[weeks] = _median_ms(page), _median_ms(read)
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
            members = [Member(f"agent {one}", f"egress {one}", ("all",)) for one in range(crew)]
            taken = _median_ms(
                lambda _: share_out("agent 0", members, listed),  # noqa: B023
                3,
            )
            fair = len(share_out("agent 0", members, listed).mine) * crew / width
            what = f"{width:,} symbols shared out among {crew} agents"
            figures.append(Figure(what, taken, f"one has {fair:.2f} of an equal share", " ms"))
    return figures
