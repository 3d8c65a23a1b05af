"""The registry in PostgreSQL, for servers on several machines."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text

from logui_tx.errors import BadOption, DatabaseUnusable
from logui_tx.postgresql import DEFAULTS, server_options, wrong_encoding

KINDS = ("postgresql", "postgres", "postgresql+psycopg")
"""How a URI for this module begins."""

# The server's own, for the registry.
_SERVER_OPTIONS = server_options(5.0)

# Connections that are kept, and those that may be made beside them for a while, a process.
_POOL_SIZE = 2
_MORE = 3

# Any number, the same in every release: who migrates holds this lock.
_MIGRATION_LOCK = 0x6C6F677569  # "logui"
_MIGRATION_TIMEOUT = "60s"


def open_postgresql(url: URL) -> Engine:
    """The registry's engine for a URI; nothing is connected yet. Raises as :func:`postgresql_engine`."""
    engine = postgresql_engine(url, _SERVER_OPTIONS)
    event.listen(engine, "connect", _check_encoding)
    return engine


def postgresql_engine(url: URL, options: str) -> Engine:
    """An engine for any PostgreSQL; what the URI gives as options comes after ``options`` and wins.

    Raises :class:`BadOption` where libpq does not know a parameter or the driver is missing; the text never
    holds the URI or anything that could be its password.
    """
    try:
        import psycopg
        from psycopg.conninfo import make_conninfo
    except ImportError:
        raise BadOption(
            "a PostgreSQL database needs the extra logui-tx[postgresql], which is not installed"
        ) from None
    query: dict[str, Any] = {**DEFAULTS, **url.query}
    query["options"] = f"{options} {url.query.get('options', '')}".strip()
    url = url.set(drivername="postgresql+psycopg", query=query)
    engine = create_engine(
        url,
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,  # so that the first question after a restart of PostgreSQL is answered
        pool_size=_POOL_SIZE,
        max_overflow=_MORE,
        pool_timeout=5,
        hide_parameters=True,
        # A pooler between us and the server does not keep them.
        connect_args={"prepare_threshold": None},
    )
    try:
        _, parameters = engine.dialect.create_connect_args(url)
        parameters.pop("context", None)
        make_conninfo(**parameters)
    except psycopg.ProgrammingError as error:
        raise BadOption(f"the database URI cannot be used: {' '.join(str(error).split())}") from None
    return engine


def lock_migration(connection: Connection) -> None:
    """Lets one process at a time go on; until the transaction ends."""
    # One that waits for others who migrate has more time than a question of the running server.
    for setting in ("statement_timeout", "lock_timeout"):
        connection.execute(text(f"SET LOCAL {setting} = '{_MIGRATION_TIMEOUT}'"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})


def _check_encoding(connection: Any, _record: object) -> None:
    why = wrong_encoding(connection)
    if why is not None:
        raise DatabaseUnusable(f"the registry: {why}")
