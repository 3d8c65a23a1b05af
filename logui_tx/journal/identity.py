"""By which id a journal is known, which is the beginning of its records' ids.

A journal that is put back from a backup gives the places of events that it has forgotten to others. Then it
takes a new id from there on (:func:`renew`): what stands before keeps its own, and is known where it is.
"""

from __future__ import annotations

import json
import sqlite3
import uuid

from attrs import frozen

from logui_tx.journal import cursors
from logui_tx.journal.schema import journal_id, transaction


@frozen
class Identity:
    """``spans`` are ids and the segments with which they begin, the oldest first; there is one at least."""

    spans: tuple[tuple[int, str], ...]

    def at(self, segment: int) -> str:
        """The id of which this segment's records are."""
        for first, one in reversed(self.spans):
            if segment >= first:
                return one
        return self.spans[0][1]

    @property
    def current(self) -> str:
        """That of what comes next."""
        return self.spans[-1][1]


def read_identity(connection: sqlite3.Connection) -> Identity:
    """The journal's."""
    row = connection.execute("SELECT value FROM meta WHERE key = 'journals'").fetchone()
    if row is None:
        return Identity(((0, journal_id(connection)),))
    return Identity(tuple((first, one) for first, one in json.loads(row[0])))


def renew(connection: sqlite3.Connection) -> str:
    """Give the journal a new id for what comes next, and return it. Nobody may write to it meanwhile."""
    fresh = str(uuid.uuid4())
    with transaction(connection):
        first = cursors.end(connection).segment
        before = [span for span in read_identity(connection).spans if span[0] < first]
        spans = json.dumps([*before, (first, fresh)])
        connection.execute("REPLACE INTO meta VALUES ('journals', ?)", (spans,))
        connection.execute("REPLACE INTO meta VALUES ('journal', ?)", (fresh,))
    return fresh
