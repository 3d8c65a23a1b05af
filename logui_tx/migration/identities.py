"""Which events of the files are in the journal already, and how often.

Two events of a file may be equal, and both are kept; an event that two files have is one. So each is counted:
as often as any one file has it, so often it is stored.
"""

from __future__ import annotations

import json
import sqlite3
from hashlib import blake2b

from logui_tx.dialects import json_text

_TABLE = (
    "CREATE TABLE event (identity BLOB PRIMARY KEY, stored INTEGER NOT NULL, came INTEGER NOT NULL,"
    " file INTEGER NOT NULL) WITHOUT ROWID"
)
_CAME = (
    "INSERT INTO event VALUES (?, 0, 1, ?) ON CONFLICT (identity) DO UPDATE SET"
    " came = CASE file WHEN excluded.file THEN came + 1 ELSE 1 END, file = excluded.file"
    " RETURNING came > stored"
)
_STORED = "INSERT INTO event VALUES (?, 1, 0, 0) ON CONFLICT (identity) DO UPDATE SET stored = stored + 1"


class Identities:
    """For one thread. They lie in a temporary file, which is gone with the process: there may be millions."""

    def __init__(self) -> None:
        # SQLite's own name for a private file that it removes; it stays in memory as long as it is small.
        self._connection = sqlite3.connect("", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.execute(_TABLE)
        self._file = 1

    def stored(self, identity: bytes) -> None:
        """The journal has such an event, or one more of them."""
        self._connection.execute(_STORED, (identity,))

    def is_new(self, identity: bytes) -> bool:
        """Whether the journal has fewer of them than came in this file by now."""
        (new,) = self._connection.execute(_CAME, (identity, self._file)).fetchone()
        return bool(new)

    def end_file(self) -> None:
        """What comes is another file's."""
        self._file += 1

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


def identity(session_id: str, event: bytes) -> bytes:
    """The same for the same event of a session, however it was exported; ``event`` is without ``_id``."""
    told = json.dumps(json_text.value(event), sort_keys=True)
    return blake2b(told.encode(), key=session_id.encode()[:64], digest_size=16).digest()
