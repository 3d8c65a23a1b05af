"""What is refused: found while operators go on, and offered again beside the rest."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed

from logui_tx.delivery.delivery import POLL, SinkDelivery
from logui_tx.errors import RecordsRefused, SinkAway
from logui_tx.journal import cursors
from logui_tx.model import Position, SinkBatch
from logui_tx.testing import FakeSink
from tests.deliveries import DeliveryTestCase, FailingStep


class PoisonedSink(FakeSink):
    """Cannot take event 0 of segment 1: refuses it, or fails as ``failing`` says. Notes ``notes`` before."""

    failing: Exception | None = None
    notes: bytes | None = None
    tries = 0

    def prepare(self, batch: SinkBatch) -> Deferred[bytes] | None:
        return None if self.notes is None else succeed(self.notes)

    def write(self, batch: SinkBatch) -> Deferred[bytes]:
        if all(record.position != Position(1, 0) for record in batch.records):
            return super().write(batch)
        self.tries += 1
        return fail(self.failing or RecordsRefused("no"))


class PoisonTests(DeliveryTestCase):
    def poisoned(self, failing: Exception, notes: bytes | None) -> SinkDelivery:
        """A dead letter is offered again, and the sink fails on it; one event more is there."""
        self.journal.session("a").send(0)
        self.journal.commit()
        sink = PoisonedSink(self.place)
        delivery = self.deliver(sink=sink)
        self.assertEqual(self.cursor().dead_letters, 1)
        sink.failing, sink.notes, sink.tries = failing, notes, 0
        with self.connection:
            cursors.retry(self.connection, "sink")
        self.clock.advance(POLL)
        self.assertEqual((sink.tries, delivery.progress.trouble), (1, str(failing)))
        self.journal.session("b").send(1)
        self.journal.commit()
        delivery.wake(1)
        return delivery

    def test_a_dead_letter_that_meets_an_outage_holds_nothing(self) -> None:
        self.check_holds_nothing(None)

    def test_where_nothing_is_noted(self) -> None:
        self.check_holds_nothing(b"")

    def check_holds_nothing(self, notes: bytes | None) -> None:
        delivery = self.poisoned(SinkAway("answered 500"), notes)
        self.clock.pump([POLL] * 300)
        self.assertEqual(self.numbers(), [1])
        self.assertEqual(delivery.progress.trouble, "answered 500", "nothing has gone well since")
        self.assertIn(self.sink.tries, range(8, 20), "it is tried again, less and less often")
        self.sink.write = lambda batch: FakeSink.write(self.sink, batch)
        self.clock.pump([POLL] * 61)
        self.assertEqual((self.numbers(), self.cursor().dead_letters), ([1, 0], 0))
        self.assertIsNone(delivery.progress.trouble)

    def test_the_server_stops(self) -> None:
        delivery = self.poisoned(SinkAway("answered 500"), None)
        self.successResultOf(delivery.drain())
        self.assertEqual(self.numbers(), [1])

    def test_the_sink_says_when_to_come(self) -> None:
        self.poisoned(SinkAway("answered 429", 100.0), None)
        self.clock.pump([POLL] * 98)
        self.assertEqual((self.numbers(), self.sink.tries), ([], 1))
        self.clock.pump([POLL] * 4)
        self.assertEqual((self.numbers(), self.sink.tries), ([1], 1))

    def test_what_the_sink_noted_of_it_stays(self) -> None:
        """Another batch would take its place, and nobody would know whether the letter is there."""
        self.poisoned(SinkAway("no answer"), b"where it begins")
        self.clock.pump([POLL] * 300)
        self.assertEqual(self.numbers(), [])
        self.sink.write = lambda batch: FakeSink.write(self.sink, batch)
        self.clock.pump([POLL] * 61)
        self.assertEqual(self.numbers(), [0, 1])


class PreparedTests(DeliveryTestCase):
    """A batch that may have been written, and what a step set apart of it."""

    def test_a_retry_outlives_the_halves_of_the_batch(self) -> None:
        self.journal.session("a").send(*range(8))
        self.journal.commit()
        step, sink = FailingStep({7}), PoisonedSink(self.place)
        sink.notes, sink.failing = b"noted", SinkAway("away")
        self.deliver(sink=sink, steps=[step])
        self.assertEqual(self.cursor().dead_letters, 1)
        cursors.retry(self.connection, "sink")
        step.bad, sink.failing = set(), None
        self.clock.pump([POLL] * 5)
        self.assertEqual(sorted(self.numbers()), [1, 2, 3, 4, 5, 6, 7])
        (letter,) = cursors.dead_letters(self.connection, "sink")
        self.assertEqual((letter.event, letter.reason, letter.retry), (0, "no", False))


class WrongPassword(FakeSink):
    """Refuses everything until it is ``mended``; has an operator ``act`` with the fifth batch."""

    mended = False
    writes = 0
    act: Callable[[], None]

    def write(self, batch: SinkBatch) -> Deferred[bytes]:
        self.writes += 1
        if self.writes == 5:
            self.act()
        return super().write(batch) if self.mended else fail(RecordsRefused("answered 401"))


class HalvingTests(DeliveryTestCase):
    """A batch of a thousand is refused two thousand times: operators see that sooner."""

    def interrupted(self, act: Callable[..., None], *arguments: Any, prepares: bool = False) -> SinkDelivery:
        self.journal.session("a").send(*range(64))
        self.journal.commit()
        sink = WrongPassword(self.place, prepares=prepares)
        sink.act = lambda: act(self.connection, "sink", *arguments)
        delivery = self.deliver(sink=sink)
        self.assertEqual((sink.writes, self.cursor().dead_letters), (5, 0))
        return delivery

    def check_pause(self, prepares: bool) -> None:
        delivery = self.interrupted(cursors.pause, True, prepares=prepares)
        self.assertTrue(delivery.progress.paused)
        self.sink.mended = True
        cursors.pause(self.connection, "sink", False)
        self.clock.pump([POLL] * 2)
        self.assertEqual(self.numbers(), list(range(64)))
        self.assertEqual((self.cursor().dead_letters, delivery.progress.behind), (0, 0))

    def test_a_pause(self) -> None:
        self.check_pause(False)

    def test_a_pause_where_batches_are_prepared(self) -> None:
        self.check_pause(True)

    def test_a_rewind(self) -> None:
        delivery = self.interrupted(cursors.rewind, Position(2))
        self.assertEqual((self.cursor().position, delivery.progress.behind), (Position(2), 0))
