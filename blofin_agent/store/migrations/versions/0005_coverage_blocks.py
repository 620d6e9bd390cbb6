"""Which candles are stored, as bits, beside the candles; and indexes for what a start reads."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
LENGTHS = {
    **{f"{count}m": count * MINUTE for count in (1, 3, 5, 15, 30)},
    **{f"{count}H": count * HOUR for count in (1, 2, 4, 6, 8, 12)},
    "1D": DAY,
    "3D": 3 * DAY,
    "1W": 7 * DAY,
}
_CASES = " ".join(f"WHEN '{bar}' THEN {length}" for bar, length in LENGTHS.items())

# Whoever deletes or moves candles, with whatever program: a block that would say too much goes.
_SQLITE = f"""
CREATE TRIGGER {{name}} AFTER {{event}} ON candles BEGIN
    DELETE FROM coverage_blocks
    WHERE bar = OLD.bar AND symbol = OLD.symbol
    AND start = OLD.open_time - OLD.open_time % (1440 * CASE OLD.bar {_CASES} END);
END
"""  # noqa: S608 - nothing of it comes from outside
_POSTGRESQL = f"""
CREATE FUNCTION candles_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM coverage_blocks USING (
        SELECT DISTINCT symbol, bar,
            open_time - open_time % (1440 * CASE bar {_CASES} END) AS start
        FROM changed
    ) AS gone
    WHERE coverage_blocks.bar = gone.bar AND coverage_blocks.start = gone.start
    AND coverage_blocks.symbol = gone.symbol;
    RETURN NULL;
END $$;
CREATE FUNCTION candles_truncated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM coverage_blocks;
    RETURN NULL;
END $$;
CREATE TRIGGER candles_deleted AFTER DELETE ON candles
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION candles_changed();
CREATE TRIGGER candles_moved AFTER UPDATE ON candles
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION candles_changed();
CREATE TRIGGER candles_truncated AFTER TRUNCATE ON candles
    FOR EACH STATEMENT EXECUTE FUNCTION candles_truncated();
"""  # noqa: S608 - likewise


def upgrade() -> None:
    """Make the table, empty: where no block is, the candles themselves are read."""
    op.create_table(
        "coverage_blocks",
        sa.Column("bar", sa.Text, primary_key=True),
        sa.Column("start", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("symbol", sa.Text, primary_key=True),
        sa.Column("held", sa.LargeBinary, nullable=False),
        sa.Column("live", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_unavailable_bar_end", "unavailable", ["bar", "end"])
    if op.get_bind().dialect.name == "sqlite":
        op.execute(_SQLITE.format(name="candles_deleted", event="DELETE"))
        columns = "symbol, bar, open_time, source"
        op.execute(_SQLITE.format(name="candles_moved", event=f"UPDATE OF {columns}"))
    else:
        op.execute(_POSTGRESQL)
