"""TimescaleDB, where its extension is in the database: a hypertable instead of partitions of ours.

Tried with TimescaleDB 2.28 on PostgreSQL 15. What differs: a trigger after a delete has to be one
for each row, or chunks cannot be compressed; `drop_chunks` sets off no trigger at all; and its
Apache edition, unlike the Community one, has no compression.
"""

from typing import NamedTuple

import sqlalchemy as sa

from blofin_agent.domain.candle import DAY

CHUNK_MS = 7 * DAY
COMPRESS_AFTER_MS = 14 * DAY
"""Chunks are compressed that end so long ago: to a quarter, as measured. Candles that come late
are stored in them all the same."""

_EXTENSION = """
SELECT quote_ident(nspname) AS schema, current_setting('timescaledb.license', true) AS license
FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
WHERE extname = 'timescaledb'
"""
_IS_HYPERTABLE = """
SELECT EXISTS (
    SELECT FROM timescaledb_information.hypertables
    WHERE hypertable_name = 'candles'
    AND (quote_ident(hypertable_schema) || '.candles')::regclass = to_regclass('candles')
)
"""
_NOW = """
CREATE OR REPLACE FUNCTION candles_now() RETURNS bigint LANGUAGE sql STABLE AS
$$ SELECT (extract(epoch FROM now()) * 1000)::bigint $$
"""
_COMPRESS = """
ALTER TABLE candles SET (
    timescaledb.compress,
    timescaledb.compress_segmentby = 'symbol, bar',
    timescaledb.compress_orderby = 'open_time'
)
"""


class TimescaleExtension(NamedTuple):
    """TimescaleDB in a database."""

    schema: str
    """Where its functions are, quoted where that is needed."""
    license: str | None
    """`timescale` is the Community edition; None when the library is not loaded."""


def extension(connection: sa.Connection) -> TimescaleExtension | None:
    """Return the extension, None when the database is without it or its library not loaded."""
    row = connection.exec_driver_sql(_EXTENSION).first()
    found = TimescaleExtension(*row) if row else None
    return found if found and found.license else None


def is_hypertable(connection: sa.Connection) -> bool:
    """Return whether TimescaleDB keeps the candles."""
    if extension(connection) is None:
        return False
    return bool(connection.exec_driver_sql(_IS_HYPERTABLE).scalar())


def make_hypertable(connection: sa.Connection, found: TimescaleExtension) -> None:
    """Make a hypertable of the empty table of candles, and let it be compressed if it can be."""
    run, at = connection.exec_driver_sql, found.schema
    run(
        f"SELECT {at}.create_hypertable('candles', 'open_time', chunk_time_interval => %s, "
        "create_default_indexes => false)",
        (CHUNK_MS,),
    )
    run(_NOW)
    run(f"SELECT {at}.set_integer_now_func('candles', 'candles_now')")
    if found.license == "timescale":
        run(_COMPRESS)
        run(
            f"SELECT {at}.add_compression_policy('candles', compress_after => %s)",
            (COMPRESS_AFTER_MS,),
        )


def drop_before(connection: sa.Connection, before_ms: int) -> int:
    """Drop the chunks all of whose candles open before a time (ms); return how many."""
    found = extension(connection)
    assert found is not None  # noqa: S101 - is_hypertable said so
    drop = f"SELECT {found.schema}.drop_chunks('candles', older_than => %s::bigint)"
    return len(connection.exec_driver_sql(drop, (before_ms,)).all())
