"""Alembic migrations, run at start by `blofin_agent.store.migrate`."""
