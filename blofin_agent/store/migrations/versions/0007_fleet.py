"""A fleet: leases, owners of symbols, a budget for each address; partitions on PostgreSQL."""

import sqlalchemy as sa
from alembic import op

from blofin_agent.store.postgresql import partitions, timescale

revision = "0007"
down_revision = "0006"

_STATE = "until, strikes, probe, banned, reason, noted, share, share_since"

_CANDLES = "CREATE TABLE candles (LIKE candles_before INCLUDING DEFAULTS, {key}) {how}"
_KEY = "CONSTRAINT pk_candles PRIMARY KEY (symbol, bar, open_time)"
_PARTITIONED = "PARTITION BY RANGE (open_time)"
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
LENGTHS = {
    **{f"{count}m": count * MINUTE for count in (1, 3, 5, 15, 30)},
    **{f"{count}H": count * HOUR for count in (1, 2, 4, 6, 8, 12)},
    "1D": DAY,
    "3D": 3 * DAY,
    "1W": 7 * DAY,
}
_CASES = " ".join(f"WHEN '{bar}' THEN {length}" for bar, length in LENGTHS.items())
# As migration 0005 has it, but with long integers: blocks of bars from 30m on are longer than
# what fits into a short one.
_TRIGGERS = f"""
CREATE OR REPLACE FUNCTION candles_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM coverage_blocks USING (
        SELECT DISTINCT symbol, bar,
            open_time - open_time % (1440::bigint * CASE bar {_CASES} END) AS start
        FROM changed
    ) AS gone
    WHERE coverage_blocks.bar = gone.bar AND coverage_blocks.start = gone.start
    AND coverage_blocks.symbol = gone.symbol;
    RETURN NULL;
END $$;
CREATE TRIGGER candles_deleted AFTER DELETE ON candles
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION candles_changed();
CREATE TRIGGER candles_moved AFTER UPDATE ON candles
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION candles_changed();
CREATE TRIGGER candles_truncated AFTER TRUNCATE ON candles
    FOR EACH STATEMENT EXECUTE FUNCTION candles_truncated();
"""  # noqa: S608 - nothing of it comes from outside
# For TimescaleDB: row by row, see `store.timescale`.
_ROW_TRIGGERS = f"""
CREATE FUNCTION candle_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM coverage_blocks
    WHERE bar = OLD.bar AND symbol = OLD.symbol
    AND start = OLD.open_time - OLD.open_time % (1440::bigint * CASE OLD.bar {_CASES} END);
    RETURN NULL;
END $$;
CREATE TRIGGER candles_deleted AFTER DELETE ON candles
    FOR EACH ROW EXECUTE FUNCTION candle_changed();
CREATE TRIGGER candles_moved AFTER UPDATE ON candles
    FOR EACH ROW EXECUTE FUNCTION candle_changed();
CREATE TRIGGER candles_truncated AFTER TRUNCATE ON candles
    FOR EACH STATEMENT EXECUTE FUNCTION candles_truncated();
"""  # noqa: S608 - likewise


def upgrade() -> None:
    """Keep all that is stored."""
    text, time = sa.Text, sa.BigInteger
    for column in (
        sa.Column("lease", time, nullable=False, server_default="0"),
        sa.Column("token", text, nullable=False, server_default=""),
        sa.Column("egress", text, nullable=False, server_default=""),
        sa.Column("bar", text, nullable=False, server_default=""),
        sa.Column("wanted", text, nullable=False, server_default=""),
        sa.Column("page", text, nullable=False, server_default=""),
    ):
        op.add_column("service_heartbeats", column)
    op.create_table(
        "symbol_owners",
        sa.Column("bar", text, primary_key=True),
        sa.Column("symbol", text, primary_key=True),
        sa.Column("service", text, nullable=False),
        sa.Column("since", time, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_symbol_owners_service", "symbol_owners", ["service"])
    op.add_column("request_ledger", sa.Column("egress", text, nullable=False, server_default=""))
    op.create_index("ix_request_ledger_egress_id", "request_ledger", ["egress", "id"])
    op.rename_table("suspension", "suspension_before")
    op.create_table(
        "suspension",
        sa.Column("egress", text, nullable=False),
        sa.Column("until", time, nullable=False),
        sa.Column("strikes", sa.Integer, nullable=False),
        sa.Column("probe", time, nullable=False),
        sa.Column("banned", sa.Boolean, nullable=False),
        sa.Column("reason", text, nullable=False),
        sa.Column("noted", time, nullable=False, server_default="0"),
        sa.Column("share", sa.Double, nullable=False, server_default="1"),
        sa.Column("share_since", time, nullable=False, server_default="0"),
        sa.Column("connected", time, nullable=False, server_default="0"),
        # The name that it would have is that of the table before.
        sa.PrimaryKeyConstraint("egress", name=op.f("pk_suspension_of_egress")),
    )
    op.execute(f"INSERT INTO suspension SELECT '', {_STATE}, 0 FROM suspension_before")  # noqa: S608
    op.drop_table("suspension_before")
    if op.get_bind().dialect.name == "postgresql":
        _keys_with_symbol()
        _divide_candles()


def _keys_with_symbol() -> None:
    """Let every key have the symbol in it, as Citus needs it to spread a table."""
    for table in ("gap_fill_runs", "verifications", "replaced_candles"):
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT pk_{table}")
        op.execute(f"ALTER TABLE {table} ADD CONSTRAINT pk_{table} PRIMARY KEY (symbol, id)")
        op.create_index(f"ix_{table}_id", table, ["id"])
    # Each minute writes the same rows again.
    op.execute("ALTER TABLE coverage_blocks SET (fillfactor = 50)")


def _divide_candles() -> None:
    connection = op.get_bind()
    extension = timescale.extension(connection)
    op.rename_table("candles", "candles_before")
    op.execute("ALTER TABLE candles_before RENAME CONSTRAINT pk_candles TO pk_candles_before")
    how = "" if extension else _PARTITIONED
    op.execute(_CANDLES.format(key=_KEY, how=how))
    if extension:
        timescale.make_hypertable(connection, extension)
    else:
        weeks = connection.exec_driver_sql(
            f"SELECT DISTINCT open_time / {partitions.WEEK} FROM candles_before"  # noqa: S608
        ).scalars()
        partitions.make(connection, [week * partitions.WEEK for week in weeks])
    op.execute("INSERT INTO candles SELECT * FROM candles_before")
    op.drop_table("candles_before")
    op.execute(_ROW_TRIGGERS if extension else _TRIGGERS)
