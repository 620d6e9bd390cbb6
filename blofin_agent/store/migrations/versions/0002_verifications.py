"""What `verify` found, and what it replaced."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

Time = sa.BigInteger
RowId = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the two tables."""
    op.create_table(
        "verifications",
        sa.Column("id", RowId, primary_key=True, autoincrement=True),
        sa.Column("started", Time, nullable=False),
        sa.Column("finished", Time, nullable=False),
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("bar", sa.Text, nullable=False),
        sa.Column("start", Time, nullable=False),
        sa.Column("end", Time, nullable=False),
        sa.Column("sample", sa.Integer),
        sa.Column("seed", sa.BigInteger),
        sa.Column("requests", sa.Integer, nullable=False),
        sa.Column("rate_limited", sa.Integer, nullable=False),
        sa.Column("rows_fetched", sa.Integer, nullable=False),
        sa.Column("compared", sa.Integer, nullable=False),
        sa.Column("different", sa.Integer, nullable=False),
        sa.Column("absent", sa.Integer, nullable=False),
        sa.Column("missing", sa.Integer, nullable=False),
        sa.Column("unanswered", sa.Integer, nullable=False),
        sa.Column("repaired", sa.Integer, nullable=False),
        sa.Column("added", sa.Integer, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
    )
    op.create_index("ix_verifications_symbol_started", "verifications", ["symbol", "started"])
    op.create_table(
        "replaced_candles",
        sa.Column("id", RowId, primary_key=True, autoincrement=True),
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("bar", sa.Text, nullable=False),
        sa.Column("open_time", Time, nullable=False),
        sa.Column("open", sa.Double, nullable=False),
        sa.Column("high", sa.Double, nullable=False),
        sa.Column("low", sa.Double, nullable=False),
        sa.Column("close", sa.Double, nullable=False),
        sa.Column("volume", sa.Double, nullable=False),
        sa.Column("volume_base", sa.Double, nullable=False),
        sa.Column("volume_quote", sa.Double, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("replaced_at", Time, nullable=False),
    )
    op.create_index(
        "ix_replaced_candles_symbol_open_time", "replaced_candles", ["symbol", "open_time"]
    )
