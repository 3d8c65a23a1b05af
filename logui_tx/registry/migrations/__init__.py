"""The registry's Alembic environment; :func:`logui_tx.registry.database.migrate` drives it."""

# The newest revision in ``versions``. It stands here so that an up-to-date database is recognised
# without importing Alembic; a test holds it to the scripts.
HEAD = "0003"
