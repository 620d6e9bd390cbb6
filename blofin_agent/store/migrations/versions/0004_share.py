"""The share of the limits that is ours, and when a suspension was noted."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add their columns: the whole of the limits is ours until a 429 says otherwise."""
    for column in (
        sa.Column("noted", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("share", sa.Double, nullable=False, server_default="1"),
        sa.Column("share_since", sa.BigInteger, nullable=False, server_default="0"),
    ):
        op.add_column("suspension", column)
