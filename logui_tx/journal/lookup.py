"""Finds a session in the journal, off the reactor's thread: what the session store has forgotten."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from attrs import asdict, fields
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from logui_tx.errors import UnknownSession
from logui_tx.journal.entry import SessionRow
from logui_tx.journal.reader import JournalReader
from logui_tx.journal.schema import open_reader
from logui_tx.journal.state import SessionState
from logui_tx.threads import daemon_pool


class SessionLookup:
    """One reading connection in a thread of its own."""

    def __init__(self, reactor: Any, data_dir: Path) -> None:
        self._reactor = reactor
        self._data_dir = data_dir
        self._connection: sqlite3.Connection | None = None
        self._reader: JournalReader | None = None
        self._pool = daemon_pool("journal lookup", 1)
        self._pool.start()

    def find(self, session_id: str) -> Deferred[SessionState | None]:
        """Fires with how the session stands, or None where there is none."""
        return deferToThreadPool(self._reactor, self._pool, self._find, session_id)

    def stop(self) -> Deferred[None]:
        """Fires when the thread has ended."""
        stopped: Deferred[None] = Deferred()
        self._pool.callInThread(self._close)
        self._pool.stop()
        stopped.callback(None)
        return stopped

    def _find(self, session_id: str) -> SessionState | None:
        if self._reader is None:
            self._connection = open_reader(self._data_dir)
            self._reader = JournalReader(self._connection)
        try:
            session = self._reader.session(session_id)
        except UnknownSession:
            return None
        known = asdict(session)
        return SessionState(
            row={field.name: known[field.name] for field in fields(SessionRow)},
            number=session.number,
            version=self._reader.app_data_version(session.number),
            last_activity=session.last_activity,
            last_seq=session.last_seq,
            app_data=session.app_data,
            payload_ids=self._reader.payload_ids(session.number),
            end_reason=session.end_reason,
            refused=self._reader.refused_ids(session.number),
        )

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
