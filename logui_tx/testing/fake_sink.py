"""A sink in memory, whose failures a test decides."""

from __future__ import annotations

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from logui_tx.errors import RecordsRefused
from logui_tx.interfaces import ISink
from logui_tx.model import Record, Session, SinkBatch


@define(eq=False)
class FakePlace:
    """What outlasts a crash: records in the order in which they came first, sessions as they came last.

    ``away`` is why nothing is taken; ``refused`` are the ids of records and sessions that never are;
    ``batches`` are those that were written.
    """

    records: dict[str, Record] = field(factory=dict)
    sessions: dict[str, Session] = field(factory=dict)
    batches: list[SinkBatch] = field(factory=list)
    away: Exception | None = None
    refused: set[str] = field(factory=set)


@implementer(ISink)
class FakeSink:
    """Writes to a :class:`FakePlace`. With ``held`` each write waits for :meth:`FakeSink.let_go`."""

    def __init__(self, place: FakePlace, *, prepares: bool = False, held: bool = False) -> None:
        self.place = place
        self.opened: list[bytes] = []
        self.closed = False
        self._prepares = prepares
        self._held = held
        self._waiting: list[tuple[SinkBatch, Deferred[bytes]]] = []

    def open(self, state: bytes) -> Deferred[None]:
        """See :meth:`ISink.open`."""
        self.opened.append(state)
        return succeed(None) if self.place.away is None else fail(self.place.away)

    def prepare(self, batch: SinkBatch) -> Deferred[bytes] | None:
        """See :meth:`ISink.prepare`."""
        return succeed(b"prepared " + batch.id.encode()) if self._prepares else None

    def write(self, batch: SinkBatch) -> Deferred[bytes]:
        """See :meth:`ISink.write`."""
        if self._held:
            waiting: Deferred[bytes] = Deferred()
            self._waiting.append((batch, waiting))
            return waiting
        return self._write(batch)

    def let_go(self) -> None:
        """Write the batch that waits longest."""
        batch, waiting = self._waiting.pop(0)
        self._write(batch).addCallbacks(waiting.callback, waiting.errback)

    def close(self) -> Deferred[None]:
        """See :meth:`ISink.close`."""
        self.closed = True
        return succeed(None)

    def _write(self, batch: SinkBatch) -> Deferred[bytes]:
        if self.place.away is not None:
            return fail(self.place.away)
        bad = [one.record_id for one in batch.records if one.record_id in self.place.refused]
        bad += [one.id for one in batch.sessions if one.id in self.place.refused]
        if bad:
            return fail(RecordsRefused(f"{bad[0]} is not wanted"))
        self.place.batches.append(batch)
        for record in batch.records:
            self.place.records.setdefault(record.record_id, record)
        for session in batch.sessions:
            self.place.sessions[session.id] = session
        return succeed(b"written " + batch.id.encode())
