"""Alembic's entry: `registry.database` hands over the connection, so that an upgrade is one transaction."""

from alembic import context

from registry.tables import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, transactional_ddl=True, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
