"""Alembic's entry: migrate on the connection that `migrate.upgrade` hands over."""

from alembic import context

from blofin_agent.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
