"""Indexes for the last runs of a symbol, and for the last that ended in some way."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make them. Some millions of runs take some seconds."""
    for columns in (["symbol", "bar", "status", "id"], ["status", "bar", "id"]):
        op.create_index(f"ix_gap_fill_runs_{'_'.join(columns)}", "gap_fill_runs", columns)
