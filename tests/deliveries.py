"""A delivery over a journal made for the test, without threads and without real time."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, execute, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from logui_tx.delivery.delivery import SinkDelivery
from logui_tx.delivery.source import DeliverySource
from logui_tx.delivery.stepping import Stepping
from logui_tx.errors import NotStored
from logui_tx.interfaces import ISink, IStep
from logui_tx.journal import cursors
from logui_tx.journal.cursors import Cursor
from logui_tx.journal.schema import open_journal
from logui_tx.journal.tail import JournalTail
from logui_tx.model import Position, Record, Session
from logui_tx.sinks.uri import SinkOptions
from logui_tx.testing import FakePlace, FakeSink
from tests.journals import NOW, MadeJournal, made_journal


class DirectSource(DeliverySource):
    """Reads at once, in the caller's thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._tail = JournalTail(connection)

    def _ask(self, ask: Callable[[JournalTail], Any]) -> Deferred[Any]:
        return execute(ask, self._tail)


@implementer(IStep)
@define
class FailingStep:
    """Cannot do with records of these sequence numbers."""

    bad: set[int] = field(converter=set)

    def record(self, record: Record) -> Record:
        if record.seq in self.bad:
            raise ValueError("bad")
        return record

    def session(self, session: Session) -> Session:
        return session


class DeliveryTestCase(SynchronousTestCase):
    """``self.journal`` is written, ``self.place`` is where the records go, ``self.clock`` is the time."""

    options: dict[str, Any] = {}

    def setUp(self) -> None:
        folder = Path(self.enterContext(TemporaryDirectory()))
        self.journal: MadeJournal = self.enterContext(made_journal(folder))
        self.connection = open_journal(folder)
        self.addCleanup(self.connection.close)
        self.clock = Clock()
        self.place = FakePlace()
        self.full = False

    def save(self, work: Callable[..., None], *arguments: object) -> Deferred[None]:
        if self.full:
            return fail(NotStored("the disk is full"))
        return execute(work, self.connection, *arguments)

    def deliver(
        self,
        *,
        sink: ISink | None = None,
        steps: list[IStep] | None = None,
        begin: Position | None = None,
        **options: Any,
    ) -> SinkDelivery:
        """A delivery that has begun."""
        self.sink: Any = sink or FakeSink(self.place)

        def now() -> int:
            return NOW + round(self.clock.seconds() * 1000)

        delivery = SinkDelivery(
            self.clock,
            now,
            SinkOptions("sink", **{**self.options, **options}),
            self.sink,
            Stepping(steps or [], self.in_thread, now),
            self.source(),
            self.save,
            begin or Position(),
        )
        delivery.start()
        self.addCleanup(lambda: self.successResultOf(Deferred.fromCoroutine(delivery.stop())))
        return delivery

    def source(self) -> DirectSource:
        return DirectSource(self.connection)

    def in_thread(self, do: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return execute(do, *arguments)

    def crash(self, delivery: SinkDelivery) -> None:
        """It ends where it is; the sink is not closed."""
        delivery._stopping = True
        assert delivery._running is not None
        delivery._running.cancel()

    def cursor(self) -> Cursor:
        found = cursors.cursor(self.connection, "sink")
        assert found is not None
        return found

    def numbers(self) -> list[int]:
        """Of each record at its place, the ``n`` of its event."""
        import json

        return [json.loads(record.event)["n"] for record in self.place.records.values()]
