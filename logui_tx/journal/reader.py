"""Reads the journal while the server writes it: sessions, and their events in order and in constant memory.

Every query is short, so that a slow consumer never holds back the writer's checkpoints. What is read is what
was committed when the reading began; sessions grow meanwhile, the reading does not.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence

import msgspec
from attrs import evolve, fields, frozen

from logui_tx.errors import CorruptSegment, UnknownSession
from logui_tx.journal.identity import read_identity
from logui_tx.journal.segment import Kind, Record, SegmentReader, sessions_of, unpack_sessions
from logui_tx.model import Session

MEMORY = 64 * 1024 * 1024
"""Messages held at once while sessions that were recorded side by side are put into order."""

_SESSION_COST = 4096
"""What a session itself is taken to hold in memory, so that a million tiny ones do not count as nothing."""

_decode_refused = msgspec.json.Decoder(dict[str, list[int]]).decode

_PAGE = 256
_COLUMNS = ", ".join(field.name for field in fields(Session))


_Place = tuple[Session, Record, bytes, int, int]
"""A message that waits for its turn: what :class:`StoredMessage` is made from."""


class StoredMessage(msgspec.Struct, frozen=True, gc=False):
    """One stored message: ``count`` events of a session from ``first_seq`` on.

    ``segment`` and ``first_event`` (the place of its first event in the segment, from 0) make its events'
    ids; ``app_data`` is what was in force, encoded; ``received`` in UNIX ms, ``clock_offset`` in ms.
    """

    session: Session
    message: bytes
    first_seq: int
    count: int
    received: int
    clock_offset: int | None
    app_data: bytes
    segment: int
    first_event: int


@frozen
class Snapshot:
    """How far the journal reached at one moment: the numbers of its last session and its last segment."""

    session: int
    segment: int

    def clip(self, session: Session) -> Session:
        """The session as one whose messages end with this moment."""
        if session.last_segment is None or session.last_segment <= self.segment:
            return session
        return evolve(session, last_segment=self.segment)


@frozen
class Counts:
    """What the journal holds."""

    sessions: int
    events: int
    segments: int


class JournalReader:
    """For one thread at a time; give it a connection of its own (:func:`schema.open_reader`).

    ``memory`` bounds the messages held at once, in bytes; a single larger message is still read.
    """

    def __init__(self, connection: sqlite3.Connection, *, memory: int = MEMORY) -> None:
        self.connection = connection
        self._memory = memory
        self._segments = SegmentReader()
        self._known_data: dict[int, bytes] = {}
        self.identity = read_identity(connection)

    # --- sessions

    def session(self, session_id: str) -> Session:
        """Raises :class:`UnknownSession`."""
        try:
            row = self.connection.execute(
                f"SELECT {_COLUMNS} FROM sessions WHERE id = ?",  # noqa: S608 - our own column names
                (session_id,),
            ).fetchone()
        except UnicodeEncodeError:  # an argument that is no text: no session's id either
            row = None
        if row is None:
            raise UnknownSession(f"there is no session {session_id!r}")
        return Session(*row)

    def sessions_numbered(self, numbers: Sequence[int]) -> Iterator[Session]:
        """The sessions of these numbers, in any order; those that were erased are left out."""
        for at in range(0, len(numbers), _PAGE):
            some = numbers[at : at + _PAGE]
            rows = self.connection.execute(
                f"SELECT {_COLUMNS} FROM sessions WHERE number IN ({', '.join('?' * len(some))})",  # noqa: S608
                some,
            )
            yield from (Session(*row) for row in rows.fetchall())

    def snapshot(self) -> Snapshot:
        """How far the journal reaches now; with it, :meth:`sessions` can be asked again for the same."""
        row = self.connection.execute(
            "SELECT (SELECT max(number) FROM session), (SELECT max(id) FROM segment)"
        ).fetchone()
        return Snapshot(row[0] or 0, row[1] or 0)

    def sessions(self, flight_id: str | None = None, at: Snapshot | None = None) -> Iterator[Session]:
        """All sessions, or those of a flight, in the order in which they began.

        Those that began after the snapshot (by default: after the first was asked for) are left out, and
        :meth:`messages` of the others ends with it; what else they tell is newer.
        """
        at = at or self.snapshot()
        last = 0
        while True:
            condition, values = ("AND flight_id = ?", [flight_id]) if flight_id is not None else ("", [])
            rows = self.connection.execute(
                f"SELECT {_COLUMNS} FROM sessions WHERE number > ? AND number <= ? {condition}"  # noqa: S608
                f" ORDER BY number LIMIT {_PAGE}",
                [last, at.session, *values],
            ).fetchall()
            if not rows:
                return
            for row in rows:
                yield at.clip(Session(*row))
            last = rows[-1][0]

    def payload_ids(self, number: int) -> dict[str, int]:
        """The last stored payloadID of each instance of a session."""
        rows = self.connection.execute(
            "SELECT name, last_payload_id FROM instance WHERE session = ?", (number,)
        )
        return dict(rows.fetchall())

    def app_data_version(self, number: int) -> int:
        """The version of a session's application-specific data in force; 0 where it has none."""
        row = self.connection.execute("SELECT app_data FROM progress WHERE session = ?", (number,)).fetchone()
        return int(row[0] or 0) if row else 0

    def refused_ids(self, number: int) -> dict[str, list[int]]:
        """By instance of a session, the payloadIDs that were refused and have to come again."""
        row = self.connection.execute("SELECT refused FROM progress WHERE session = ?", (number,)).fetchone()
        return _decode_refused(row[0]) if row and row[0] else {}

    # --- events

    def messages(
        self, sessions: Iterable[Session], *, since: int | None = None, until: int | None = None
    ) -> Iterator[StoredMessage]:
        """The stored messages of ``sessions``, session by session, each in the order of its sequence numbers.

        ``since`` (inclusive) and ``until`` (exclusive) bound the time of receipt, in UNIX ms. Sessions that
        were recorded side by side are read in one pass as far as the memory allows.
        """
        for group in group_sessions(sessions, self._memory):
            if len(group) == 1:
                for place in self._collect(group, since, until):
                    yield self._stored(*place)
                continue
            found: dict[int, list[_Place]] = {session.number: [] for session in group}
            for place in self._collect(group, since, until):
                found[place[0].number].append(place)
            for places in found.values():
                for place in places:
                    yield self._stored(*place)

    def _collect(self, group: Sequence[Session], since: int | None, until: int | None) -> Iterator[_Place]:
        """The messages of the sessions, in the order in which they were stored.

        Without their application-specific data, which may be larger than they are: it is looked up when a
        message leaves the reader.
        """
        wanted = {session.number: session for session in group}
        for segment, block in self._blocks(group, since, until):
            try:
                records, messages = self._segments.read(block)
            except CorruptSegment as error:
                raise CorruptSegment(f"segment {segment}: {error}") from None
            first_event = at = 0
            for record in records:
                start, at = at, at + record.size
                session = wanted.get(record.session)
                if (
                    record.kind == Kind.EVENTS
                    and session is not None
                    and session.last_segment is not None
                    and segment <= session.last_segment
                    and (since is None or record.received >= since)
                    and (until is None or record.received < until)
                ):
                    yield session, record, bytes(messages[start:at]), segment, first_event
                first_event += record.count

    def _stored(
        self, session: Session, record: Record, message: bytes, segment: int, first_event: int
    ) -> StoredMessage:
        return StoredMessage(
            session,
            message,
            record.first_seq,
            record.count,
            record.received,
            record.clock_offset,
            self.app_data(record.app_data),
            segment,
            first_event,
        )

    def _blocks(
        self, group: Sequence[Session], since: int | None, until: int | None
    ) -> Iterator[tuple[int, bytes]]:
        """The segments that may hold events of the sessions, oldest first."""
        ends = [session.last_segment for session in group if session.last_segment is not None]
        starts = [session.first_segment for session in group if session.first_segment is not None]
        if not starts or not ends:
            return
        numbers = {session.number for session in group}
        at, end = min(starts), max(ends)
        while at <= end:
            rows = self.connection.execute(
                "SELECT id, first_received, last_received, sessions FROM segment"
                " WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?",
                (at, end, _PAGE),
            ).fetchall()
            if not rows:
                return
            at = rows[-1][0] + 1
            for number, first_received, last_received, held in rows:
                if (since is not None and last_received < since) or (
                    until is not None and first_received >= until
                ):
                    continue
                if numbers.isdisjoint(sessions_of(number, held)):
                    continue
                row = self.connection.execute("SELECT block FROM segment WHERE id = ?", (number,)).fetchone()
                if row is not None:
                    yield number, row[0]

    def app_data(self, version: int) -> bytes:
        """The application-specific data of this version, encoded."""
        data = self._known_data.get(version)
        if data is None:
            row = self.connection.execute(
                "SELECT value FROM app_data WHERE version = ?", (version,)
            ).fetchone()
            data = row[0] if row else b"{}"
            if len(self._known_data) >= _PAGE:
                self._known_data.clear()
            self._known_data[version] = data
        return data

    def jumps(self, session: Session) -> list[tuple[int, int]]:
        """Where the session's sequence goes on above a gap that others may fill: UNIX ms, and the number.

        Numbers between are another server's, or nobody's.
        """
        found = []
        for segment, block in self._blocks([session], None, None):
            try:
                records, _ = self._segments.read(block)
            except CorruptSegment as error:
                raise CorruptSegment(f"segment {segment}: {error}") from None
            found += [
                (record.received, record.first_seq)
                for record in records
                if record.kind == Kind.RESUMED and record.first_seq and record.session == session.number
            ]
        return found

    # --- the whole

    def check(self) -> Iterator[tuple[int, str]]:
        """Read every segment; yields the number of each that is damaged, and what is wrong with it."""
        at = 0
        while row := self.connection.execute(
            "SELECT id, block, sessions FROM segment WHERE id > ? ORDER BY id LIMIT 1", (at,)
        ).fetchone():
            at = row[0]
            try:
                self._segments.read(row[1])
                unpack_sessions(row[2])
            except CorruptSegment as error:
                yield at, str(error)

    def integrity(self, most: int) -> list[str]:
        """What SQLite finds wrong with its file, ``most`` faults at most; ``["ok"]`` where it is sound."""
        rows = self.connection.execute(f"PRAGMA integrity_check({most})").fetchall()
        return [str(row[0]) for row in rows]

    def counts(self) -> Counts:
        """What the journal holds now."""
        row = self.connection.execute(
            "SELECT (SELECT count(*) FROM session), (SELECT coalesce(sum(events), 0) FROM progress),"
            " (SELECT count(*) FROM segment)"
        ).fetchone()
        return Counts(*row)


def group_sessions(sessions: Iterable[Session], memory: int) -> Iterator[list[Session]]:
    """Neighbouring sessions whose messages fit into so many bytes together, without those that have none."""
    group: list[Session] = []
    size = 0
    for session in sessions:
        if not session.events:
            continue
        cost = session.size + _SESSION_COST
        if group and size + cost > memory:
            yield group
            group, size = [], 0
        group.append(session)
        size += cost
    if group:
        yield group
