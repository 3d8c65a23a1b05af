"""Removes a session from the journal for good, while the server may be writing.

Each segment that holds the session is rewritten in a short transaction of its own: the messages go, and the
records that counted their events become :attr:`Kind.ERASED`, so that the events behind them keep their ids.
The session's rows go last; interrupted, it is simply done again. ``secure_delete`` wipes what the file frees,
a checkpoint what the log still holds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import msgspec
from attrs import frozen

from logui_tx.errors import CorruptSegment, JournalError, UnknownSession
from logui_tx.journal.schema import open_journal, transaction
from logui_tx.journal.segment import Kind, Record, SegmentReader, SegmentWriter, sessions_of, slices

_PAGE = 256
# Whoever has read something, and not yet passed it on, reads it again.
_COUNT = (
    "INSERT INTO meta VALUES ('erasures', '1')"
    " ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + 1"
)
# One statement a table; the table of identities comes last, so that nothing is orphaned.
_DELETE = (
    "DELETE FROM app_data WHERE session = ?",
    "DELETE FROM instance WHERE session = ?",
    "DELETE FROM progress WHERE session = ?",
    "DELETE FROM session WHERE number = ?",
)


@frozen
class Erasure:
    """What was erased. ``wiped`` is False where readers kept the journal's log from being folded in: until
    the server does so, at the latest when it stops, the log still holds copies of what is gone."""

    segments: int
    wiped: bool


def erase_session(data_dir: Path, session_id: str) -> Erasure:
    """Erase an ended session: its events, application-specific data, instances and rows.

    Raises :class:`UnknownSession`; :class:`JournalError` where it is open, also when it is resumed meanwhile,
    or where the journal cannot be written; :class:`CorruptSegment`; :class:`DataFolderUnusable`.
    """
    connection = open_journal(data_dir)
    try:
        number = _number(connection, session_id)
        rewritten = 0
        at = 0
        while True:
            numbers = _segments(connection, number, at)
            for segment in numbers:
                with transaction(connection):
                    _check_ended(connection, number, session_id)
                    rewritten += _rewrite(connection, segment, number)
            if numbers:
                at = numbers[-1]
                continue
            with transaction(connection):
                _check_ended(connection, number, session_id)
                # Nothing may have come while this was not looking: then there is more to rewrite.
                if not _segments(connection, number, at):
                    for statement in _DELETE:
                        connection.execute(statement, (number,))
                    connection.execute(_COUNT)
                    # A reason may quote what was refused.
                    connection.execute("DELETE FROM dead_letter WHERE session = ?", (session_id,))
                    break
        return Erasure(rewritten, _wipe_log(connection))
    except sqlite3.Error as error:
        raise JournalError(f"the journal cannot be written: {error}") from error
    finally:
        connection.close()


def _number(connection: sqlite3.Connection, session_id: str) -> int:
    try:
        row = connection.execute("SELECT number FROM session WHERE id = ?", (session_id,)).fetchone()
    except UnicodeEncodeError:  # an argument that is no text: no session's id either
        row = None
    if row is None:
        raise UnknownSession(f"there is no session {session_id!r}")
    return int(row[0])


def _check_ended(connection: sqlite3.Connection, number: int, session_id: str) -> None:
    row = connection.execute("SELECT ended_at FROM progress WHERE session = ?", (number,)).fetchone()
    if row is None:
        raise UnknownSession(f"there is no session {session_id!r} any more")
    if row[0] is None:
        raise JournalError(f"the session {session_id} is open: it can be deleted when it has ended")


def _segments(connection: sqlite3.Connection, number: int, after: int) -> list[int]:
    """Some of the next segments that hold the session, in order; empty where there are none."""
    row = connection.execute(
        "SELECT first_segment, last_segment FROM progress WHERE session = ?", (number,)
    ).fetchone()
    if row is None or row[0] is None:
        return []
    at, last = max(after + 1, row[0]), row[1]
    while at <= last:
        rows = connection.execute(
            "SELECT id, sessions FROM segment WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?", (at, last, _PAGE)
        ).fetchall()
        if not rows:
            return []
        found = [segment for segment, held in rows if number in sessions_of(segment, held)]
        if found:
            return found
        at = rows[-1][0] + 1
    return []


def _rewrite(connection: sqlite3.Connection, segment: int, number: int) -> bool:
    """Take the session out of a segment's block; False where there was nothing to take out."""
    row = connection.execute("SELECT block FROM segment WHERE id = ?", (segment,)).fetchone()
    if row is None:
        return False
    try:
        records, messages = SegmentReader().read(row[0])
    except CorruptSegment as error:
        raise CorruptSegment(f"segment {segment}: {error}") from None
    if not any(_holds_something(record, number) for record in records):
        return False
    block = SegmentWriter().block(*_without(records, messages, number))
    connection.execute("UPDATE segment SET block = ? WHERE id = ?", (block, segment))
    connection.execute(_COUNT)
    return True


def _without(
    records: Sequence[Record], messages: memoryview, number: int
) -> tuple[list[Record], list[bytes]]:
    kept: list[Record] = []
    left: list[bytes] = []
    for record, message in slices(records, messages):
        if record.session != number:
            kept.append(record)
            left.append(bytes(message))
        elif record.kind == Kind.EVENTS:
            kept.append(
                msgspec.structs.replace(record, kind=Kind.ERASED, app_data=0, size=0, clock_offset=None)
            )
        else:
            kept.append(msgspec.structs.replace(record, app_data=0, size=0, clock_offset=None))
    return kept, left


def _holds_something(record: Record, number: int) -> bool:
    return record.session == number and bool(record.kind == Kind.EVENTS or record.size or record.app_data)


def _wipe_log(connection: sqlite3.Connection) -> bool:
    """Fold the log into the file and empty it; False where readers are in the way for too long."""
    busy: int = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    return not busy
