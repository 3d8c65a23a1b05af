"""Journals made for tests by the real writer, commit by commit."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from logui_tx.errors import NotStored
from logui_tx.journal.entry import Entry, SessionHandle, SessionRow
from logui_tx.journal.reader import JournalReader, StoredMessage
from logui_tx.journal.schema import open_reader
from logui_tx.journal.segment import Kind
from logui_tx.journal.writer import JournalWriter
from logui_tx.model import Event

NOW = 1_760_000_000_000
"""When everything begins, in UNIX ms; each thing that happens comes a second later than the one before."""


def event(n: int, **more: Any) -> dict[str, Any]:
    return {"clientDateTime": NOW + n, "n": n, **more}


def payload(*events: bytes) -> bytes:
    return b'{"payloadType":"LogUIEventPayload","eventsToBeLogged":[%b]}' % b",".join(events)


class MadeSession:
    """What happens to it is written by the journal's next :meth:`MadeJournal.commit`."""

    def __init__(self, journal: MadeJournal, row: SessionRow, app_data: bytes) -> None:
        self.journal = journal
        self.id = row.id
        self.handle = SessionHandle(row)
        self.app_data = app_data
        self.seq = 0
        self.clock_offset: int | None = 7
        self._add(Kind.OPENED)

    def send(self, *events: Any, message: bytes | None = None, payload_id: int | None = None) -> MadeSession:
        """Log events: numbers (see :func:`event`), objects, or bytes as they are; or a whole message."""
        made = [event(each) if type(each) is int else each for each in events]
        raw = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in made]
        self._add(
            Kind.EVENTS,
            message=payload(*raw) if message is None else message,
            first_seq=self.seq + 1,
            count=len(raw),
            clock_offset=self.clock_offset,
            payload_id=payload_id,
        )
        self.seq += len(raw)
        return self

    def change(self, app_data: bytes) -> MadeSession:
        self.app_data = app_data
        self._add(Kind.CHANGED)
        return self

    def end(self, reason: str = "closed") -> MadeSession:
        self._add(Kind.ENDED, end_reason=reason)
        return self

    def resume(self) -> MadeSession:
        self._add(Kind.RESUMED)
        return self

    def _add(self, kind: Kind, **details: Any) -> None:
        self.journal.waiting.append(
            Entry(kind, self.handle, self.journal.next_moment(), self.app_data, epoch=0, **details)
        )


class MadeJournal:
    """A journal in ``folder`` and the writer of it, to be stopped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.waiting: list[Entry] = []
        self.now = NOW
        self._refused: list[NotStored] = []
        self._writer = JournalWriter(folder, self._settled)
        self._writer.start(NOW)
        self._nobody = SessionHandle(SessionRow("", "", "", "", 0))

    def next_moment(self) -> int:
        self.now += 1000
        return self.now

    def session(
        self,
        session_id: str,
        *,
        flight: str = "flight",
        application: str = "application",
        dialect: str = "logui-0.4",
        app_data: bytes = b"{}",
        **more: Any,
    ) -> MadeSession:
        """A session begins."""
        row = SessionRow(session_id, flight, application, dialect, self.now + 1000, **more)
        return MadeSession(self, row, app_data)

    def commit(self) -> None:
        """Write what happened since the last time, in one segment; returns when it is on disk."""
        entered, gate, done = threading.Event(), threading.Event(), threading.Event()
        self._writer.append(self._barrier(lambda: (entered.set(), gate.wait())))
        entered.wait()
        # The writer's thread is held: it will find all of this at once.
        for entry in self.waiting:
            self._writer.append(entry)
        self.waiting.clear()
        self._writer.append(self._barrier(done.set))
        gate.set()
        done.wait()
        if self._refused:
            raise self._refused[0]

    def stop(self) -> None:
        self._writer.stop()

    def _barrier(self, reached: Any) -> Entry:
        return Entry(None, self._nobody, 0, b"", epoch=0, context=reached)

    def _settled(self, entries: Sequence[Entry], error: NotStored | None) -> None:
        if error is not None:
            self._refused.append(error)
        for entry in entries:
            if entry.context is not None:
                entry.context()


@contextmanager
def made_journal(folder: Path) -> Iterator[MadeJournal]:
    journal = MadeJournal(folder)
    try:
        yield journal
    finally:
        journal.stop()


@contextmanager
def reading(folder: Path, **more: Any) -> Iterator[JournalReader]:
    connection = open_reader(folder)
    try:
        yield JournalReader(connection, **more)
    finally:
        connection.close()


def logged(message: StoredMessage) -> list[Event]:
    """The events of a message in LogUI 0.4."""
    from logui_tx.dialects.logui04 import LogUI04

    return list(LogUI04().events(message.message))
