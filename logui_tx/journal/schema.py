"""The journal's tables, and how a connection to them is opened.

::

    meta       the journal's id, the sinks that are configured
    session    who and when; written once a session
    progress   what is current about a session: one small row, rewritten by every commit that concerns it
    app_data   the versions of a session's application-specific data, each whole
    instance   the last stored payloadID of each page load of a session
    segment    one row a commit: its time span, the sessions it holds, the block (see segment.py)
    sink, dead_letter   how far each sink is, and what it refused (see cursors.py)
    sessions   a view of session and progress

Identity and progress are apart because a busy commit rewrites the rows of all its sessions: the narrow ones
fit a hundred to a page.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from logui_tx.errors import DataFolderUnusable

FILE = "journal.sqlite"
VERSION = 5
"""``PRAGMA user_version``; a higher one was written by a later release."""

_BUSY_TIMEOUT = 10.0
_CHECKPOINT = 4096 * 1000
"""Bytes of log after which it is folded in: with four times as many the longest commits took 80 ms, not 7."""

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE session (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    flight_id TEXT NOT NULL,
    application_id TEXT NOT NULL,
    dialect TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    user_agent TEXT,
    origin TEXT,
    referrer TEXT,
    device TEXT,
    visitor_id TEXT,
    client_started_at INTEGER
);
CREATE INDEX session_of_flight ON session (flight_id);
CREATE TABLE progress (
    session INTEGER PRIMARY KEY REFERENCES session (number),
    events INTEGER NOT NULL DEFAULT 0,
    size INTEGER NOT NULL DEFAULT 0,
    last_seq INTEGER NOT NULL DEFAULT 0,
    first_segment INTEGER,
    last_segment INTEGER,
    last_activity INTEGER NOT NULL,
    app_data INTEGER,
    ended_at INTEGER,
    end_reason TEXT,
    refused BLOB
);
CREATE INDEX progress_open ON progress (session) WHERE ended_at IS NULL;
CREATE TABLE app_data (
    version INTEGER PRIMARY KEY AUTOINCREMENT,
    session INTEGER NOT NULL REFERENCES session (number),
    value BLOB NOT NULL
);
CREATE INDEX app_data_of_session ON app_data (session);
CREATE TABLE instance (
    session INTEGER NOT NULL REFERENCES session (number),
    name TEXT NOT NULL,
    last_payload_id INTEGER NOT NULL,
    PRIMARY KEY (session, name)
) WITHOUT ROWID;
CREATE TABLE segment (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    first_received INTEGER NOT NULL,
    last_received INTEGER NOT NULL,
    events INTEGER NOT NULL,
    sessions BLOB NOT NULL,
    block BLOB NOT NULL
);
"""

_SINKS = """
CREATE TABLE sink (
    name TEXT PRIMARY KEY,
    segment INTEGER NOT NULL,
    event INTEGER NOT NULL,
    pending_segment INTEGER,
    pending_event INTEGER,
    state BLOB NOT NULL DEFAULT x'',
    generation INTEGER NOT NULL DEFAULT 0,
    paused INTEGER NOT NULL DEFAULT 0,
    delivered INTEGER NOT NULL DEFAULT 0,
    trouble TEXT,
    trouble_since INTEGER
) WITHOUT ROWID;
CREATE TABLE dead_letter (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    sink TEXT NOT NULL,
    segment INTEGER NOT NULL,
    event INTEGER,
    session TEXT NOT NULL,
    at INTEGER NOT NULL,
    reason TEXT NOT NULL,
    retry INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX dead_letter_once ON dead_letter (sink, segment, coalesce(event, -1), session);
"""

# However many dead letters there are, a sink's cursor is read every second.
_LETTERS = """
ALTER TABLE sink ADD COLUMN dead_letters INTEGER NOT NULL DEFAULT 0;
UPDATE sink SET dead_letters = (SELECT count(*) FROM dead_letter WHERE sink = name);
CREATE TRIGGER dead_letter_more AFTER INSERT ON dead_letter
    BEGIN UPDATE sink SET dead_letters = dead_letters + 1 WHERE name = new.sink; END;
CREATE TRIGGER dead_letter_less AFTER DELETE ON dead_letter
    BEGIN UPDATE sink SET dead_letters = dead_letters - 1 WHERE name = old.sink; END;
CREATE INDEX dead_letter_retry ON dead_letter (sink, number) WHERE retry;
CREATE INDEX dead_letter_session ON dead_letter (sink, session) WHERE event IS NULL;
"""

_VIEW = """
CREATE VIEW sessions AS
    SELECT s.number, s.id, s.flight_id, s.application_id, s.dialect, s.started_at,
           p.ended_at, (p.ended_at - s.started_at) / 1000.0 AS duration, p.end_reason,
           p.events, p.size, p.last_seq, p.first_segment, p.last_segment, p.last_activity,
           coalesce((SELECT value FROM app_data WHERE version = p.app_data), CAST('{}' AS BLOB)) AS app_data,
           s.user_agent, s.origin, s.referrer, s.device, s.visitor_id,
           s.client_started_at
      FROM session AS s JOIN progress AS p ON p.session = s.number;
"""


def _statements(script: str) -> list[str]:
    return [statement for statement in script.strip().split(";\n") if statement]


# By the version that they begin with.
_UPGRADES = {
    1: ["ALTER TABLE session ADD COLUMN client_started_at INTEGER", "DROP VIEW sessions", _VIEW],
    2: _statements(_SINKS),
    3: _statements(_LETTERS),
    # Segments are written in another way; those that are there stay as they are.
    4: [],
}


def open_journal(data_dir: Path, *, create: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode that is durable at every commit; usable from one thread at a time.

    Raises :class:`DataFolderUnusable` where the journal is missing (unless ``create``), unreadable, or of a
    newer version.
    """
    path = data_dir / FILE
    if not create and not path.exists():
        raise DataFolderUnusable(f"there is no journal in {data_dir}: the server has not run there yet")
    try:
        connection = sqlite3.connect(
            path, timeout=_BUSY_TIMEOUT, isolation_level=None, check_same_thread=False, cached_statements=64
        )
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise DataFolderUnusable(f"the journal {path} cannot be opened: {error}") from None
    return connection


def open_reader(data_dir: Path) -> sqlite3.Connection:
    """A connection that cannot write; otherwise as :func:`open_journal`."""
    connection = open_journal(data_dir)
    connection.execute("PRAGMA query_only = ON")
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """What is written within is written as a whole, or not at all."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # a full disk ends it by itself
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def journal_id(connection: sqlite3.Connection) -> str:
    """The UUID that this journal was given when it was made; part of every record's id."""
    found: str = connection.execute("SELECT value FROM meta WHERE key = 'journal'").fetchone()[0]
    return found


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise DataFolderUnusable(
            f"the journal {path} was written by a newer version of logui-tx "
            f"(format {version}, this one knows {VERSION})"
        )
    if version == 0:
        # A block ends somewhere within its last page, and the rest of that is lost.
        connection.execute("PRAGMA page_size = 1024")
    _use_write_ahead_log(connection)
    connection.execute("PRAGMA synchronous = FULL")
    (page,) = connection.execute("PRAGMA page_size").fetchone()
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT // page}")
    # Deleted sessions must not stay readable in free pages.
    connection.execute("PRAGMA secure_delete = ON")
    if version == 0:
        path.chmod(0o600)
        named = f"INSERT INTO meta VALUES ('journal', '{uuid.uuid4()}')"  # noqa: S608 - our own
        _change(connection, 0, [*_statements(_TABLES + _SINKS + _LETTERS), _VIEW, named])
    elif version < VERSION:
        steps = [statement for at in range(version, VERSION) for statement in _UPGRADES[at]]
        _change(connection, version, steps)


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """SQLite itself does not wait where another process is just switching, too."""
    deadline = time.monotonic() + _BUSY_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                raise
        time.sleep(0.01)


def _change(connection: sqlite3.Connection, version: int, statements: Sequence[str]) -> None:
    """Bring the layout from ``version`` to the present one; 0 is that of an empty file."""
    with transaction(connection):
        # Another process may have done it while this one waited for the lock.
        if connection.execute("PRAGMA user_version").fetchone()[0] == version:
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")
