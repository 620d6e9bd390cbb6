"""Laws of the migrations: what they make, and that nothing is lost by them."""

from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from blofin_agent.domain.backfill_run import BackfillRun, RunTrigger
from blofin_agent.domain.candle import DAY, MINUTE, Candle, CandleBatch, Source, Timeframe
from blofin_agent.store import migrate
from blofin_agent.store.database import open_store
from blofin_agent.store.errors import StoreUnusable
from blofin_agent.store.postgresql import partitions
from blofin_agent.store.schema import metadata
from blofin_agent.store.tables import backfill_runs, candles
from blofin_agent.store.url import parse

T = 1_790_000_000_000 // DAY * DAY
FIGURES = "2.5, 3, 1, 2, 10, 0.5, 20, 'blofin_ws'"
COUNTS = "1, 2, 3, 4, 5, 6, 7"


def default(context, _column, _wanted, found, _default, wanted):
    """Whether a default differs. Alembic does not see that SQLite's ('') is an empty text."""
    if context.dialect.name == "sqlite":
        return (found or "").strip("()'") != (wanted or "")
    return None


def test_the_migrations_give_the_tables_of_the_schema(store):
    """Columns, types, defaults and indexes; on PostgreSQL three more, for keys with the symbol."""
    with store.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": default}
        )
        found = [(what, index.name) for what, index in compare_metadata(context, metadata)]
    tables = [] if store.file_monitor else ["gap_fill_runs", "replaced_candles", "verifications"]
    assert sorted(found) == [("remove_index", f"ix_{table}_id") for table in tables]


@pytest.mark.postgresql
def test_every_key_of_a_table_with_a_symbol_has_it_in_it(store):
    """So that the table can be spread over many servers by it."""
    look = sa.inspect(store.engine)
    keys = {}
    for table in look.get_table_names():
        if "symbol" in [column["name"] for column in look.get_columns(table)]:
            unique = [index["column_names"] for index in look.get_indexes(table) if index["unique"]]
            keys[table] = [look.get_pk_constraint(table)["constrained_columns"], *unique]
    assert {"candles", "gap_fill_runs", "instruments", "symbol_owners"} < keys.keys()
    for table, found in keys.items():
        assert all("symbol" in key for key in found), table
    assert keys["candles"] == [["symbol", "bar", "open_time"]]
    assert keys["verifications"] == [["symbol", "id"]]


def test_the_newest_migration_is_the_one_that_is_asked_for(store):
    """It is named in a place of its own, so that Alembic need not be loaded."""
    scripts = ScriptDirectory(str(Path(migrate.__file__).with_name("migrations")))
    assert scripts.get_current_head() == migrate.HEAD
    with store.engine.connect() as connection:
        assert MigrationContext.configure(connection).get_current_revision() == migrate.HEAD


def contents(url):
    """What stands in each table: its rows, by their columns."""
    engine = sa.create_engine(parse(url), poolclass=sa.NullPool)
    with engine.connect() as connection:
        reflected = sa.MetaData()
        reflected.reflect(connection)
        return {
            name: [dict(row) for row in connection.execute(table.select()).mappings()]
            for name, table in reflected.tables.items()
        }


def kept(before, after):
    """See that what stood in each table stands there still."""
    assert after["alembic_version"] == [{"version_num": migrate.HEAD}]
    for name in before.keys() - {"alembic_version"}:
        # A suspension had a number once, where it has an address now.
        columns = [column for column in before[name][0] if (name, column) != ("suspension", "id")]
        then, now = (
            sorted(repr([row[column] for column in columns]) for row in tables[name])
            for tables in (before, after)
        )
        assert now == then, name


def test_a_database_of_the_first_schema_is_upgraded_without_loss(old, sql):
    """What it holds is there afterwards, in tables that have become more."""
    url = old("0001")
    for time in (60_000, T, T + 9 * DAY):
        sql(url, f"INSERT INTO candles VALUES ('A', '1m', {time}, {FIGURES})")
    run = f"7, 1, 2, 'A', '1m', 'heal', {COUNTS}, 8, 9, 0.5, 1, 'partial', ''"
    sql(url, f"INSERT INTO gap_fill_runs VALUES ({run})")
    sql(url, "INSERT INTO unavailable VALUES ('A', '1m', 1, 2, 3, 4, 5)")
    sql(url, "INSERT INTO instruments VALUES ('A', 7, 'live', 8)")
    sql(url, "INSERT INTO request_ledger VALUES (3, 1, 'candles')")
    sql(url, "INSERT INTO service_heartbeats VALUES ('agent', 1, 2, 'x')")
    sql(url, "UPDATE suspension SET until = 7, strikes = 2")
    before = contents(url)
    assert all(before.values())
    open_store(url).close()
    after = contents(url)
    kept(before, after)
    assert before.keys() < after.keys() >= metadata.tables.keys()


@pytest.fixture
def sixth(old, sql):
    """Return the URL of a database of version 0006 that has something in each table."""
    url = old("0006")
    for bar, times in (("1m", (0, T, T + MINUTE, T + 30 * DAY)), ("4H", (T,)), ("1W", (T,))):
        for time in times:
            sql(url, f"INSERT INTO candles VALUES ('A', '{bar}', {time}, {FIGURES})")
    four = T // (240 * DAY) * 240 * DAY
    block = "INSERT INTO coverage_blocks VALUES (:bar, :start, 'A', :bits, :bits)"
    sql(url, block, bar="1m", start=T, bits=b"\1\2")
    sql(url, block, bar="4H", start=four, bits=b"\1\2")
    run = f"7, 1, 2, 'A', '1m', 'heal', {COUNTS}, 8, 9, 0.5, 1, 'partial', ''"
    sql(url, f"INSERT INTO gap_fill_runs VALUES ({run})")
    sql(url, f"INSERT INTO gap_fill_runs VALUES ({run.replace('7', '8', 1)})")
    one = f"5, 1, 2, 'A', '1m', 1, 2, 3, 4, {COUNTS}, 8, 9, 1, 'equal', 'x'"
    sql(url, f"INSERT INTO verifications VALUES ({one})")
    sql(url, f"INSERT INTO replaced_candles VALUES (6, 'A', '1m', {T}, {FIGURES}, 7)")
    sql(url, "INSERT INTO ticks VALUES ('A', '1', 1, 2, 3, 'buy', 'blofin_ws')")
    sql(url, "INSERT INTO unavailable VALUES ('A', '1m', 1, 2, 3, 4, 5)")
    sql(url, "INSERT INTO instruments VALUES ('A', 7, 'live', 8)")
    sql(url, "INSERT INTO request_ledger VALUES (3, 1, 'candles')")
    sql(url, "INSERT INTO service_heartbeats VALUES ('agent', 1, 2, 'x')")
    sql(url, "UPDATE suspension SET until = 7, strikes = 2, probe = 3, banned = true, noted = 4")
    sql(url, "UPDATE suspension SET reason = 'why', share = 0.5, share_since = 5")
    return url


def test_the_version_before_is_upgraded_without_loss(sixth):
    """Each row of each table; on PostgreSQL candles are moved to the partitions of their weeks."""
    before = contents(sixth)
    assert all(before.values())
    with closing(open_store(sixth)) as store:
        kept(before, contents(sixth))
        if store.file_monitor is None:
            there = store.read_here(partitions.found)
            weeks = {partitions.week_of(row["open_time"]) for row in before["candles"]}
            assert {one.start for one in there} == weeks


def test_after_an_upgrade_the_store_goes_on_where_it_was(sixth, sql):
    """What is there is not stored again, ids go on, the suspension is that of all requests."""
    batch = [CandleBatch("A", Source.FILL, [Candle(T + n * MINUTE, *[1.0] * 7) for n in range(5)])]
    with closing(open_store(sixth)) as store, store.engine.begin() as connection:
        assert candles.insert(connection, Timeframe.M1, batch) == [3]
        if store.file_monitor is None:
            # The rows above were written with their ids.
            connection.exec_driver_sql("SELECT setval('gap_fill_runs_id_seq', 8)")
        backfill_runs.record(connection, BackfillRun("A", "1m", RunTrigger.HEAL, 1))
        assert connection.exec_driver_sql("SELECT max(id) FROM gap_fill_runs").scalar() == 9
    assert sql(sixth, "SELECT egress, until, share, connected FROM suspension") == [("", 7, 0.5, 0)]


def test_after_an_upgrade_a_deleted_candle_takes_its_block_with_it(sixth, sql):
    """The triggers are there still, for bars of any length."""
    open_store(sixth).close()
    sql(sixth, "DELETE FROM candles WHERE bar <> '1m'")
    assert sql(sixth, "SELECT bar FROM coverage_blocks") == [("1m",)]
    sql(sixth, f"UPDATE candles SET open_time = open_time + 1 WHERE open_time = {T + MINUTE}")
    assert sql(sixth, "SELECT bar FROM coverage_blocks") == []


def test_who_only_reads_an_old_database_is_told_in_one_line(old, sql):
    """And changes nothing in it."""
    url = old("0001")
    with pytest.raises(StoreUnusable, match="is not set up for this version"):
        open_store(url, read_only=True)
    assert sql(url, "SELECT * FROM alembic_version") == [("0001",)]


@pytest.mark.sqlite
def test_who_only_reads_an_old_file_does_not_touch_it(old):
    """Not a byte."""
    url = old("0001")
    path = Path(url.removeprefix("sqlite:///"))
    before = path.read_bytes()
    with pytest.raises(StoreUnusable):
        open_store(url, read_only=True)
    assert path.read_bytes() == before
