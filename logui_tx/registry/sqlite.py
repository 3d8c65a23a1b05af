"""The registry in an SQLite file: the default, for the servers and commands of one machine."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event

from logui_tx.errors import BadOption, DataFolderUnusable

FILE_NAME = "registry.sqlite"

# How long one waits for another process that is writing, in seconds.
_BUSY_TIMEOUT = 5.0

# Set as an execution option on connections that will not write, see _begin.
READ_ONLY = "logui_read_only"


def open_sqlite(path: Path) -> Engine:
    """The engine for a file, which is made with mode 0600 if absent. Raises :class:`DataFolderUnusable`."""
    try:
        _make(path)
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


def _make(path: Path) -> None:
    try:
        # SQLite would make it with the umask's mode; its side files take over the mode of this one.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        # Not opened to find out: closing it would take away the locks of a connection that this process has.
        if not path.is_file() or not os.access(path, os.R_OK | os.W_OK):
            code = errno.EISDIR if path.is_dir() else errno.EACCES
            raise OSError(code, os.strerror(code)) from None


def sqlite_path(url: URL) -> Path:
    """The file that a ``sqlite:`` URI names. Raises :class:`BadOption`."""
    if url.host or url.query:
        raise BadOption("a host or parameters in an SQLite URI have no meaning: sqlite:///PATH is expected")
    if not url.database or url.database == ":memory:":
        raise BadOption("the registry cannot be kept in memory: sqlite:///PATH is expected")
    return Path(url.database)


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    """What every new connection needs."""
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
