"""The tables. Their names and columns are public: users query them.

All times are milliseconds since the epoch, UTC.
"""

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

Time = sa.BigInteger
# SQLite counts up only a column of exactly this type; PostgreSQL wants the long one.
RowId = sa.BigInteger().with_variant(sa.Integer, "sqlite")

candles = sa.Table(
    "candles",
    metadata,
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

# Which candles are stored, 1,440 bars a row, and which of these came live: see `core.blocks`. Where
# no row is, nothing is said. Triggers take away the row of a candle that is deleted or moved.
coverage_blocks = sa.Table(
    "coverage_blocks",
    metadata,
    # In this order, so that what all symbols get in a minute lies together.
    sa.Column("bar", sa.Text, primary_key=True),
    sa.Column("start", Time, primary_key=True, autoincrement=False),
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("held", sa.LargeBinary, nullable=False),
    sa.Column("live", sa.LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

gap_fill_runs = sa.Table(
    "gap_fill_runs",
    metadata,
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
    sa.Index(None, "symbol", "started"),
    sa.Index(None, "symbol", "bar", "status", "id"),
    sa.Index(None, "status", "bar", "id"),
)

ticks = sa.Table(
    "ticks",
    metadata,
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("trade_id", sa.Text, primary_key=True),
    sa.Column("ts", Time, nullable=False),
    sa.Column("price", sa.Double, nullable=False),
    sa.Column("size", sa.Double, nullable=False),
    sa.Column("side", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Index(None, "ts"),
    sqlite_with_rowid=False,
)

unavailable = sa.Table(
    "unavailable",
    metadata,
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("bar", sa.Text, primary_key=True),
    sa.Column("start", Time, primary_key=True, autoincrement=False),
    sa.Column("end", Time, nullable=False),
    sa.Column("proven_at", Time, nullable=False),
    sa.Column("checks", sa.Integer, nullable=False),
    sa.Column("next_check", Time, nullable=False),
    sa.Index(None, "bar", "end"),
    sqlite_with_rowid=False,
)

instruments = sa.Table(
    "instruments",
    metadata,
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("list_time", Time),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("seen", Time, nullable=False),
    sqlite_with_rowid=False,
)

request_ledger = sa.Table(
    "request_ledger",
    metadata,
    sa.Column("id", RowId, primary_key=True, autoincrement=True),
    sa.Column("started", Time, nullable=False),
    sa.Column("endpoint", sa.Text, nullable=False),
    sa.Column("egress", sa.Text, nullable=False, server_default=""),
    sa.Index(None, "started"),
    sa.Index(None, "egress", "id"),
)

# One row for each address from which requests are sent: whoever changes its budget locks it first.
suspension = sa.Table(
    "suspension",
    metadata,
    sa.Column("egress", sa.Text, primary_key=True),
    sa.Column("until", Time, nullable=False),
    sa.Column("strikes", sa.Integer, nullable=False),
    sa.Column("probe", Time, nullable=False),
    sa.Column("banned", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("noted", Time, nullable=False, server_default="0"),
    sa.Column("share", sa.Double, nullable=False, server_default="1"),
    sa.Column("share_since", Time, nullable=False, server_default="0"),
    # When the last websocket connection is or was made from there.
    sa.Column("connected", Time, nullable=False, server_default="0"),
)

service_heartbeats = sa.Table(
    "service_heartbeats",
    metadata,
    sa.Column("service", sa.Text, primary_key=True),
    sa.Column("started", Time, nullable=False),
    sa.Column("beat", Time, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    # What follows is of agents that share the symbols: see `store.fleet`. Until `lease`, by the
    # database's clock, the service is taken for living.
    sa.Column("lease", Time, nullable=False, server_default="0"),
    sa.Column("token", sa.Text, nullable=False, server_default=""),
    sa.Column("egress", sa.Text, nullable=False, server_default=""),
    sa.Column("bar", sa.Text, nullable=False, server_default=""),
    sa.Column("wanted", sa.Text, nullable=False, server_default=""),
    sa.Column("page", sa.Text, nullable=False, server_default=""),
)

# Which service keeps which symbol complete. While its lease lasts no other takes it.
symbol_owners = sa.Table(
    "symbol_owners",
    metadata,
    sa.Column("bar", sa.Text, primary_key=True),
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("service", sa.Text, nullable=False),
    sa.Column("since", Time, nullable=False),
    sa.Index(None, "service"),
    sqlite_with_rowid=False,
)

verifications = sa.Table(
    "verifications",
    metadata,
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
    sa.Index(None, "symbol", "started"),
)

# What `verify --repair` replaced, as it was before.
replaced_candles = sa.Table(
    "replaced_candles",
    metadata,
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
    sa.Index(None, "symbol", "open_time"),
)
