"""Work of others in the journal's commits: a sink's cursor, a dead letter. It fails alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from attrs import define, field

from logui_tx.errors import NotStored

_OF_THE_DISK = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


@define(eq=False)
class Work:
    """Statements that are executed in a commit, in the writer's thread, between a savepoint and its release.

    What goes wrong with them is in ``failed``, and pages' events, in the same commit, are stored
    nevertheless. Only what ends the transaction as a whole, or is the disk's fault, is the commit's.
    """

    do: Callable[[sqlite3.Connection], None]
    failed: NotStored | None = field(default=None, init=False)

    def __call__(self, connection: sqlite3.Connection) -> None:
        """Do it; ``connection`` is in a transaction."""
        connection.execute("SAVEPOINT work")
        try:
            self.do(connection)
        except Exception as error:
            code = getattr(error, "sqlite_errorcode", 0) or 0
            if not connection.in_transaction or code & 0xFF in _OF_THE_DISK:
                raise
            connection.execute("ROLLBACK TO work")
            self.failed = NotStored(f"it could not be noted: {error}")
        connection.execute("RELEASE work")
