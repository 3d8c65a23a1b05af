"""Reads the journal forward from a position, as it was written: what sinks are given."""

from __future__ import annotations

import sqlite3
from bisect import bisect_left
from collections.abc import Iterator, Set
from contextlib import contextmanager
from math import inf

from attrs import define, field, frozen

from logui_tx.errors import CorruptSegment
from logui_tx.journal.reader import JournalReader, StoredMessage
from logui_tx.journal.segment import Kind, SegmentReader, slices
from logui_tx.model import Position, Session

_OF_SESSIONS = (Kind.OPENED, Kind.RESUMED, Kind.CHANGED, Kind.ENDED)

_AT_ONCE = 64
"""Records whose sessions are asked for together, which is much less work. A session's application-specific
data may be large."""


@frozen
class Part:
    """Of a stored message the events from ``start`` (from 0) to before ``stop``."""

    message: StoredMessage
    start: int
    stop: int


@define
class Stretch:
    """What stands between two positions, all under one ``journal_id``. ``events`` counts also those that were
    erased.

    ``sessions`` are those that began, went on, changed or ended, by number, as they stand by now;
    ``received`` is the time of the first event, in UNIX ms; ``size`` is about that of all in bytes,
    each event and session with its application-specific data.
    """

    first: Position
    after: Position
    journal_id: str
    parts: list[Part] = field(factory=list)
    sessions: dict[int, Session] = field(factory=dict)
    events: int = 0
    size: int = 0
    received: int | None = None


class JournalTail:
    """For one thread at a time; give it a connection of its own."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._segments = SegmentReader()
        self._sessions: dict[int, Session | None] = {}
        self.reader = JournalReader(connection)

    def read(self, first: Position, most: int, most_bytes: int) -> Stretch:
        """From ``first`` on at most ``most`` events and as many sessions, or one past ``most_bytes``.

        ``after`` is ``first`` where nothing stands there yet. Raises :class:`CorruptSegment`.
        """
        with self._one_state():
            stretch = self._begun(first)
            while stretch.events < most and stretch.size < most_bytes and len(stretch.sessions) < most:
                begin = stretch.after
                try:
                    if not self._read_on(stretch, most, most_bytes) or stretch.after == begin:
                        break
                except CorruptSegment:
                    # What is sound goes first.
                    if begin == first:
                        raise
                    break
            return stretch

    def read_to(self, first: Position, after: Position) -> Stretch:
        """What was read between these two positions before. Raises :class:`CorruptSegment`."""
        with self._one_state():
            stretch = self._begun(first)
            while stretch.after < after and self._read_on(stretch, until=after):
                pass
            stretch.after = after
            return stretch

    @contextmanager
    def _one_state(self) -> Iterator[None]:
        """The journal as it is now, whatever is written meanwhile.

        Else a session could be told as it was looked up for one segment, and its end in the next be passed.
        """
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._sessions.clear()

    def _begun(self, first: Position) -> Stretch:
        return Stretch(first, first, self.reader.identity.at(first.segment))

    def _read_on(
        self,
        stretch: Stretch,
        most: float = inf,
        most_bytes: float = inf,
        until: Position | None = None,
    ) -> bool:
        """Add the next segment, or as much of it as may be; False where there is none.

        Behind its events stand its sessions, in the order of their numbers: they are passed one by one, and
        one's place is its number behind the number of events.
        """
        row = self._connection.execute(
            "SELECT id, block FROM segment WHERE id >= ? ORDER BY id LIMIT 1", (stretch.after.segment,)
        ).fetchone()
        if row is None or (until is not None and until <= Position(row[0])):
            return False
        segment, block = row
        journal_id = self.reader.identity.at(segment)
        if stretch.after == stretch.first:
            stretch.journal_id = journal_id
        elif stretch.journal_id != journal_id:
            return False
        try:
            records, messages = self._segments.read(block)
        except CorruptSegment as error:
            raise CorruptSegment(f"segment {segment}: {error}") from None
        total = sum(record.count for record in records)
        begin = stretch.after.event if stretch.after.segment == segment else 0
        stop = int(min(total, begin + most - stretch.events))
        if until is not None and until.segment == segment:
            stop = min(stop, until.event)
        at = 0
        for number, (record, message) in enumerate(slices(records, messages)):
            start, end = max(begin, at), min(stop, at + record.count)
            if start < end:
                data = 0
                session = None
                if record.kind == Kind.EVENTS:
                    if record.session not in self._sessions:
                        self._look_up({one.session for one in records[number : number + _AT_ONCE]})
                    session = self._sessions[record.session]
                if session is not None:
                    app_data = self.reader.app_data(record.app_data)
                    if most_bytes < inf:
                        size = len(message) + len(app_data) * record.count
                        # Rounded up: the event that reaches the bound is still taken.
                        fit = -((stretch.size - most_bytes) * record.count // size)
                        end = min(end, start + max(1, int(fit)))
                    stored = StoredMessage(
                        session,
                        bytes(message),
                        record.first_seq,
                        record.count,
                        record.received,
                        record.clock_offset,
                        app_data,
                        segment,
                        at,
                    )
                    stretch.parts.append(Part(stored, start - at, end - at))
                    data = len(app_data)
                stretch.received = record.received if stretch.received is None else stretch.received
                stretch.events += end - start
                stretch.size += len(message) * (end - start) // record.count
                stretch.size += data * (end - start)
                if stretch.size >= most_bytes:
                    stop = end
            at += record.count
        if stop < total:
            stretch.after = Position(segment, stop)
            return True
        numbers = sorted({record.session for record in records if record.kind in _OF_SESSIONS})
        left = numbers[bisect_left(numbers, begin - total) :]
        if until is not None and until.segment == segment:
            left = left[: bisect_left(left, until.event - total)]
        stretch.after = Position(segment + 1)
        # As many bytes again as events may have: a few sessions go with the last of these.
        over = self._pass_sessions(stretch, left, most, stretch.size + most_bytes)
        if over is not None:
            stretch.after = Position(segment, total + over)
        return True

    def _pass_sessions(
        self, stretch: Stretch, numbers: list[int], most: float, most_bytes: float
    ) -> int | None:
        """Add these, as many as may be; the first for which there is no room, if there is one."""
        for number in numbers:
            if len(stretch.sessions) >= most or stretch.size >= most_bytes:
                return number
            session = self._session(number)
            if session is not None:
                stretch.sessions[number] = session
                stretch.size += len(session.app_data)
        return None

    def _session(self, number: int) -> Session | None:
        """None where it was erased."""
        self._look_up({number})
        return self._sessions[number]

    def _look_up(self, numbers: Set[int]) -> None:
        """Have these sessions at hand."""
        missing = sorted(numbers - self._sessions.keys())
        self._sessions.update(dict.fromkeys(missing))
        self._sessions.update((one.number, one) for one in self.reader.sessions_numbered(missing))
