"""``jsonl:`` writes records and sessions as lines of JSON: a file per flight and day.

Nothing in a file tells which of its lines belong to a batch, so the state that goes with the cursor does: how
long each file was when the batch was done. What is beyond is cut off before anything else is written.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from logui_tx.errors import BadOption, RecordsRefused, SinkAway
from logui_tx.interfaces import ISinkToldOfSaves
from logui_tx.model import Position, Record, SinkBatch, SinkURI
from logui_tx.records import record_lines, session_json
from logui_tx.sinks.line_files import MOST_OPEN, LineFiles, State, Stream, day, safe
from logui_tx.threads import daemon_pool

log = Logger()

LOOK = 60.0
"""Seconds after which it is looked whether files that nobody writes to are to be finished."""

RESTED = 600.0
"""Seconds that such a file was not written."""

_T = TypeVar("_T")


class _Saved(State, frozen=True):
    """Also whose events the folder holds, once there were any."""

    journal: str = ""


@implementer(ISinkToldOfSaves)
class JsonLines:
    """See :class:`ISink`. The disk is waited for in a thread of its own."""

    def __init__(self, uri: SinkURI, reactor: Any) -> None:
        """Raises :class:`BadOption`."""
        if uri.host or uri.user is not None or uri.password is not None:
            raise BadOption("sink: jsonl: names a folder of this machine: jsonl:/var/log/logui would be one")
        if not uri.path or "\0" in uri.path:
            raise BadOption("sink: jsonl: needs a folder: jsonl:/var/log/logui would be one")
        chosen = uri.parameters
        # twistd changes the working directory when it goes into the background.
        self._folder = Path(uri.path).absolute()
        self._files = LineFiles(
            self._folder,
            reactor.seconds,
            rotate=chosen["rotate"],
            rotate_age=chosen["rotate-age"] or 0.0,
            compress=chosen["compress"],
            fsync=chosen["fsync"] == "yes",
            mode=chosen["mode"],
        )
        self._reactor = reactor
        self._pool: ThreadPool | None = None
        self._looking: IDelayedCall | None = None
        self._new = False
        self._journal = ""
        # How things stood before the last batch, whether that failed, and where the batch began and ended;
        # until it is saved: it may be offered again, and what holds it must not be finished.
        self._before: State | None = None
        self._unsure = False
        self._last: tuple[Position, Position] | None = None

    def open(self, state: bytes) -> Deferred[None]:
        if self._pool is None:
            self._pool = daemon_pool("jsonl", 1)
            self._pool.start()
        return self._in_thread(self._open, state).addCallback(lambda _: self._look_later())

    def prepare(self, batch: SinkBatch) -> Deferred[bytes] | None:  # noqa: ARG002
        """Before the first batch ever, so that after a crash it is known which files are of it."""
        return succeed(self._state()) if self._new else None

    def write(self, batch: SinkBatch) -> Deferred[bytes]:
        return self._in_thread(self._write, batch).addCallback(self._written)

    def saved(self) -> None:
        self._last = None

    def close(self) -> Deferred[None]:
        self._look_no_more()
        if self._pool is None:
            return succeed(None)
        pool, self._pool = self._pool, None
        released: Deferred[None] = deferToThreadPool(self._reactor, pool, self._files.release)
        return released.addCallback(lambda _: pool.stop())

    # --- in the thread

    def _open(self, state: bytes) -> None:
        if not state:
            self._files.make()
        self._files.claim()
        saved = msgspec.json.decode(state, type=_Saved) if state else None
        if saved is not None and saved.journal:
            # What is another's must not be cut.
            self._files.belong(saved.journal)
        self._files.restore(None if saved is None else State(saved.next, saved.files))
        self._journal = "" if saved is None else saved.journal
        self._before, self._unsure, self._last, self._new = self._files.state, False, None, not state

    def _write(self, batch: SinkBatch) -> bytes:
        files = self._files
        lines = self._lines(batch)
        if len(lines) > MOST_OPEN and len(batch.records) + len(batch.sessions) > 1:
            # All of them would be in the state, which must not become too large to be saved.
            raise RecordsRefused(f"too many files for one batch: {len(lines)}")
        files.claim()
        # The journal that wrote here may have another id by now.
        files.belong(batch.journal_id, self._journal)
        self._journal = batch.journal_id
        if self._unsure or self._again(batch):
            files.restore(self._before)
        self._before, self._unsure = files.state, True
        files.write(lines)
        self._unsure, self._last = False, (batch.first, batch.after)
        return self._state()

    def _again(self, batch: SinkBatch) -> bool:
        """Whether it is the last batch, which was written but is not known to be saved; it may have grown."""
        return self._last is not None and batch.first == self._last[0] and batch.after >= self._last[1]

    def _lines(self, batch: SinkBatch) -> dict[Stream, bytes]:
        # Of many records: their stream's name is made once.
        records: dict[tuple[str, str], list[Record]] = {}
        for record in batch.records:
            records.setdefault((record.flight_id, record.received_at[:10]), []).append(record)
        lines = {
            Stream("events", safe(flight), safe(of_day)): record_lines(found)
            for (flight, of_day), found in records.items()
        }
        # They are told as they stand by now: their day is today.
        today = day(self._reactor.seconds())
        sessions: dict[str, list[bytes]] = {}
        for session in batch.sessions:
            sessions.setdefault(session.flight_id, []).append(session_json(session))
        for flight, told in sessions.items():
            lines[Stream("sessions", safe(flight), today)] = b"\n".join([*told, b""])
        return lines

    def _finish_resting(self) -> None:
        if not self._unsure and self._last is None:
            self._files.claim()
            self._files.finish_resting(RESTED)

    # --- around it

    def _in_thread(self, do: Callable[..., _T], *arguments: object) -> Deferred[_T]:
        def done() -> _T:
            try:
                return do(*arguments)
            except OSError as error:
                raise SinkAway(f"{self._folder}: {error.strerror or error}") from None

        if self._pool is None:
            return fail(SinkAway(f"{self._folder}: the sink is closed"))
        doing: Deferred[_T] = deferToThreadPool(self._reactor, self._pool, done)
        return doing

    def _state(self) -> bytes:
        state = self._files.state
        return msgspec.json.encode(_Saved(state.next, state.files, self._journal))

    def _written(self, state: bytes) -> bytes:
        self._new = False
        return state

    def _look_no_more(self) -> None:
        if self._looking is not None and self._looking.active():
            self._looking.cancel()

    def _look_later(self) -> None:
        self._look_no_more()
        if self._pool is not None:
            self._looking = self._reactor.callLater(LOOK, self._look)

    def _look(self) -> None:
        def failed(failure: Any) -> None:
            # The next batch will say so, too.
            failure.trap(SinkAway)
            log.warn("files cannot be finished: {why}", why=str(failure.value))

        self._in_thread(self._finish_resting).addErrback(failed).addBoth(lambda _: self._look_later())
