"""Run by Alembic with the caller's open connection, whose transaction stays the caller's to commit."""

from alembic import context

from logui_tx.registry.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite alters a table by copying it
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
