"""How far each sink is, and what it refused: the tables ``sink`` and ``dead_letter``.

Every function takes a connection and does its work in the transaction that the caller has begun. The server
has its own done by the journal's writer; those of ``logui sink`` come from another process, which raises
``generation`` when it moves a cursor, so that the server does not move it back.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from typing import Any

from attrs import field, frozen

from logui_tx.model import Position, SinkBatch

MAX_REASON = 500
"""Characters kept of a reason."""

_LETTER = "segment, event, session, at, reason, number, retry"
_COLUMNS = (
    "name, segment, event, pending_segment, pending_event, state, generation, paused, delivered, trouble,"
    " trouble_since, dead_letters, EXISTS (SELECT 1 FROM dead_letter WHERE sink = name AND retry),"
    " coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'erasures'), 0)"
)


@frozen
class Cursor:
    """How a sink stands: everything before ``position`` is delivered, or among its dead letters.

    ``pending`` is the end of a batch that may have been written; it begins at ``position``. ``retry`` tells
    whether some of the ``dead_letters`` are to be offered again. ``trouble_since`` in UNIX ms.
    ``erasures`` counts what was deleted from the journal: what was read before may hold it.
    """

    name: str
    position: Position
    pending: Position | None
    state: bytes
    generation: int
    paused: bool
    delivered: int
    trouble: str | None
    trouble_since: int | None
    dead_letters: int
    retry: bool
    erasures: int


@frozen
class DeadLetter:
    """What a sink refused: an event, or where ``event`` is None a session. ``at`` in UNIX ms.

    It holds no copy: what is deleted from the journal is gone from here, too. ``retry``: it is to be offered
    again.
    """

    segment: int
    event: int | None
    session_id: str
    at: int
    reason: str
    number: int = 0
    retry: bool = field(default=False, converter=bool)


def add(connection: sqlite3.Connection, name: str, position: Position) -> None:
    """A new sink begins at ``position``; one that is known goes on where it is."""
    connection.execute(
        "INSERT OR IGNORE INTO sink (name, segment, event) VALUES (?, ?, ?)",
        (name, position.segment, position.event),
    )


def cursors(connection: sqlite3.Connection) -> list[Cursor]:
    """All sinks to which this journal was ever delivered, by name."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM sink ORDER BY name").fetchall()  # noqa: S608 - our own
    return [_cursor(row) for row in rows]


def cursor(connection: sqlite3.Connection, name: str) -> Cursor | None:
    """One of them."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM sink WHERE name = ?", (name,)).fetchone()  # noqa: S608
    return _cursor(row) if row else None


def prepared(
    connection: sqlite3.Connection,
    name: str,
    generation: int,
    batch: SinkBatch,
    until: Position,
    dead: Sequence[DeadLetter],
    state: bytes,
) -> None:
    """The batch may be written from now on: without the ``dead``, and so it comes again.

    ``until`` is where that ends of which it is a part: of what is behind it, nothing is dead yet.
    """
    updated = connection.execute(
        "UPDATE sink SET pending_segment = ?, pending_event = ?, state = ? WHERE name = ? AND generation = ?",
        (batch.after.segment, batch.after.event, state, name, generation),
    )
    if updated.rowcount:
        _settle(connection, name, batch.first, until, dead)


def noted(connection: sqlite3.Connection, name: str, state: bytes) -> None:
    """The sink's own state, before a dead letter is written, whose bounds are known."""
    connection.execute("UPDATE sink SET state = ? WHERE name = ?", (state, name))


def moved(
    connection: sqlite3.Connection,
    name: str,
    generation: int,
    batch: SinkBatch,
    until: Position,
    dead: Sequence[DeadLetter],
    state: bytes,
) -> None:
    """Everything in the batch is delivered, and between its bounds there is no more but the ``dead``.

    ``until`` is as in :func:`prepared`. Letters of what was refused there before are settled by it, and those
    of its sessions.
    """
    updated = connection.execute(
        "UPDATE sink SET segment = ?, event = ?, pending_segment = NULL, pending_event = NULL, state = ?,"
        " delivered = delivered + ? WHERE name = ? AND generation = ?",
        (batch.after.segment, batch.after.event, state, len(batch.records), name, generation),
    )
    if updated.rowcount:
        _settle(connection, name, batch.first, until, dead)
        connection.executemany(
            "DELETE FROM dead_letter WHERE sink = ? AND event IS NULL AND session = ?",
            [(name, session.id) for session in batch.sessions],
        )


def _settle(
    connection: sqlite3.Connection, name: str, first: Position, until: Position, dead: Sequence[DeadLetter]
) -> None:
    """Of the events between these bounds, the ``dead`` have letters and no others."""
    kept = {(one.segment, one.event) for one in dead}
    gone = [
        (one.number,)
        for one in letters_between(connection, name, first, until)
        if (one.segment, one.event) not in kept
    ]
    connection.executemany("DELETE FROM dead_letter WHERE number = ?", gone)
    refused(connection, name, dead)


def refused(connection: sqlite3.Connection, name: str, dead: Sequence[DeadLetter]) -> None:
    """Set these apart; what was before stays as it is, with the newer reason."""
    connection.executemany(
        "INSERT INTO dead_letter (sink, segment, event, session, at, reason, retry)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (sink, segment, coalesce(event, -1), session)"
        " DO UPDATE SET at = excluded.at, reason = excluded.reason",
        [
            (name, one.segment, one.event, one.session_id, one.at, _text(one.reason), one.retry)
            for one in dead
        ],
    )


def troubled(connection: sqlite3.Connection, name: str, trouble: str | None, since: int | None) -> None:
    """What keeps a sink from taking anything, since when (UNIX ms); None when nothing does any more."""
    text = None if trouble is None else _text(trouble)
    connection.execute("UPDATE sink SET trouble = ?, trouble_since = ? WHERE name = ?", (text, since, name))


# --- dead letters


def dead_letters(
    connection: sqlite3.Connection, name: str, *, retries: bool = False, limit: int = -1
) -> list[DeadLetter]:
    """What a sink refused, oldest first; only those to be offered again with ``retries``."""
    rows = connection.execute(
        f"SELECT {_LETTER} FROM dead_letter WHERE sink = ?"  # noqa: S608 - our own
        f"{' AND retry' if retries else ''} ORDER BY number LIMIT ?",
        (name, limit),
    )
    return [DeadLetter(*row) for row in rows]


def letters_between(
    connection: sqlite3.Connection, name: str, first: Position, after: Position
) -> list[DeadLetter]:
    """Those of events from ``first`` to before ``after``."""
    # As the index has it: a batch is small, a segment and its letters need not be.
    event = "coalesce(event, -1)"
    parts: list[tuple[str, tuple[int, ...]]]
    if first.segment == after.segment:
        parts = [(f"segment = ? AND {event} >= ? AND {event} < ?", (first.segment, first.event, after.event))]
    else:
        parts = [
            (f"segment = ? AND {event} >= ?", (first.segment, first.event)),
            (f"segment > ? AND segment < ? AND {event} >= 0", (first.segment, after.segment)),
            (f"segment = ? AND {event} >= 0 AND {event} < ?", (after.segment, after.event)),
        ]
    found: list[DeadLetter] = []
    for where, bounds in parts:
        rows = connection.execute(
            f"SELECT {_LETTER} FROM dead_letter WHERE sink = ? AND {where}",  # noqa: S608 - our own
            (name, *bounds),
        )
        found += [DeadLetter(*row) for row in rows]
    return found


def taken(connection: sqlite3.Connection, number: int, name: str, state: bytes, delivered: int) -> None:
    """A dead letter was delivered after all, or is not in the journal any more."""
    connection.execute("DELETE FROM dead_letter WHERE number = ?", (number,))
    connection.execute(
        "UPDATE sink SET state = ?, delivered = delivered + ? WHERE name = ?", (state, delivered, name)
    )


def refused_again(connection: sqlite3.Connection, number: int, at: int, reason: str) -> None:
    """It stays where it is, with the newer reason."""
    connection.execute(
        "UPDATE dead_letter SET retry = 0, at = ?, reason = ? WHERE number = ?", (at, _text(reason), number)
    )


# --- what operators do


def pause(connection: sqlite3.Connection, name: str, paused: bool) -> None:
    """Deliver nothing to a sink, or go on."""
    connection.execute("UPDATE sink SET paused = ? WHERE name = ?", (int(paused), name))


def rewind(connection: sqlite3.Connection, name: str, position: Position) -> None:
    """Go on from ``position``, which may also lie ahead."""
    connection.execute(
        "UPDATE sink SET segment = ?, event = ?, pending_segment = NULL, pending_event = NULL,"
        " generation = generation + 1 WHERE name = ?",
        (position.segment, position.event, name),
    )


def retry(connection: sqlite3.Connection, name: str) -> int:
    """Offer all dead letters of a sink again; how many these are."""
    return connection.execute("UPDATE dead_letter SET retry = 1 WHERE sink = ?", (name,)).rowcount


def forget(connection: sqlite3.Connection, name: str) -> None:
    """A sink that is not used any more, and its dead letters."""
    connection.execute("DELETE FROM dead_letter WHERE sink = ?", (name,))
    connection.execute("DELETE FROM sink WHERE name = ?", (name,))


# --- who is delivered to


def configure(connection: sqlite3.Connection, names: Sequence[str]) -> None:
    """The server delivers to these, and to no others."""
    connection.execute("REPLACE INTO meta VALUES ('sinks', ?)", (json.dumps(list(names)),))


def configured(connection: sqlite3.Connection) -> frozenset[str] | None:
    """To whom the server delivers, or did when it ran; None where none has told yet."""
    row = connection.execute("SELECT value FROM meta WHERE key = 'sinks'").fetchone()
    return None if row is None else frozenset(json.loads(row[0]))


def left_behind(connection: sqlite3.Connection, names: Collection[str]) -> list[tuple[str, int]]:
    """Of the sinks that are not among these: those that lack events, and how many."""
    others = [each for each in cursors(connection) if each.name not in names]
    found = [(each.name, behind(connection, each.position)[0]) for each in others]
    return [(name, lacking) for name, lacking in found if lacking]


# --- how far it is


def behind(connection: sqlite3.Connection, position: Position) -> tuple[int, int | None]:
    """How many events stand behind ``position``, and when the first of its segment was received (UNIX ms)."""
    # Behind a segment's events stand its sessions, which nobody counts.
    left, first = connection.execute(
        "SELECT coalesce(sum(events - passed), 0), min(CASE WHEN events > passed THEN first_received END)"
        " FROM (SELECT events, first_received, CASE id WHEN ? THEN min(events, ?) ELSE 0 END AS passed"
        " FROM segment WHERE id >= ?)",
        (position.segment, position.event, position.segment),
    ).fetchone()
    return left, first


def end(connection: sqlite3.Connection) -> Position:
    """Behind everything."""
    (last,) = connection.execute("SELECT max(id) FROM segment").fetchone()
    return Position((last or 0) + 1)


def position_at(connection: sqlite3.Connection, moment: int) -> Position:
    """Before everything that was received at ``moment`` (UNIX ms) or later."""
    (first,) = connection.execute(
        "SELECT min(id) FROM segment WHERE last_received >= ?", (moment,)
    ).fetchone()
    return end(connection) if first is None else Position(first)


def _cursor(row: tuple[Any, ...]) -> Cursor:
    name, segment, event, pending_segment, pending_event, state, generation, paused, *rest = row
    pending = None if pending_segment is None else Position(pending_segment, pending_event)
    delivered, trouble, since, dead, retry, erasures = rest
    place, paused, retry = Position(segment, event), bool(paused), bool(retry)
    return Cursor(
        name, place, pending, state, generation, paused, delivered, trouble, since, dead, retry, erasures
    )


def _text(reason: str) -> str:
    """What may be written: a lone surrogate may not."""
    return reason[:MAX_REASON].encode("utf-8", "backslashreplace").decode()
