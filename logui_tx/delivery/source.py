"""What is to be delivered, read from the journal in a thread of its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, TypeVar

from attrs import evolve, frozen
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from logui_tx.errors import JournalError, UnknownSession
from logui_tx.export.records import records
from logui_tx.journal import cursors
from logui_tx.journal.cursors import Cursor, DeadLetter
from logui_tx.journal.schema import open_reader
from logui_tx.journal.tail import JournalTail, Stretch
from logui_tx.model import Position, Record, Session, SinkBatch
from logui_tx.threads import daemon_pool

_T = TypeVar("_T")


@frozen
class Reading:
    """A batch, how many events of the journal it passes (also those that were erased), when the first of
    them was received (UNIX ms, None where there is none), and what of it is dead already."""

    batch: SinkBatch
    events: int
    received: int | None
    dead: Sequence[DeadLetter] = ()


class DeliverySource:
    """One reading connection, for all sinks. Everything fires in the reactor's thread.

    Deferreds fail with :class:`JournalError` where the journal cannot be read.
    """

    def __init__(self, reactor: Any, data_dir: Path) -> None:
        self._reactor = reactor
        self._data_dir = data_dir
        self._connection: sqlite3.Connection | None = None
        self._tail: JournalTail | None = None
        self._pool = daemon_pool("delivery", 1)
        self._pool.start()

    def cursor(self, name: str) -> Deferred[Cursor | None]:
        """Fires with how a sink stands; None for one that is not known."""
        return self._ask(lambda _tail: cursors.cursor(self._opened(), name))

    def read(self, cursor: Cursor, most: int, most_bytes: int) -> Deferred[Reading | None]:
        """Fires with what follows: the batch that is pending, or a new one; None where there is nothing."""

        def read(tail: JournalTail) -> Reading | None:
            if cursor.pending is not None and cursor.pending > cursor.position:
                reading = _reading(tail.read_to(cursor.position, cursor.pending))
                # It comes again as it was, whatever a step makes of it by now.
                return _without(
                    reading,
                    cursors.letters_between(self._opened(), cursor.name, cursor.position, cursor.pending),
                )
            return _read_on(tail, cursor.position, most, most_bytes)

        return self._ask(read)

    def read_from(self, first: Position, most: int, most_bytes: int) -> Deferred[Reading | None]:
        """Fires with what stands from ``first`` on; None where there is nothing."""
        return self._ask(lambda tail: _read_on(tail, first, most, most_bytes))

    def dead_letters(self, name: str, most: int) -> Deferred[list[DeadLetter]]:
        """Fires with some that are to be offered again."""
        return self._ask(lambda _tail: cursors.dead_letters(self._opened(), name, retries=True, limit=most))

    def read_letter(self, letter: DeadLetter) -> Deferred[SinkBatch]:
        """Fires with a dead letter as a batch of its own; with nothing in it where it was erased."""

        def read(tail: JournalTail) -> SinkBatch:
            first = Position(letter.segment, letter.event or 0)
            if letter.event is None:
                journal_id = tail.reader.identity.at(letter.segment)
                return SinkBatch(journal_id, first, first, (), _session(tail, letter.session_id))
            after = Position(letter.segment, letter.event + 1)
            batch = _reading(tail.read_to(first, after)).batch
            return SinkBatch(batch.journal_id, first, after, batch.records)

        return self._ask(read)

    def end(self) -> Deferred[Position]:
        """Fires with where the journal ends now."""
        return self._ask(lambda _tail: cursors.end(self._opened()))

    def behind(self, position: Position) -> Deferred[tuple[int, int | None]]:
        """Fires with how many events stand behind, and when the first was received (UNIX ms)."""
        return self._ask(lambda _tail: cursors.behind(self._opened(), position))

    def left_behind(self, names: Collection[str]) -> Deferred[list[tuple[str, int]]]:
        """Fires with the sinks that lack events and are not among these, and how many each lacks."""
        return self._ask(lambda _tail: cursors.left_behind(self._opened(), names))

    def stop(self) -> Deferred[None]:
        """Fires when the thread has ended."""
        stopped: Deferred[None] = Deferred()

        def close() -> None:
            if self._connection is not None:
                self._connection.close()

        self._pool.callInThread(close)
        self._pool.stop()
        stopped.callback(None)
        return stopped

    def _ask(self, ask: Callable[[JournalTail], _T]) -> Deferred[_T]:
        def asked() -> _T:
            try:
                connection = self._opened()
                if self._tail is None:
                    self._tail = JournalTail(connection)
                return ask(self._tail)
            except sqlite3.Error as error:
                raise JournalError(f"the journal cannot be read: {error}") from None

        answer: Deferred[_T] = deferToThreadPool(self._reactor, self._pool, asked)
        return answer

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = open_reader(self._data_dir)
        return self._connection


def _read_on(tail: JournalTail, first: Position, most: int, most_bytes: int) -> Reading | None:
    stretch = tail.read(first, most, most_bytes)
    return None if stretch.after == stretch.first else _reading(stretch)


def _reading(stretch: Stretch) -> Reading:
    found: list[Record] = []
    for part in stretch.parts:
        found += records(part.message, stretch.journal_id)[part.start : part.stop]
    batch = SinkBatch(
        stretch.journal_id, stretch.first, stretch.after, tuple(found), tuple(stretch.sessions.values())
    )
    return Reading(batch, stretch.events, stretch.received)


def _without(reading: Reading, dead: Sequence[DeadLetter]) -> Reading:
    places = {Position(one.segment, one.event) for one in dead if one.event is not None}
    left = tuple(record for record in reading.batch.records if record.position not in places)
    return evolve(reading, batch=evolve(reading.batch, records=left), dead=dead)


def _session(tail: JournalTail, session_id: str) -> tuple[Session, ...]:
    try:
        return (tail.reader.session(session_id),)
    except UnknownSession:
        return ()
