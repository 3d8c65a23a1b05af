"""One sink's delivery: in order, once, whatever happens at the other end."""

from typing import Any

from attrs import evolve
from msgspec.structs import replace
from twisted.internet.defer import Deferred
from zope.interface import implementer

from logui_tx.delivery.delivery import POLL
from logui_tx.delivery.told import own_state
from logui_tx.errors import SinkAway
from logui_tx.interfaces import IStep
from logui_tx.journal import cursors
from logui_tx.model import Position, Record, Session, SinkBatch
from logui_tx.testing import FakeSink, make_record
from tests.deliveries import DeliveryTestCase
from tests.journals import NOW


class BatchTests(DeliveryTestCase):
    def test_everything_in_its_order(self) -> None:
        a, b = self.journal.session("a"), self.journal.session("b")
        for n in range(4):
            a.send(10 * n, 10 * n + 1)
            b.send(10 * n + 2)
            self.journal.commit()
        delivery = self.deliver()
        self.assertEqual(self.numbers(), [10 * n + k for n in range(4) for k in range(3)])
        self.assertEqual(set(self.place.sessions), {"a", "b"})
        self.assertEqual((self.cursor().position, self.cursor().delivered), (Position(5), 12))
        self.assertEqual((delivery.progress.behind, delivery.progress.oldest), (0, None))

    def test_batches_by_count(self) -> None:
        self.journal.session("a").send(*range(10)).send(*range(10, 17))
        self.journal.commit()
        self.deliver(batch=4)
        self.assertEqual([len(batch.records) for batch in self.place.batches], [4, 4, 4, 4, 1])
        self.assertEqual(self.numbers(), list(range(17)))

    def test_batches_by_bytes(self) -> None:
        session = self.journal.session("a")
        for n in range(6):
            session.send({"clientDateTime": NOW, "n": n, "text": "x" * 1000})
        self.journal.commit()
        self.deliver(batch_bytes=2500)
        self.assertEqual([len(batch.records) for batch in self.place.batches], [3, 3])

    def test_what_comes_later_is_gathered(self) -> None:
        delivery = self.deliver(batch_age=0.5)
        session = self.journal.session("a").send(1)
        self.journal.commit()
        delivery.wake(1)
        self.clock.advance(0.4)
        self.assertEqual(self.numbers(), [])
        session.send(2)
        self.journal.commit()
        delivery.wake(1)
        self.assertEqual(delivery.progress.behind, 2)
        self.clock.advance(0.2)
        self.assertEqual(self.numbers(), [1, 2])
        self.assertEqual(len(self.place.batches), 1)
        self.assertEqual(delivery.progress.behind, 0)

    def test_a_full_batch_is_not_waited_with(self) -> None:
        delivery = self.deliver(batch=10, batch_age=60.0)
        session = self.journal.session("a")
        for n in range(25):
            session.send(n)
            self.journal.commit()
            delivery.wake(1)
        self.assertEqual(len(self.place.batches[0].records), 10)
        self.assertGreaterEqual(len(self.numbers()), 20)
        self.clock.pump([1] * 61)
        self.assertEqual(self.numbers(), list(range(25)))

    def test_an_operator_while_a_batch_is_gathered(self) -> None:
        delivery = self.deliver(batch_age=600.0)
        self.journal.session("a").send(1)
        self.journal.commit()
        delivery.wake(1)
        self.clock.pump([POLL] * 3)
        with self.connection:
            cursors.pause(self.connection, "sink", True)
        self.clock.pump([POLL] * 2)
        self.assertTrue(delivery.progress.paused)

    def test_a_new_sink_begins_where_it_is_told(self) -> None:
        self.journal.session("a").send(1)
        self.journal.commit()
        self.journal.session("b").send(2)
        self.journal.commit()
        self.deliver(begin=Position(2))
        self.assertEqual(self.numbers(), [2])

    def test_a_known_sink_goes_on_where_it_was(self) -> None:
        session = self.journal.session("a").send(1)
        self.journal.commit()
        self.crash(self.deliver())
        session.send(2)
        self.journal.commit()
        self.place.batches.clear()
        self.deliver(begin=Position(9))
        self.assertEqual([record.seq for record in self.place.batches[0].records], [2])
        self.assertEqual(self.sink.opened, [b"written " + self._id(Position(0), Position(2))])

    def _id(self, first: Position, after: Position) -> bytes:
        (journal,) = self.connection.execute("SELECT value FROM meta WHERE key = 'journal'").fetchone()
        return SinkBatch(journal, first, after, (make_record(1),)).id.encode()

    def test_sessions_as_they_stand(self) -> None:
        session = self.journal.session("a")
        self.journal.commit()
        delivery = self.deliver()
        self.assertIsNone(self.place.sessions["a"].end_reason)
        session.send(1).end("closed")
        self.journal.commit()
        delivery.wake(1)
        self.clock.advance(1)
        self.assertEqual(
            (self.place.sessions["a"].end_reason, self.place.sessions["a"].events), ("closed", 1)
        )

    def test_what_was_erased_is_passed(self) -> None:
        from logui_tx.journal.erase import erase_session

        self.journal.session("a").send(1, 2).end()
        self.journal.session("b").send(3)
        self.journal.commit()
        erase_session(self.journal.folder, "a")
        self.deliver()
        self.assertEqual(self.numbers(), [3])
        self.assertEqual(set(self.place.sessions), {"b"})


class FailureTests(DeliveryTestCase):
    def test_again_and_again_until_it_is_back(self) -> None:
        self.place.away = SinkAway("no route")
        self.journal.session("a").send(1)
        self.journal.commit()
        delivery = self.deliver(retry_max=8.0)
        self.assertEqual((delivery.progress.trouble, delivery.progress.since), ("no route", NOW))
        self.assertEqual((self.cursor().trouble, self.cursor().trouble_since), ("no route", NOW))
        for _ in range(40):
            self.clock.advance(8)
        self.assertGreater(delivery.progress.failures, 15)
        self.assertLess(delivery.progress.failures, 80)
        self.place.away = None
        self.clock.pump([8] * 3)
        self.assertEqual(self.numbers(), [1])
        self.assertIsNone(delivery.progress.trouble)
        self.assertIsNone(self.cursor().trouble)

    def test_not_before_it_was_told(self) -> None:
        self.place.away = SinkAway("busy", retry_after=100)
        self.journal.session("a").send(1)
        self.journal.commit()
        self.deliver()
        self.place.away = None
        self.clock.pump([1] * 99)
        self.assertEqual(self.numbers(), [])
        self.clock.pump([1] * 2)
        self.assertEqual(self.numbers(), [1])

    def test_a_fault_of_the_sink(self) -> None:
        self.place.away = ZeroDivisionError("oh")
        self.journal.session("a").send(1)
        self.journal.commit()
        delivery = self.deliver()
        self.assertEqual(delivery.progress.trouble, "ZeroDivisionError: oh")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.place.away = None
        self.clock.advance(60)
        self.assertEqual(self.numbers(), [1])

    def test_what_is_refused_is_set_apart(self) -> None:
        self.journal.session("a").send(*range(20))
        self.journal.session("b").send(*range(20, 40))
        self.journal.commit()
        (journal,) = self.connection.execute("SELECT value FROM meta WHERE key = 'journal'").fetchone()
        self.place.refused = {f"{journal}-1-{n}" for n in (0, 13, 14, 39)} | {"b"}
        delivery = self.deliver()
        self.assertEqual(self.numbers(), [n for n in range(40) if n not in (0, 13, 14, 39)])
        self.assertEqual(set(self.place.sessions), {"a"})
        letters = cursors.dead_letters(self.connection, "sink")
        self.assertEqual([letter.event for letter in letters], [None, 0, 13, 14, 39])
        self.assertEqual(letters[1].reason, f"{journal}-1-0 is not wanted")
        self.assertEqual((delivery.progress.dead_letters, self.cursor().delivered), (5, 36))
        return

    def test_dead_letters_again(self) -> None:
        self.test_what_is_refused_is_set_apart()
        self.place.refused = {one for one in self.place.refused if one.endswith("-13")}
        with self.connection:
            self.assertEqual(cursors.retry(self.connection, "sink"), 5)
        self.clock.pump([POLL] * 2)
        self.assertEqual(sorted(self.numbers()), [n for n in range(40) if n != 13])
        self.assertEqual(set(self.place.sessions), {"a", "b"})
        (letter,) = cursors.dead_letters(self.connection, "sink")
        self.assertEqual((letter.event, self.cursor().retry), (13, False))

    def test_half_of_a_batch_was_taken(self) -> None:
        """The cursor is between the halves; the rest follows when the sink is back."""
        self.journal.session("a").send(*range(8))
        self.journal.commit()
        (journal,) = self.connection.execute("SELECT value FROM meta WHERE key = 'journal'").fetchone()
        self.place.refused = {f"{journal}-1-7"}
        sink = FakeSink(self.place, held=True)
        delivery = self.deliver(sink=sink)
        sink.let_go()
        sink.let_go()
        self.place.away = SinkAway("gone")
        sink.let_go()
        self.assertEqual(self.cursor().position, Position(1, 3))
        self.place.away, sink._held = None, False
        self.clock.advance(60)
        self.assertEqual(self.numbers(), list(range(7)))
        self.assertEqual((delivery.progress.behind, delivery.progress.dead_letters), (0, 1))

    def test_a_full_disk(self) -> None:
        self.journal.session("a").send(1)
        self.journal.commit()
        delivery = self.deliver()
        self.journal.session("b").send(2)
        self.journal.commit()
        self.full = True
        delivery.wake(1)
        self.clock.advance(1)
        self.assertEqual(delivery.progress.trouble, "the disk is full")
        before = self.cursor().state
        self.full = False
        self.clock.advance(60)
        self.assertEqual(self.numbers(), [1, 2])
        self.assertEqual(self.cursor().position, Position(3))
        self.assertEqual(
            self.sink.opened, [b"", own_state(before, "")], "what it told meanwhile was not kept"
        )


class PreparedTests(DeliveryTestCase):
    def test_the_same_batch_after_a_crash(self) -> None:
        session = self.journal.session("a").send(*range(5))
        self.journal.commit()
        sink = FakeSink(self.place, prepares=True, held=True)
        self.crash(self.deliver(sink=sink, batch=3))
        (batch,) = [batch for batch, _ in sink._waiting]
        self.assertEqual(self.cursor().pending, Position(1, 3))
        session.send(5)
        self.journal.commit()
        self.deliver(sink=FakeSink(self.place, prepares=True), batch=1000)
        self.assertEqual(self.sink.opened, [b"prepared " + batch.id.encode()])
        self.assertEqual(self.place.batches[0], batch)
        self.assertEqual([len(batch.records) for batch in self.place.batches], [3, 3])
        self.assertIsNone(self.cursor().pending)

    def test_it_is_not_written_before_its_bounds_are(self) -> None:
        self.journal.session("a").send(1)
        self.journal.commit()
        delivery = self.deliver(sink=FakeSink(self.place, prepares=True))
        self.journal.session("b").send(2)
        self.journal.commit()
        self.full = True
        delivery.wake(1)
        self.clock.advance(1)
        self.assertEqual(self.numbers(), [1])
        self.full = False
        self.clock.advance(60)
        self.assertEqual(self.numbers(), [1, 2])


class OperatorTests(DeliveryTestCase):
    def test_pause_and_resume(self) -> None:
        session = self.journal.session("a").send(1)
        self.journal.commit()
        delivery = self.deliver()
        with self.connection:
            cursors.pause(self.connection, "sink", True)
        self.clock.advance(POLL)
        session.send(2)
        self.journal.commit()
        delivery.wake(1)
        self.clock.pump([POLL] * 5)
        self.assertEqual((self.numbers(), delivery.progress.paused, delivery.progress.behind), ([1], True, 1))
        with self.connection:
            cursors.pause(self.connection, "sink", False)
        self.clock.pump([POLL] * 2)
        self.assertEqual((self.numbers(), delivery.progress.paused), ([1, 2], False))

    def test_rewind(self) -> None:
        self.journal.session("a").send(1)
        self.journal.commit()
        self.deliver()
        self.place.records.clear()
        with self.connection:
            cursors.rewind(self.connection, "sink", Position())
        self.clock.pump([POLL] * 2)
        self.assertEqual(self.numbers(), [1])

    def test_rewind_in_the_middle_of_a_batch(self) -> None:
        """What was written meanwhile does not move the cursor back to where it was."""
        self.journal.session("a").send(1)
        self.journal.commit()
        self.journal.session("b").send(2)
        self.journal.commit()
        sink = FakeSink(self.place, held=True)
        self.deliver(sink=sink, begin=Position(2))
        with self.connection:
            cursors.rewind(self.connection, "sink", Position())
        sink._held = False
        sink.let_go()
        self.clock.pump([POLL] * 2)
        self.assertEqual(sorted(self.numbers()), [1, 2])

    def test_forgotten(self) -> None:
        """It begins anew with what comes."""
        session = self.journal.session("a").send(1)
        self.journal.commit()
        delivery = self.deliver()
        with self.connection:
            cursors.forget(self.connection, "sink")
        self.clock.pump([POLL] * 2)
        session.send(2)
        self.journal.commit()
        delivery.wake(1)
        self.clock.pump([POLL] * 2)
        self.assertEqual(self.numbers(), [1, 2])


@implementer(IStep)
class OddStep:
    """Lets odd events pass, twice as many; cannot do with 5."""

    def session(self, session: Session) -> Session:
        return evolve(session, user_agent="hidden")

    def record(self, record: Record) -> Record | None:
        if record.seq == 5:
            raise ValueError("five")
        return replace(record, seq=record.seq * 2) if record.seq % 2 else None


class StepTests(DeliveryTestCase):
    def test_steps(self) -> None:
        self.journal.session("a").send(*range(1, 8))
        self.journal.commit()
        self.deliver(steps=[OddStep()])
        self.assertEqual([one.seq for one in self.place.records.values()], [2, 6, 14])
        self.assertEqual(self.place.sessions["a"].user_agent, "hidden")
        (letter,) = cursors.dead_letters(self.connection, "sink")
        self.assertEqual((letter.event, letter.reason), (4, "a step failed: ValueError"))
        self.assertEqual(self.cursor().position, Position(2))


class StopTests(DeliveryTestCase):
    def stop(self, delivery: Any) -> None:
        self.successResultOf(Deferred.fromCoroutine(delivery.stop()))

    def test_what_is_left_is_delivered(self) -> None:
        delivery = self.deliver(batch_age=10)
        self.journal.session("a").send(1)
        self.journal.commit()
        delivery.wake(1)
        self.assertEqual(self.numbers(), [])
        self.successResultOf(delivery.drain())
        self.assertEqual(self.numbers(), [1])
        self.stop(delivery)
        self.assertTrue(self.sink.closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_dead_sink_is_not_waited_for(self) -> None:
        self.place.away = SinkAway("dead")
        self.journal.session("a").send(1)
        self.journal.commit()
        delivery = self.deliver()
        self.successResultOf(delivery.drain())
        self.stop(delivery)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_sink_that_does_not_answer(self) -> None:
        self.journal.session("a").send(1)
        self.journal.commit()
        delivery = self.deliver(sink=FakeSink(self.place, held=True))
        drained = delivery.drain()
        self.assertNoResult(drained)
        self.stop(delivery)
        self.successResultOf(drained)
        self.assertEqual(self.cursor().position, Position(0))
