"""Partitions: PostgreSQL keeps candles in a table a week, so that old ones go at a stroke.

A partition holds the candles that open in its week, counted from the epoch on. It is made with the
first candle that belongs there, or ahead of time, and found by its name: `candles_20261119` is of
the week that begins on that day (UTC). Where TimescaleDB keeps the candles there are none of ours.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

import sqlalchemy as sa

from blofin_agent.domain.candle import DAY, Timeframe
from blofin_agent.domain.coverage_blocks import block_ms
from blofin_agent.domain.time_range import TimeRange, subtract
from blofin_agent.store.errors import StoreUnavailable
from blofin_agent.store.postgresql import timescale
from blofin_agent.store.postgresql.connections import advisory_lock
from blofin_agent.store.schema import coverage_blocks

WEEK = 7 * DAY
WEEKS_AHEAD = 2
"""So many weeks' partitions are made ahead: each is there long before its first candle."""

_BOUND = re.compile(r"MINVALUE|MAXVALUE|-?\d+")
_ENDLESS = {"MINVALUE": -(2**63), "MAXVALUE": 2**63 - 1}
_REFUSED = "23514"
"""PostgreSQL's number for a row that no partition takes, whatever language it speaks."""
_KNOWN = "blofin_partitions"
"""Where a connection keeps which partitions it has seen."""


def week_of(time: int) -> int:
    """Return when the week begins (ms) that a time (ms) is in."""
    return time // WEEK * WEEK


def name(start: int) -> str:
    """Return the name of the partition that begins then (ms)."""
    day, rest = datetime.fromtimestamp(start // 1000, UTC), start % DAY
    return f"candles_{day:%Y%m%d}" + (f"_{rest}" if rest else "")


def make(connection: sa.Connection, times: Iterable[int]) -> None:
    """See to it that there is a partition for each of these times (ms)."""
    known: set[int] = connection.info.setdefault(_KNOWN, set())
    lacking = {week_of(time) for time in times} - known
    if not lacking:
        return
    if not is_partitioned(connection):
        known |= lacking
        return
    if absent := _absent(connection, lacking):
        advisory_lock(connection, "partitions")
        for span in _absent(connection, lacking):
            _make(connection, span)
    # What this transaction makes is gone again when it fails: it is known from the next on.
    known |= lacking - {week_of(span.start) for span in absent}


def make_ahead(connection: sa.Connection, now_ms: int) -> None:
    """Make the partitions of this week and the next ones."""
    make(connection, (now_ms + ahead * WEEK for ahead in range(WEEKS_AHEAD + 1)))


def forget(connection: sa.Connection) -> None:
    """Take nothing for known that was seen: a partition was dropped meanwhile."""
    connection.info.pop(_KNOWN, None)


def is_missing_partition(error: sa.exc.IntegrityError) -> bool:
    """Return whether a candle was refused because there is no partition for it."""
    return getattr(error.orig, "sqlstate", None) == _REFUSED


def drop_before(connection: sa.Connection, before_ms: int) -> int:
    """Drop the partitions all of whose candles open before a time (ms); return how many.

    The blocks of coverage that tell of them go too, as no trigger sees it. Who stores candles
    writes to blocks first, and so waits until this is done, or this for him.
    """
    connection.exec_driver_sql("LOCK TABLE coverage_blocks IN SHARE ROW EXCLUSIVE MODE")
    if timescale.is_hypertable(connection):
        if dropped := timescale.drop_before(connection, before_ms):
            _drop_blocks(connection, 0, week_of(before_ms))
        return dropped
    advisory_lock(connection, "partitions")
    old = [one for one in found(connection) if one.end <= before_ms]
    for one in old:
        connection.exec_driver_sql(f'DROP TABLE "{one.table}"')
    if old:
        _drop_blocks(connection, old[0].start, old[-1].end)
    forget(connection)
    return len(old)


def is_partitioned(connection: sa.Connection) -> bool:
    """Return whether the candles are in partitions of ours."""
    divided = "SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass('candles')"
    return bool(connection.exec_driver_sql(divided).scalar())


class Partition(NamedTuple):
    """A table with the candles that open in a span (ms), the end not included."""

    start: int
    end: int
    table: str


def found(connection: sa.Connection) -> list[Partition]:
    """Return the partitions that are there, the oldest first. Who cut them otherwise may."""
    rows = connection.exec_driver_sql(
        "SELECT relname, pg_get_expr(relpartbound, pg_class.oid) "
        "FROM pg_class JOIN pg_inherits ON inhrelid = pg_class.oid "
        "WHERE inhparent = to_regclass('candles')"
    )
    there = []
    for table, text in rows:
        bounds = _BOUND.findall(text.replace("DEFAULT", "MINVALUE MAXVALUE"))
        start, end = (_ENDLESS[one] if one in _ENDLESS else int(one) for one in bounds)
        there.append(Partition(start, end, table))
    return sorted(there)


def _drop_blocks(connection: sa.Connection, start: int, end: int) -> None:
    """Delete the blocks that tell of a part of the time from `start` to `end` (ms)."""
    c = coverage_blocks.c
    for bar in Timeframe:
        touched = sa.and_(c.start > start - block_ms(bar), c.start < end)
        connection.execute(sa.delete(coverage_blocks).where(c.bar == bar.value, touched))


def _absent(connection: sa.Connection, weeks: Iterable[int]) -> list[TimeRange]:
    """Return the time of these weeks, given by their starts (ms), for which there is none."""
    lacking = [TimeRange(start, start + WEEK) for start in sorted(weeks)]
    for one in found(connection):
        lacking = subtract(lacking, TimeRange(one.start, one.end))
    return lacking


def _make(connection: sa.Connection, span: TimeRange) -> None:
    """Make a partition. Others read and write meanwhile, as it is made first and then joined."""
    table = name(span.start)
    if connection.exec_driver_sql("SELECT to_regclass(%s)", (table,)).scalar() is not None:
        raise StoreUnavailable(
            f"there is a table {table} that is no partition of candles any more; attach it again, "
            "or give it another name"
        )
    connection.exec_driver_sql(f"CREATE TABLE {table} (LIKE candles INCLUDING DEFAULTS)")
    connection.exec_driver_sql(
        f"ALTER TABLE candles ATTACH PARTITION {table} FOR VALUES FROM ({span.start}) "
        f"TO ({span.end})"
    )
