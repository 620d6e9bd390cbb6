"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

Time = sa.BigInteger
RowId = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make every table."""
    op.create_table(
        "candles",
        sa.Column("symbol", sa.Text, primary_key=True),
        sa.Column("bar", sa.Text, primary_key=True),
        sa.Column("open_time", Time, primary_key=True, autoincrement=False),
        sa.Column("open", sa.Double, nullable=False),
        sa.Column("high", sa.Double, nullable=False),
        sa.Column("low", sa.Double, nullable=False),
        sa.Column("close", sa.Double, nullable=False),
        sa.Column("volume", sa.Double, nullable=False),
        sa.Column("volume_base", sa.Double, nullable=False),
        sa.Column("volume_quote", sa.Double, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "gap_fill_runs",
        sa.Column("id", RowId, primary_key=True, autoincrement=True),
        sa.Column("started", Time, nullable=False),
        sa.Column("finished", Time, nullable=False),
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("bar", sa.Text, nullable=False),
        sa.Column("trigger", sa.Text, nullable=False),
        sa.Column("missing_before", sa.Integer, nullable=False),
        sa.Column("missing_after", sa.Integer, nullable=False),
        sa.Column("gaps_found", sa.Integer, nullable=False),
        sa.Column("requests", sa.Integer, nullable=False),
        sa.Column("rate_limited", sa.Integer, nullable=False),
        sa.Column("rows_fetched", sa.Integer, nullable=False),
        sa.Column("rows_inserted", sa.Integer, nullable=False),
        sa.Column("first_gap", Time),
        sa.Column("last_gap", Time),
        sa.Column("coverage_before", sa.Double, nullable=False),
        sa.Column("coverage_after", sa.Double, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
    )
    op.create_index("ix_gap_fill_runs_symbol_started", "gap_fill_runs", ["symbol", "started"])
    op.create_table(
        "unavailable",
        sa.Column("symbol", sa.Text, primary_key=True),
        sa.Column("bar", sa.Text, primary_key=True),
        sa.Column("start", Time, primary_key=True, autoincrement=False),
        sa.Column("end", Time, nullable=False),
        sa.Column("proven_at", Time, nullable=False),
        sa.Column("checks", sa.Integer, nullable=False),
        sa.Column("next_check", Time, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "instruments",
        sa.Column("symbol", sa.Text, primary_key=True),
        sa.Column("list_time", Time),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("seen", Time, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "request_ledger",
        sa.Column("id", RowId, primary_key=True, autoincrement=True),
        sa.Column("started", Time, nullable=False),
        sa.Column("endpoint", sa.Text, nullable=False),
    )
    op.create_index("ix_request_ledger_started", "request_ledger", ["started"])
    op.create_table(
        "suspension",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("until", Time, nullable=False),
        sa.Column("strikes", sa.Integer, nullable=False),
        sa.Column("probe", Time, nullable=False),
        sa.Column("banned", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_table(
        "service_heartbeats",
        sa.Column("service", sa.Text, primary_key=True),
        sa.Column("started", Time, nullable=False),
        sa.Column("beat", Time, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
    )
    # One row for ever: whoever changes the budget locks it first.
    op.execute("INSERT INTO suspension VALUES (1, 0, 0, 0, false, '')")
