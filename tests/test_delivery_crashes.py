"""A crash after any thing that is saved, while steps fail and a sink refuses: each event is there once."""

from collections.abc import Callable

from attrs import define, field
from twisted.internet.defer import Deferred, execute, fail, succeed

from logui_tx.errors import RecordsRefused
from logui_tx.journal import cursors
from logui_tx.model import SinkBatch
from logui_tx.testing import FakePlace, FakeSink
from tests.deliveries import DeliveryTestCase, FailingStep

EVENTS = range(1, 10)


@define(eq=False)
class Receiver:
    """Keeps the sequence numbers that it took, and by which keys; ``refused`` it never takes."""

    refused: set[int] = field(converter=set)
    taken: list[int] = field(factory=list)
    keys: set[str] = field(factory=set)


class ReceiverSink(FakeSink):
    """Knows batches by their ids where they are ``prepared``, otherwise records."""

    def __init__(self, receiver: Receiver, prepared: bool) -> None:
        super().__init__(FakePlace(), prepares=prepared)
        self.receiver = receiver

    def prepare(self, batch: SinkBatch) -> Deferred[bytes] | None:
        return succeed(b"") if self._prepares else None

    def write(self, batch: SinkBatch) -> Deferred[bytes]:
        receiver = self.receiver
        found = [record.seq for record in batch.records]
        if receiver.refused.intersection(found):
            return fail(RecordsRefused("no"))
        if not self._prepares:
            receiver.taken += [one for one in found if one not in receiver.taken]
        elif found and batch.id not in receiver.keys:
            receiver.keys.add(batch.id)
            receiver.taken += found
        return succeed(b"")


class CrashTests(DeliveryTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.journal.session("a").send(*EVENTS[:6]).send(*EVENTS[6:])
        self.journal.commit()

    def test_records_are_known(self) -> None:
        self.check(False)

    def test_batches_are_known(self) -> None:
        self.check(True)

    def check(self, prepared: bool) -> None:
        for refused, bad in [((), (3,)), ((1, 2), (3,)), ((5,), (1, 3, 9))]:
            for noted in (False, True):
                for at in range(1, 12):
                    with self.subTest(refused=refused, bad=bad, at=at, noted=noted):
                        self.crash_at(at, noted, Receiver(refused), FailingStep(bad), prepared)

    def crash_at(self, at: int, noted: bool, receiver: Receiver, step: FailingStep, prepared: bool) -> None:
        """At the ``at``-th thing that is saved; ``noted`` tells whether it was."""
        self.connection.execute("DELETE FROM dead_letter")
        self.connection.execute("DELETE FROM sink")
        saves = 0

        def save(work: Callable[..., None], *arguments: object) -> Deferred[None]:
            nonlocal saves
            saves += 1
            if saves < at or (saves == at and noted):
                execute(work, self.connection, *arguments)
            return succeed(None) if saves < at else Deferred()

        self.patch(self, "save", save)
        self.crash(self.deliver(sink=ReceiverSink(receiver, prepared), steps=[step], batch=4))
        self.patch(self, "save", lambda work, *arguments: execute(work, self.connection, *arguments))
        step.bad = set()
        cursors.retry(self.connection, "sink")
        delivery = self.deliver(sink=ReceiverSink(receiver, prepared), steps=[step], batch=3)
        self.clock.pump([1] * 3)
        letters = cursors.dead_letters(self.connection, "sink")
        dead = [one.event + 1 for one in letters if one.event is not None]
        self.assertEqual(sorted([*receiver.taken, *dead]), list(EVENTS), "delivered or dead, and not both")
        self.assertLessEqual(receiver.refused, set(dead))
        receiver.refused.clear()
        cursors.retry(self.connection, "sink")
        self.clock.pump([1] * 3)
        self.assertEqual((sorted(receiver.taken), self.cursor().dead_letters), (list(EVENTS), 0))
        self.crash(delivery)
