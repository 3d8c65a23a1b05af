"""Opening the registry's database, and bringing its tables up to date."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError

from logui_tx.errors import BadOption, DataFolderUnusable
from logui_tx.registry import migrations

FILE_NAME = "registry.sqlite"

# How long one waits for another process that is writing, in seconds.
_BUSY_TIMEOUT = 5.0

# Set as an execution option on connections that will not write, see _begin.
READ_ONLY = "logui_read_only"


def open_engine(uri: str | None, data_dir: Path) -> Engine:
    """The engine for a database URI; None means ``registry.sqlite`` in the data folder.

    A new file has mode 0600. Raises :class:`BadOption` for a URI that is not supported (its text never holds
    the URI, which may bear a password) and :class:`DataFolderUnusable` where the file cannot be made.
    """
    path = data_dir / FILE_NAME if uri is None else _sqlite_path(uri)
    try:
        # SQLite would make it with the umask's mode; its side files take over the mode of this one.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise DataFolderUnusable(f"the registry {path} cannot be opened: {error.strerror}") from error
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"timeout": _BUSY_TIMEOUT},
        hide_parameters=True,
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def migrate(engine: Engine) -> None:
    """Brings the tables to this version's form; quick when they are. Idempotent, safe in many processes.

    Raises :class:`DataFolderUnusable` for a database that a newer version wrote or that is none.
    """
    try:
        with engine.connect().execution_options(**{READ_ONLY: True}) as connection:
            if _revision(connection) == migrations.HEAD:
                return
        # On SQLite this waits for the write lock, so another process is either done or comes after us.
        with engine.begin() as connection:
            _upgrade(connection)
    except DBAPIError as error:
        raise DataFolderUnusable(
            f"the registry {engine.url.database} cannot be used: {error.orig}"
        ) from error


def _sqlite_path(uri: str) -> Path:
    supported = "only sqlite:///PATH is supported by this version"
    try:
        url = make_url(uri)
    except (ArgumentError, ValueError):
        raise BadOption(f"the database URI cannot be read; {supported}") from None
    if url.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise BadOption(f"a database of the kind {url.drivername!a} cannot be used; {supported}")
    if url.host or url.query:
        raise BadOption(f"a host or parameters in the database URI have no meaning; {supported}")
    if not url.database or url.database == ":memory:":
        raise BadOption(f"the registry cannot be kept in memory; {supported}")
    return Path(url.database)


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    """What every new SQLite connection needs."""
    # Transactions are begun by _begin alone: sqlite3 would begin them late, and none for DDL.
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = ON")
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        # SQLite does not wait for others here, whatever the timeout.
        _insist(lambda: connection.execute("PRAGMA journal_mode = WAL"))


def _insist(action: Callable[[], Any]) -> None:
    deadline = monotonic() + _BUSY_TIMEOUT
    while True:
        try:
            action()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or monotonic() > deadline:
                raise
            sleep(0.01)
        else:
            return


def _begin(connection: Connection) -> None:
    # A transaction that began by reading does not wait for the write lock, it fails at once (SQLITE_BUSY).
    read_only = connection.get_execution_options().get(READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _revision(connection: Connection) -> str | None:
    """The database's revision, None for an empty database."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def _upgrade(connection: Connection, to: str = "head") -> None:
    # Imported here: Alembic takes longer to import than everything else a command does.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    revision = _revision(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        raise DataFolderUnusable(
            f"the registry {connection.engine.url.database} was written by a newer version of logui-tx "
            f"(its revision is {revision!a}, this version knows none after {migrations.HEAD!a})"
        )
    command.upgrade(config, to)
