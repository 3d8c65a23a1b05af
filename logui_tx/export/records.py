"""From stored messages to records: one a logged event, in the order of sessions and sequence numbers."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count, repeat

from attrs import define, field, frozen

from logui_tx.dialects import BY_NAME
from logui_tx.dialects.times import to_iso_8601
from logui_tx.errors import JournalError, UnknownSession
from logui_tx.export.text import one_line
from logui_tx.interfaces import IDialect
from logui_tx.journal.reader import JournalReader, Snapshot, StoredMessage
from logui_tx.model import EventColumns, Position, Record, Session

_COLLECT_AFTER = 100_000
"""Objects."""


@frozen
class Selection:
    """What is to be exported: of a flight, of one of its sessions, or of the sessions of these numbers,
    as the journal was at ``at``.

    ``since`` (inclusive) and ``until`` (exclusive) bound the time of receipt, in UNIX ms. It can be read
    more than once, and is the same each time.
    """

    reader: JournalReader
    flight_id: str
    at: Snapshot
    session_id: str | None = None
    since: int | None = None
    until: int | None = None
    numbers: Sequence[int] | None = None

    def sessions(self) -> Iterator[Session]:
        """Raises :class:`UnknownSession` where the session is not there, or of another flight."""
        if self.numbers is not None:
            found = sorted(self.reader.sessions_numbered(self.numbers), key=lambda session: session.number)
            yield from map(self.at.clip, found)
            return
        if self.session_id is None:
            yield from self.reader.sessions(self.flight_id, self.at)
            return
        session = self.reader.session(self.session_id)
        if session.flight_id != self.flight_id:
            raise UnknownSession(f"the flight has no session {self.session_id!r}")
        yield self.at.clip(session)

    def messages(self) -> Iterator[StoredMessage]:
        """Raises as :meth:`sessions`, and :class:`CorruptSegment`."""
        return self.reader.messages(self.sessions(), since=self.since, until=self.until)

    def events(self) -> int:
        """How many events the sessions hold: what is exported where no time bounds it."""
        return sum(session.events for session in self.sessions())


@define
class Tally:
    """How far an export is. ``advance`` is told the number of events that were just read or written."""

    advance: Callable[[int], None] = lambda events: None  # noqa: ARG005
    events: int = 0
    sessions: int = 0
    notes: list[str] = field(factory=list)
    """What the user should know about the file."""
    _session: int = 0

    def read(self, message: StoredMessage) -> None:
        """A message was looked at; it will be written later."""
        self.advance(message.count)

    def wrote(self, message: StoredMessage) -> None:
        """A message's events are in the file."""
        self.events += message.count
        if message.count and message.session.number != self._session:
            self.sessions += 1
            self._session = message.session.number
        self.advance(message.count)


@contextmanager
def rare_collections() -> Iterator[None]:
    """Within it Python seldom looks for cycles: there are none, and among so many messages it takes long."""
    before = gc.get_threshold()
    gc.set_threshold(_COLLECT_AFTER)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def dialect_of(session: Session) -> IDialect:
    """The dialect that reads a session's messages. Raises :class:`JournalError`."""
    dialect = BY_NAME.get(session.dialect)
    if dialect is None:
        raise JournalError(f"session {session.id} is in a dialect not known here: {session.dialect!r}")
    return dialect


def columns_of(message: StoredMessage) -> EventColumns:
    """A message's events, each on one line. Raises :class:`JournalError` where it cannot be read."""
    try:
        events = dialect_of(message.session).columns(one_line(message.message))
    except (ValueError, KeyError) as error:
        raise _unreadable(message, str(error)) from None
    if len(events.raw) != message.count:
        raise _unreadable(message, f"it has {len(events.raw)} events instead of {message.count}")
    return events


def records(message: StoredMessage, journal_id: str) -> list[Record]:
    """A message's events as records. Raises as :func:`columns_of`."""
    events = columns_of(message)
    segment, first = message.segment, message.first_event
    places = range(first, first + message.count)
    app_data = one_line(message.app_data)
    told: Iterable[bytes]
    if events.app_data is None:
        told = repeat(app_data)
    else:
        told = [app_data if data is None else data for data in events.app_data]
    session = message.session
    stem = f"{journal_id}-{segment}-"
    # Without a loop of Python's: every event that is delivered goes through here.
    return list(
        map(
            Record,
            [f"{stem}{place}" for place in places],
            repeat(session.application_id),
            repeat(session.flight_id),
            repeat(session.id),
            count(message.first_seq),
            repeat(to_iso_8601(message.received)),
            events.times,
            repeat(message.clock_offset),
            repeat(session.dialect),
            told,
            map(bytes, events.raw),
            map(Position, repeat(segment), places),
        )
    )


def _unreadable(message: StoredMessage, why: str) -> JournalError:
    return JournalError(f"segment {message.segment}: a message of session {message.session.id}: {why}")
