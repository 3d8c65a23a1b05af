"""Sinks and steps that do not keep their promises: nobody else is to suffer from it."""

from asyncio import CancelledError
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from logui_tx.delivery.delivery import POLL
from logui_tx.delivery.told import MAX_STATE
from logui_tx.errors import SinkAway
from logui_tx.interfaces import IStep
from logui_tx.journal import cursors
from logui_tx.journal.erase import erase_session
from logui_tx.journal.schema import journal_id
from logui_tx.model import Position, Record, Session, SinkBatch
from logui_tx.testing import FakeSink
from tests.deliveries import DeliveryTestCase


class OddSink(FakeSink):
    """Fires with ``told`` instead of a state; its end never comes, or fails."""

    told: Any = b""
    end: Any = None

    def write(self, batch: SinkBatch) -> Deferred[bytes]:
        return super().write(batch).addCallback(lambda _: self.told)

    def close(self) -> Deferred[None]:
        if isinstance(self.end, Exception):
            raise self.end
        return super().close() if self.end is None else self.end


@implementer(IStep)
class BadStep:
    """Cannot do with anything, or ``only`` with one event, until it is mended."""

    mended = False
    only: int | None = None

    def record(self, record: Record) -> Record:
        return record if self.only not in (None, record.seq) else self._unless_mended(record)

    def session(self, session: Session) -> Session:
        return session if self.only is not None else self._unless_mended(session)

    def _unless_mended(self, it: Any) -> Any:
        if not self.mended:
            raise ZeroDivisionError("oh")
        return it


class FaultTests(DeliveryTestCase):
    def record_id(self, segment: int, event: int) -> str:
        return f"{journal_id(self.connection)}-{segment}-{event}"

    def one_event(self) -> None:
        self.journal.session("a").send(1)
        self.journal.commit()

    def test_a_state_that_cannot_be_kept(self) -> None:
        """It never reaches the journal, whose commit is that of pages, too."""
        self.one_event()
        sink = OddSink(self.place)
        for told, kind in [(None, TypeError), ("text", TypeError), (b"x" * (MAX_STATE + 1), ValueError)]:
            sink.told = told
            delivery = self.deliver(sink=sink)
            self.assertIn(kind.__name__, delivery.progress.trouble or "")
            self.assertEqual((self.cursor().state, self.cursor().position), (b"", Position()))
            self.assertEqual(len(self.flushLoggedErrors(kind)), 1)
            self.crash(delivery)
        sink.told = b"x" * MAX_STATE
        self.deliver(sink=sink)
        self.assertEqual(self.cursor().position, Position(2))

    def test_an_odd_time_to_come_again(self) -> None:
        self.one_event()
        for odd in (None, "soon", float("nan"), float("inf"), -5, 10**300):
            self.place.away = SinkAway("odd", odd)  # type: ignore[arg-type]
            delivery = self.deliver()
            self.assertEqual(delivery.progress.trouble, "odd")
            self.place.away = None
            self.clock.pump([60] * 62)
            self.assertIsNone(delivery.progress.trouble, odd)
            self.crash(delivery)

    def test_what_is_no_exception(self) -> None:
        """A delivery that ended by it would say nothing, and nobody would begin it again."""
        self.one_event()
        for odd in (CancelledError(), SystemExit(3), KeyboardInterrupt()):
            self.place.away = odd  # type: ignore[assignment]
            delivery = self.deliver()
            self.assertIn(type(odd).__name__, delivery.progress.trouble or "")
            self.assertEqual(len(self.flushLoggedErrors(type(odd))), 1)
            self.place.away = None
            self.clock.pump([60] * 2)
            self.assertIsNone(delivery.progress.trouble)
            self.crash(delivery)
        self.assertEqual(self.numbers(), [1])

    def test_an_end_that_fails_or_never_comes(self) -> None:
        self.one_event()
        for end in (Deferred[None](), ZeroDivisionError("oh")):
            sink = OddSink(self.place)
            sink.end = end
            delivery = self.deliver(sink=sink)
            stopped = Deferred.fromCoroutine(delivery.stop())
            self.clock.advance(5)
            self.successResultOf(stopped)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), int(isinstance(end, Exception)))
            sink.end = None

    def test_a_step_that_fails_and_is_mended(self) -> None:
        self.journal.session("a").send(1, 2)
        self.journal.commit()
        step = BadStep()
        delivery = self.deliver(steps=[step])
        self.assertEqual(self.numbers(), [])
        self.assertEqual(
            {letter.event for letter in cursors.dead_letters(self.connection, "sink")}, {None, 0, 1}
        )
        with self.connection:
            cursors.retry(self.connection, "sink")
        self.journal.session("b").send(3)
        self.journal.commit()
        step.mended = False
        self.clock.pump([POLL] * 3)
        self.assertIsNone(delivery.progress.trouble)
        self.assertEqual(self.cursor().position, Position(3), "what came later goes on")
        step.mended = True
        with self.connection:
            self.assertEqual(cursors.retry(self.connection, "sink"), 5)
        self.clock.pump([POLL] * 3)
        self.assertEqual(sorted(self.numbers()), [1, 2, 3])
        self.assertEqual(set(self.place.sessions), {"a", "b"})
        self.assertEqual(self.cursor().dead_letters, 0)

    def test_a_step_fails_while_the_sink_is_away(self) -> None:
        """What waits for the sink is no dead letter yet: it may be delivered after all, and then once."""
        self.journal.session("a").send(1, 2)
        self.journal.commit()
        step = BadStep()
        step.only = 1
        self.place.refused = {self.record_id(1, 1)}
        self.crash(self.deliver(sink=FakeSink(self.place, held=True), steps=[step]))
        self.assertEqual(cursors.dead_letters(self.connection, "sink"), [])
        step.mended = True
        self.deliver(steps=[step])
        self.assertEqual(self.numbers(), [1])
        self.assertEqual([one.event for one in cursors.dead_letters(self.connection, "sink")], [1])

    def test_a_batch_comes_again_as_it_was_without_what_a_step_failed_on(self) -> None:
        """Who knows batches by their ids would not look at what is new in it: it would be lost."""
        self.journal.session("a").send(1, 2, 3)
        self.journal.commit()
        step = BadStep()
        step.only = 2
        sink = FakeSink(self.place, prepares=True, held=True)
        self.crash(self.deliver(sink=sink, steps=[step]))
        ((batch, _),) = sink._waiting
        step.mended = True
        with self.connection:
            cursors.retry(self.connection, "sink")
        self.deliver(sink=FakeSink(self.place, prepares=True), steps=[step])
        self.assertEqual(self.place.batches[0], batch)
        self.assertEqual((self.numbers(), self.cursor().dead_letters), ([1, 3, 2], 0))

    def test_a_dead_letter_that_is_rewound_to(self) -> None:
        self.journal.session("a").send(1, 2)
        self.journal.commit()
        step = BadStep()
        self.deliver(steps=[step])
        self.assertEqual(self.cursor().dead_letters, 3)
        step.mended = True
        with self.connection:
            cursors.rewind(self.connection, "sink", Position())
        self.clock.pump([POLL] * 2)
        self.assertEqual((self.numbers(), self.cursor().dead_letters), ([1, 2], 0))

    def test_a_batch_in_doubt_comes_before_dead_letters(self) -> None:
        self.journal.session("a").send(1, 2)
        self.journal.commit()
        self.place.refused = {self.record_id(1, 0)}
        self.crash(self.deliver(sink=FakeSink(self.place, prepares=True)))
        self.journal.session("b").send(3)
        self.journal.commit()
        held = FakeSink(self.place, prepares=True, held=True)
        self.crash(self.deliver(sink=held))
        self.assertEqual(self.cursor().pending, Position(3))
        self.place.refused = set()
        with self.connection:
            cursors.retry(self.connection, "sink")
        self.place.batches.clear()
        self.deliver(sink=FakeSink(self.place, prepares=True))
        self.clock.pump([POLL] * 3)
        seen = [[record.position for record in batch.records] for batch in self.place.batches]
        self.assertEqual(seen, [[Position(2, 0)], [Position(1, 0)]])

    def test_an_operator_while_it_is_away(self) -> None:
        self.one_event()
        self.place.away = SinkAway("for long", 3000)
        delivery = self.deliver()
        with self.connection:
            cursors.pause(self.connection, "sink", True)
        self.clock.pump([POLL] * 2)
        self.assertTrue(delivery.progress.paused)
        self.place.away = None
        with self.connection:
            cursors.pause(self.connection, "sink", False)
        self.clock.pump([POLL] * 2)
        self.assertEqual(self.numbers(), [1])


class BoundTests(DeliveryTestCase):
    def test_sessions_without_events(self) -> None:
        for n in range(40):
            self.journal.session(f"s{n}", app_data=b'{"x":"%b"}' % (b"y" * 1000))
            self.journal.commit()
        self.deliver(batch=10)
        self.assertEqual(len(self.place.sessions), 40)
        self.assertLessEqual(max(len(batch.sessions) for batch in self.place.batches), 10)
        self.place.batches.clear()
        with self.connection:
            cursors.rewind(self.connection, "sink", Position())
        self.deliver(batch_bytes=5000)
        self.assertLessEqual(max(len(batch.sessions) for batch in self.place.batches), 5)

    def test_sessions_of_one_segment(self) -> None:
        """However many: they come one after the other, behind the events."""
        for n in range(25):
            self.journal.session(f"s{n}").send(n)
        self.journal.commit()
        self.journal.session("last").send(99)
        self.journal.commit()
        delivery = self.deliver(batch=10)
        batches = self.place.batches
        self.assertEqual([len(one.records) for one in batches], [10, 10, 5, 0, 1])
        self.assertEqual([len(one.sessions) for one in batches], [0, 0, 10, 10, 6])
        self.assertEqual(len({one.id for batch in batches for one in batch.sessions}), 26)
        self.assertEqual(self.cursor().position, Position(3))
        self.assertEqual(delivery.progress.behind, 0)

    def test_sessions_of_one_segment_after_a_crash(self) -> None:
        """A batch within them comes again as it was, though one of them was erased."""
        for n in range(6):
            self.journal.session(f"s{n}").end()
        self.journal.commit()
        self.journal.session("last").send(99)
        self.journal.commit()
        self.crash(self.deliver(sink=FakeSink(self.place, prepares=True), batch=2))
        seen = [[one.id for one in batch.sessions] for batch in self.place.batches]
        self.assertEqual(seen[:2], [["s0", "s1"], ["s2", "s3"]])
        first, second = self.place.batches[:2]
        self.assertEqual(cursors.behind(self.connection, second.first)[0], 1)
        erase_session(self.journal.folder, "s0")
        with self.connection:
            cursors.rewind(self.connection, "sink", second.first)
            generation = self.cursor().generation
            cursors.prepared(self.connection, "sink", generation, second, second.after, [], b"")
        self.place.batches.clear()
        self.deliver(sink=FakeSink(self.place, prepares=True), batch=2)
        seen = [[one.id for one in batch.sessions] for batch in self.place.batches]
        self.assertEqual(seen, [["s2", "s3"], ["s4", "s5"], ["last"]])
        self.assertEqual(self.place.batches[0].id, second.id)
        self.assertEqual(first.after, second.first)

    def test_events_under_large_data(self) -> None:
        session = self.journal.session("s", app_data=b'{"x":"%b"}' % (b"y" * 10_000))
        for n in range(20):
            session.send(n)
        self.journal.commit()
        self.deliver(batch_bytes=50_000)
        self.assertEqual(self.numbers(), list(range(20)))
        self.assertLessEqual(max(len(batch.records) for batch in self.place.batches), 5)

    def test_one_message_of_many_events_under_large_data(self) -> None:
        """It is cut where the bytes are full; each event counts with its data."""
        session = self.journal.session("s", app_data=b'{"x":"%b"}' % (b"y" * 10_000))
        session.send(*range(100)).send(100).end()
        self.journal.commit()
        delivery = self.deliver(batch_bytes=50_000)
        self.assertEqual(self.numbers(), list(range(101)))
        self.assertLessEqual(max(len(batch.records) for batch in self.place.batches), 5)
        self.assertEqual([len(batch.sessions) for batch in self.place.batches if batch.sessions], [1])
        self.assertEqual((self.cursor().position, delivery.progress.behind), (Position(2), 0))
        for odd in (1, 9_999, 10_049, 33_333):
            self.crash(delivery)
            self.place.records.clear()
            with self.connection:
                cursors.rewind(self.connection, "sink", Position())
            delivery = self.deliver(batch_bytes=odd)
            self.assertEqual(self.numbers(), list(range(101)), odd)

    def test_what_stands_before_a_damaged_segment(self) -> None:
        for n in range(4):
            self.journal.session(f"s{n}").send(n)
            self.journal.commit()
        with self.connection:
            self.connection.execute("UPDATE segment SET block = x'07' WHERE id = 3")
        delivery = self.deliver()
        self.assertEqual(self.numbers(), [0, 1])
        self.assertIn("segment 3", delivery.progress.trouble or "")
        with self.connection:
            cursors.rewind(self.connection, "sink", Position(4))
        self.clock.pump([POLL] * 3)
        self.assertEqual(self.numbers(), [0, 1, 3])
