"""The registry in PostgreSQL, for servers on several machines.

What the URI does not say gets defaults with which nothing waits for ever: a connection that cannot be made, a
statement that a lock holds up, a machine that fell silent.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text

from logui_tx.errors import BadOption, DatabaseUnusable

KINDS = ("postgresql", "postgres", "postgresql+psycopg")
"""How a URI for this module begins."""

# libpq's parameters; times in seconds, but for tcp_user_timeout, which is in milliseconds.
_DEFAULTS = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "2",
    "tcp_user_timeout": "10000",
    "client_encoding": "utf8",
    "fallback_application_name": "logui-tx",
}

# The server's own, for the registry.
_SERVER_OPTIONS = "-c statement_timeout=5s -c lock_timeout=5s -c idle_in_transaction_session_timeout=30s"

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


def postgresql_engine(url: URL, server_options: str) -> Engine:
    """An engine for any PostgreSQL; what the URI gives as options comes after ``server_options`` and wins.

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
    query: dict[str, Any] = {**_DEFAULTS, **url.query}
    query["options"] = f"{server_options} {url.query.get('options', '')}".strip()
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
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise DatabaseUnusable(f"the registry needs a database whose encoding is UTF8, not {encoding}")
