"""Runs migrations on the connection, and inside the transaction, that ``bridge.store.engine`` holds."""

from alembic import context

from bridge.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
context.run_migrations()
