"""Past sessions and their events, into the journal: each event once, however often it is asked for.

The journal is the memory of it. A session's events of one file are counted, and the count of those that are
stored is kept as payloads' ids are (PROTOCOL, *Sending twice*); what the first of them is gives the count its
name. So a file that was imported in part, or has grown since, goes on where it stood, and another part of the
same session is not taken for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID, uuid5

from attrs import asdict, define, field, fields

from logui_tx.errors import UnknownSession
from logui_tx.journal.entry import Entry, SessionHandle, SessionRow
from logui_tx.journal.reader import JournalReader
from logui_tx.journal.segment import Kind
from logui_tx.migration.events import DIALECT, PastEvent, message
from logui_tx.migration.feed import JournalFeed
from logui_tx.migration.old_server import OldFlight, OldSession
from logui_tx.migration.runs import Run, Runs
from logui_tx.model import EndReason

MEMORY = 64 * 1024 * 1024
"""Bytes of events that may wait for the end of their messages, of all sessions together."""

_CLOSED, _LOST = EndReason.CLOSED.value, EndReason.LOST.value


@define
class Counts:
    """What became of sessions and events."""

    sessions: int = 0
    sessions_there: int = 0
    sessions_from_events: int = 0
    events: int = 0
    events_there: int = 0
    events_without_session: int = 0


@define(eq=False)
class _Part:
    """The events of a session in the file that is being read: how many came, how many are in the journal."""

    name: str
    stored: int
    came: int = 0


@define(eq=False)
class _PastSession:
    """A session of which events come. ``ended`` is when and why, as the journal has it; None if it is new."""

    handle: SessionHandle
    runs: Runs
    last_seq: int = 0
    stored: dict[str, int] = field(factory=dict)
    ended: tuple[int, str] | None = None
    opened: bool = False
    stopped: bool = False
    last_received: int = 0
    part: _Part | None = None

    @property
    def clock_offset(self) -> int | None:
        """The clock of the client minus that of the released server, in ms."""
        row = self.handle.row
        return None if row.client_started_at is None else row.client_started_at - row.started_at


class PastSessions:
    """Takes all sessions first, then file by file the events; :meth:`end` comes last.

    All raise :class:`JournalError` where the journal cannot be read or written.

    ``flights`` are those of the released server, ``now`` is the time of the import in UNIX ms: nothing was
    received after it. ``memory`` bounds the events that wait for the end of their messages, in bytes.
    """

    def __init__(
        self,
        feed: JournalFeed,
        reader: JournalReader,
        flights: Iterable[OldFlight],
        now: int,
        *,
        memory: int = MEMORY,
    ) -> None:
        self.counts = Counts()
        self.flights_with_rest: set[str] = set()
        self._feed = feed
        self._reader = reader
        self._applications = {flight.id: flight.application_id for flight in flights}
        self._now = now
        self._memory = memory
        self._waiting = 0
        self._touched: dict[str, _PastSession] = {}
        self._in_part: list[_PastSession] = []

    # --- what the released server's database tells

    def add(self, old: OldSession) -> None:
        """A session, with or without events; one that is there already may have ended since."""
        started_at = self._moment(old.started_at or 0, 0)
        known = self._load(old.id)
        if known is None:
            row = SessionRow(
                id=old.id,
                flight_id=old.flight_id,
                application_id=self._applications[old.flight_id],
                dialect=DIALECT.name,
                started_at=started_at,
                user_agent=old.user_agent,
                device=old.device,
                client_started_at=old.client_started_at,
            )
            known = _PastSession(SessionHandle(row), Runs(b"{}", begun=False))
            self._write(known, Kind.OPENED, started_at)
            self.counts.sessions += 1
        else:
            self.counts.sessions_there += 1
        ended_at = started_at if old.ended_at is None else self._moment(old.ended_at, started_at)
        if known.ended is None or (old.ended_at is not None and known.ended[0] < ended_at):
            self._write(known, Kind.ENDED, ended_at, end_reason=_LOST if old.ended_at is None else _CLOSED)

    def all_added(self) -> None:
        """There are no more of them: waits until those that are there can be found by their events."""
        self._feed.wait()

    # --- what its files tell

    def knows(self, flight_id: str) -> bool:
        """Whether the released server has a flight of this id."""
        return flight_id in self._applications

    def log(self, event: PastEvent) -> None:
        """The next event of the file; its flight is known."""
        session = self._find(event)
        part = session.part
        if part is None:
            name = f"import {event.identity()}"
            part = session.part = _Part(name, session.stored.get(name, 0))
            self._in_part.append(session)
        received = self._received(session, event)
        session.last_received = max(session.last_received, received)
        session.stopped = session.stopped or event.status == "stopped"
        part.came += 1
        if part.came <= part.stored:
            self.counts.events_there += 1
            return
        before = session.runs.size
        for run in session.runs.add(event, received):
            self._store(session, part, run)
        self._waiting += session.runs.size - before
        if self._waiting > self._memory:
            self._flush()

    def end_file(self) -> None:
        """All of the file was told; what comes is another's."""
        self._flush()
        for session in self._in_part:
            session.part = None
        self._in_part.clear()

    def end(self) -> None:
        """End every session of which events came, where the journal does not have it so already."""
        for session in self._touched.values():
            at, reason = session.last_received, _CLOSED if session.stopped else _LOST
            if session.ended is not None:
                if session.ended[0] > at:
                    at, reason = session.ended
                elif session.ended[1] == _CLOSED:
                    reason = _CLOSED
            if session.opened or session.ended != (at, reason):
                self._write(session, Kind.ENDED, at, end_reason=reason)

    # --- finding a session

    def _find(self, event: PastEvent) -> _PastSession:
        flight_id = event.flight_id
        assert flight_id is not None
        if event.session_id is not None:
            session = self._session(event.session_id, flight_id, event)
            row = session.handle.row
            if row.flight_id == flight_id and row.dialect == DIALECT.name:
                return session
        self.counts.events_without_session += 1
        self.flights_with_rest.add(flight_id)
        return self._session(session_of_the_rest(flight_id), flight_id, event)

    def _session(self, session_id: str, flight_id: str, event: PastEvent) -> _PastSession:
        session = self._touched.get(session_id)
        if session is None:
            session = self._load(session_id) or self._made_of(session_id, flight_id, event)
            self._touched[session_id] = session
        return session

    def _made_of(self, session_id: str, flight_id: str, event: PastEvent) -> _PastSession:
        """A session that only its events tell of: it began with the first."""
        row = SessionRow(
            id=session_id,
            flight_id=flight_id,
            application_id=self._applications[flight_id],
            dialect=DIALECT.name,
            started_at=self._moment(event.time, 0),
        )
        self.counts.sessions_from_events += 1
        return _PastSession(SessionHandle(row), Runs(b"{}", begun=False))

    def _load(self, session_id: str) -> _PastSession | None:
        """As the journal has it."""
        try:
            found = self._reader.session(session_id)
        except UnknownSession:
            return None
        assert found.ended_at is not None
        known = asdict(found)
        handle = SessionHandle(
            SessionRow(**{each.name: known[each.name] for each in fields(SessionRow)}),
            number=found.number,
            app_data=found.app_data,
            version=self._reader.app_data_version(found.number),
        )
        return _PastSession(
            handle,
            Runs(found.app_data, begun=found.last_seq > 0),
            last_seq=found.last_seq,
            stored=self._reader.payload_ids(found.number),
            ended=(found.ended_at, found.end_reason or _LOST),
        )

    # --- times

    def _received(self, session: _PastSession, event: PastEvent) -> int:
        """When the released server must have received it, which it did not keep: its time by that clock."""
        return self._moment(event.time - (session.clock_offset or 0), session.handle.row.started_at)

    def _moment(self, time: int, earliest: int) -> int:
        return max(earliest, min(time, self._now))

    # --- writing

    def _flush(self) -> None:
        """End all messages that are under way."""
        for session in self._in_part:
            assert session.part is not None
            for run in session.runs.end():
                self._store(session, session.part, run)
        self._waiting = 0

    def _store(self, session: _PastSession, part: _Part, run: Run) -> None:
        if not session.opened and session.ended is None:
            self._write(session, Kind.OPENED, session.handle.row.started_at)
        elif not session.opened:
            self._write(session, Kind.RESUMED, run.received)
        session.opened = True
        count = len(run.items)
        part.stored += count
        session.stored[part.name] = part.stored
        self._write(
            session,
            Kind.EVENTS,
            run.received,
            app_data=run.app_data,
            message=message(run.items),
            first_seq=session.last_seq + 1,
            count=count,
            clock_offset=session.clock_offset,
            payload_id=part.stored,
            instance=part.name,
        )
        session.last_seq += count
        self.counts.events += count

    def _write(
        self, session: _PastSession, kind: Kind, at: int, *, app_data: bytes | None = None, **details: Any
    ) -> None:
        in_force = session.runs.in_force if app_data is None else app_data
        self._feed.append(Entry(kind, session.handle, at, in_force, 0, **details))


def session_of_the_rest(flight_id: str) -> str:
    """The id of the session in which a flight's events are kept that name none of its sessions."""
    return str(uuid5(UUID(flight_id), "events without a session"))
