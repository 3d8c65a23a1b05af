"""What a sink's steps make of a batch, in a thread: they are anybody's, and a large batch takes its time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from attrs import evolve
from twisted.internet.defer import Deferred, succeed

from logui_tx.delivery import told
from logui_tx.interfaces import IStep
from logui_tx.journal.cursors import DeadLetter
from logui_tx.model import Position, Record, Session, SinkBatch

_T = TypeVar("_T")
_NOWHERE = Position()


class InThread(Protocol):
    """Has a function called in a thread; fires with what it returns, or fails with what it raises."""

    def __call__(self, do: Callable[..., _T], *arguments: Any) -> Deferred[_T]: ...


class Stepping:
    """The steps before one sink. Batches come one at a time, in order. ``now`` gives UNIX ms."""

    def __init__(self, steps: Sequence[IStep], in_thread: InThread, now: Callable[[], int]) -> None:
        self._steps = steps
        self._in_thread = in_thread
        self._now = now

    def batch(self, batch: SinkBatch) -> Deferred[tuple[SinkBatch, list[DeadLetter]]]:
        """Fires with what is left of the batch, and a dead letter for whatever a step cannot do with."""
        return self._in_thread(self._batch, batch) if self._steps else succeed((batch, []))

    def letter(self, batch: SinkBatch) -> Deferred[SinkBatch]:
        """Fires with what is left of a dead letter; fails as a step does."""
        return self._in_thread(self._whole, batch) if self._steps else succeed(batch)

    # --- in the thread

    def _batch(self, batch: SinkBatch) -> tuple[SinkBatch, list[DeadLetter]]:
        records: list[Record] = []
        sessions: list[Session] = []
        dead: list[DeadLetter] = []
        for record in batch.records:
            try:
                found = self._record(record)
            except Exception as why:  # noqa: BLE001 - one record must not hold the rest
                dead.append(letter(record, self._now(), f"a step failed: {told.reason(why)}"))
            else:
                records += [] if found is None else [found]
        for session in batch.sessions:
            try:
                sessions.append(self._session(session))
            except Exception as why:  # noqa: BLE001 - nor must one session
                dead.append(letter(session, self._now(), f"a step failed: {told.reason(why)}", batch.first))
        return evolve(batch, records=tuple(records), sessions=tuple(sessions)), dead

    def _whole(self, batch: SinkBatch) -> SinkBatch:
        records = tuple(found for one in batch.records if (found := self._record(one)) is not None)
        return evolve(batch, records=records, sessions=tuple(map(self._session, batch.sessions)))

    def _record(self, record: Record) -> Record | None:
        found: Record | None = record
        for step in self._steps:
            if found is not None:
                found = step.record(found)
        return found

    def _session(self, session: Session) -> Session:
        for step in self._steps:
            session = step.session(session)
        return session


def letter(refused: Record | Session, now: int, why: str, place: Position = _NOWHERE) -> DeadLetter:
    """What is set apart at ``now`` (UNIX ms); ``place`` is where the batch of a session begins."""
    if isinstance(refused, Session):
        return DeadLetter(place.segment, None, refused.id, now, why)
    at = refused.position
    return DeadLetter(at.segment, at.event, refused.session_id, now, why)
