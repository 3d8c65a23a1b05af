"""Stamps, receipts and refusals, with a journal that settles when it is told to."""

from collections import deque
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.errors import BadRequest, NotStored
from logui_tx.intake import Intake, LiveSession
from logui_tx.journal.entry import Entry, SessionHandle, SessionRow
from logui_tx.journal.segment import Kind
from logui_tx.model import AppDataChange, Batch, EndReason, Limits, Receipt
from tests.taking import take

FULL = NotStored("disk full")


class IntakeTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000)
        self.waiting: deque[Entry] = deque()
        self.intake = self.make()
        self.session = self.new_session("s")

    def make(self, **limits: Any) -> Intake:
        return Intake(self.clock, self.waiting.append, Limits(**limits))

    def new_session(self, name: str) -> LiveSession:
        row = SessionRow(name, "flight", "application", "logui-0.4", 0)
        session = self.intake.live[name] = LiveSession(name, "flight", SessionHandle(row), 0)
        return session

    def store(
        self, payload_id: int | None = None, *, events: int = 1, instance: str = "", **more: Any
    ) -> "Deferred[Receipt]":
        batch = Batch(events, payload_id, more.pop("named", None))
        session = more.pop("session", self.session)
        return take(self.intake, session, batch, more.pop("message", b"[...]"), instance, 7)

    def change(self, **changes: bytes) -> "Deferred[Receipt]":
        return self.intake.change(self.session, AppDataChange(changes))

    def settle(self, count: int = 0, error: NotStored | None = None) -> list[Entry]:
        """The journal settles the oldest entries, by default all that wait now."""
        entries = [self.waiting.popleft() for _ in range(count or len(self.waiting))]
        self.intake.settled(entries, error)
        return entries

    def assert_refused(self, stored: "Deferred[Receipt]") -> str:
        return str(self.failureResultOf(stored, NotStored).value)


class StampTests(IntakeTestCase):
    def test_an_entry_tells_everything(self) -> None:
        self.intake.open(self.session, resumed=False, clock_offset=-5)
        self.change(k=b"1")
        self.store(4, events=3, instance="tab", message=b"MSG")
        self.clock.advance(0.25)
        self.intake.open(self.session, resumed=True, clock_offset=9)
        self.intake.end(self.session, EndReason.CLOSED, 999_000)
        h = self.session.handle
        expected = [
            Entry(Kind.OPENED, h, 1_000_000, b"{}", 0, clock_offset=-5),
            Entry(Kind.CHANGED, h, 1_000_000, b'{"k":1}', 0),
            Entry(Kind.EVENTS, h, 1_000_000, b'{"k":1}', 0, b"MSG", 1, 3, 7, 4, "tab"),
            Entry(Kind.RESUMED, h, 1_000_250, b'{"k":1}', 0, clock_offset=9),
            Entry(Kind.ENDED, h, 999_000, b'{"k":1}', 0, end_reason="closed"),
        ]

        def told(entry: Entry) -> tuple[Any, ...]:
            return tuple(
                getattr(entry, name) for name in Entry.__slots__ if name not in ("context", "__weakref__")
            )

        self.assertEqual(list(map(told, self.waiting)), list(map(told, expected)))
        self.assertIs(self.session.end_reason, EndReason.CLOSED)

    def test_numbers_go_on_without_gaps(self) -> None:
        receipts = [self.store(events=2), self.store(events=0), self.store(events=3)]
        self.assertEqual([(e.first_seq, e.count) for e in self.waiting], [(1, 2), (3, 0), (3, 3)])
        for receipt in receipts:
            self.assertNoResult(receipt)
        self.settle()
        got = [self.successResultOf(receipt) for receipt in receipts]
        self.assertEqual(got, [Receipt(None, 1, 2), Receipt(None, 3, 0), Receipt(None, 3, 3)])
        self.assertEqual((self.session.committed.last_seq, self.intake.stored_events), (5, 5))

    def test_app_data_is_that_of_the_place_in_the_stream(self) -> None:
        self.store()
        self.change(a=b"1")
        self.store()
        self.change(a=b"null")
        self.store()
        self.assertEqual(
            [entry.app_data for entry in self.waiting], [b"{}", b'{"a":1}', b'{"a":1}', b"{}", b"{}"]
        )
        self.settle(3)
        self.assertEqual(self.session.committed.app_data.encoded, b'{"a":1}')

    def test_too_much_app_data_changes_nothing(self) -> None:
        self.intake = self.make(max_app_data=12)
        self.change(a=b'"1234"')
        error = self.assertRaises(BadRequest, self.change, b=b"1")
        self.assertIn("12", str(error))
        self.assertEqual(self.session.now.app_data.encoded, b'{"a":"1234"}')
        self.assertEqual(len(self.waiting), 1)


class BorneDataTests(IntakeTestCase):
    """Where events bear their data themselves."""

    def force(self, borne: bytes, **more: Any) -> bytes:
        self.intake.put_in_force(self.session, borne, **{"before": None, "updated": False, **more})
        return self.session.now.app_data.encoded

    def test_what_is_borne_is_in_force(self) -> None:
        self.change(a=b"1")
        self.assertEqual(self.force(b'{"b":2}', before=b'{"c":3}'), b'{"b":2}')
        self.assertEqual([entry.kind for entry in self.waiting], [Kind.CHANGED, Kind.CHANGED])
        self.force(b'{"b":2}')
        self.assertEqual(len(self.waiting), 2)

    def test_updated_among_them(self) -> None:
        """The first were made before: under what this page bore then, or what was in force."""
        self.change(a=b"1")
        self.store()
        self.assertEqual(self.force(b'{"b":2}', updated=True), b'{"a":1}')
        self.assertEqual(self.force(b'{"b":2}', updated=True, before=b'{"c":3}'), b'{"c":3}')

    def test_updated_in_the_first(self) -> None:
        self.assertEqual(self.force(b'{"b":2}', updated=True, before=b'{"c":3}'), b'{"b":2}')

    def test_too_much(self) -> None:
        self.intake = self.make(max_app_data=12)
        self.assertRaises(BadRequest, self.force, b'{"a":"123456"}')
        self.assertFalse(self.waiting)


class RepeatTests(IntakeTestCase):
    def test_stored_is_acknowledged_at_once(self) -> None:
        self.store(3, events=2)
        self.settle()
        for payload_id in (3, 1):
            repeat = self.successResultOf(self.store(payload_id, events=2))
            self.assertEqual(repeat, Receipt(payload_id, repeated=True))
        self.assertFalse(self.waiting)
        self.assertEqual(self.session.now.last_seq, 2)

    def test_in_flight_waits_for_the_first(self) -> None:
        self.store(1, events=2)
        repeat = self.store(1, events=2)
        self.assertEqual(self.waiting[1].kind, None)
        self.settle(1)
        self.assertNoResult(repeat)
        self.settle(1)
        self.assertEqual(self.successResultOf(repeat), Receipt(1, 0, 0, repeated=True))
        self.assertEqual(self.session.committed.last_seq, 2)

    def test_in_flight_and_refused(self) -> None:
        first, repeat = self.store(1), self.store(1)
        self.settle(error=FULL)
        self.assert_refused(first)
        self.assert_refused(repeat)
        again = self.store(1)
        self.settle()
        self.assertFalse(self.successResultOf(again).repeated)

    def test_each_instance_counts_for_itself(self) -> None:
        self.store(5, instance="a")
        self.store(1, instance="b")
        self.store(6, instance="b", named="a")
        self.settle()
        self.assertEqual(self.session.committed.payload_ids, {"a": 6, "b": 1})

    def test_most_instances(self) -> None:
        self.intake = self.make(max_instances=2)
        for name in "ab":
            self.store(1, instance=name)
        self.assertIn("2", str(self.assertRaises(BadRequest, self.store, 1, instance="c")))
        self.store(2, instance="a")
        self.store(instance="c")
        self.assertEqual(self.session.now.last_seq, 4)

    def test_most_instances_while_nothing_can_be_stored(self) -> None:
        self.intake = self.make(max_instances=2)
        for name in "aba":
            self.store(1, instance=name).addErrback(lambda _: None)
            self.settle(error=FULL)
        self.assertRaises(BadRequest, self.store, 1, instance="c")


class RefusalTests(IntakeTestCase):
    def test_everything_goes_back_to_what_is_on_disk(self) -> None:
        self.change(a=b"1")
        self.store(1, events=2)
        self.settle()
        lost = [self.change(a=b"2"), self.store(2, events=4), self.store(events=1)]
        self.settle(error=FULL)
        self.assertEqual([self.assert_refused(each) for each in lost], ["disk full"] * 3)
        now = self.session.now
        self.assertEqual((now.last_seq, now.app_data.encoded, now.payload_ids), (2, b'{"a":1}', {"": 1}))
        self.store(2)
        (entry,) = self.waiting
        self.assertEqual((entry.epoch, entry.first_seq, entry.app_data), (1, 3, b'{"a":1}'))

    def test_later_ones_are_refused_until_the_refused_is_stored(self) -> None:
        self.store(4).addErrback(lambda _: None)
        self.settle(error=FULL)
        self.assertIn("payload 4", self.assert_refused(self.store(5)))
        self.store(1, instance="other")
        self.store()
        self.store(4)
        self.store(5)
        self.assertEqual([entry.payload_id for entry in self.settle()], [1, None, 4, 5])

    def test_every_refused_one_counts(self) -> None:
        # 1 comes again, then 3, which is new: 2 must not be taken for a repeat when it comes.
        for payload_id in (1, 2):
            self.store(payload_id).addErrback(lambda _: None)
        self.settle(error=FULL)
        self.store(1)
        self.settle()
        self.assertIn("payload 2", self.assert_refused(self.store(3)))
        second = self.store(2)
        self.settle()
        self.assertFalse(self.successResultOf(second).repeated)
        # 3 was told 500 without being tried, and counts too.
        self.assertIn("payload 3", self.assert_refused(self.store(4)))
        self.store(3)
        self.store(4)
        self.assertEqual([entry.payload_id for entry in self.settle()], [3, 4])

    def test_refused_twice(self) -> None:
        for _ in range(2):
            self.store(1).addErrback(lambda _: None)
            self.settle(error=FULL)
        self.assertEqual(self.session.refused, {"": [1]})
        self.store(1)
        self.store(2)
        self.settle()
        self.assertEqual(self.session.committed.payload_ids, {"": 2})

    def test_all_are_noted_before_any_is_told(self) -> None:
        told: list[Any] = []
        first = self.store(1)
        first.addErrback(lambda _: self.store(2).addErrback(told.append))
        self.store(2).addErrback(lambda _: None)
        self.settle(error=FULL)
        self.assertEqual(len(told), 1)

    def test_a_late_notice_cannot_be_overtaken(self) -> None:
        # The commit of another session's entry failed; this one's waits to be told. What comes between must
        # not get ahead of it, or its retry would be taken for a repeat and never be stored.
        self.store(1, session=self.new_session("other")).addErrback(lambda _: None)
        first = self.store(1)
        self.settle(1, FULL)
        self.assert_refused(self.store(2))
        self.settle(error=FULL)
        self.assert_refused(first)
        first = self.store(1)
        self.settle()
        self.assertFalse(self.successResultOf(first).repeated)
        self.assertEqual(self.session.committed.last_seq, 1)

    def test_a_late_notice_does_not_refuse_what_came_again(self) -> None:
        self.store(1).addErrback(lambda _: None)
        stale = self.store(2)
        self.settle(1, FULL)
        again = [self.store(1), self.store(2)]
        self.settle(1, FULL)
        self.assert_refused(stale)
        third = self.store(3)
        self.settle()
        self.assertEqual([self.successResultOf(d).first_seq for d in [*again, third]], [1, 2, 3])

    def test_a_late_notice_begins_nothing_anew(self) -> None:
        self.store(1).addErrback(lambda _: None)
        self.store(2).addErrback(lambda _: None)
        self.settle(1, FULL)
        again = self.store(1)
        self.settle(1, FULL)
        self.store(2)
        self.assertEqual([(e.epoch, e.first_seq) for e in self.waiting], [(1, 1), (1, 2)])
        self.settle()
        self.successResultOf(again)

    def test_a_session_without_anything_in_flight_stays_as_it_is(self) -> None:
        self.store(1)
        self.settle()
        stands = self.session.now
        self.store(1, session=self.new_session("other")).addErrback(lambda _: None)
        self.settle(error=FULL)
        self.assertIs(self.session.now, stands)


class FlowTests(IntakeTestCase):
    def test_congested_by_what_is_in_flight(self) -> None:
        self.intake = self.make(max_in_flight=10)
        self.store(message=b"12345")
        self.store(message=b"67890")
        self.assertFalse(self.intake.congested)
        self.store(message=b"x")
        self.assertTrue(self.intake.congested)
        calls: list[str] = []

        def once() -> None:
            calls.append("once")

        self.intake.when_clear(once)
        self.intake.when_clear(once)
        self.intake.when_clear(lambda: calls.append("other"))
        self.assertEqual(calls, [])
        self.settle(1)
        self.assertEqual((self.intake.congested, calls), (False, ["once", "other"]))
        self.settle()
        self.assertEqual(calls, ["once", "other"])

    def test_still_congested_keeps_waiting(self) -> None:
        self.intake = self.make(max_in_flight=10)
        for _ in range(3):
            self.store(message=b"1234567").addErrback(lambda _: None)
        calls: list[int] = []
        self.intake.when_clear(lambda: calls.append(1))
        self.settle(1)
        self.assertEqual(calls, [])
        self.settle(error=FULL)
        self.assertEqual(calls, [1])

    def test_congested_by_many_small_ones(self) -> None:
        """They take more in memory than they bring."""
        self.intake = self.make(max_in_flight=600_000)
        for _ in range(1171):
            self.store(message=b"[]")
        self.assertFalse(self.intake.congested)
        self.store(message=b"[]")
        self.assertTrue(self.intake.congested)
        self.settle(1)
        self.assertFalse(self.intake.congested)

    def test_large_app_data_counts(self) -> None:
        self.intake = self.make(max_in_flight=1000)
        self.change(a=b'"%s"' % (b"x" * 600))
        self.change(b=b"1")
        self.assertTrue(self.intake.congested)

    def test_when_idle(self) -> None:
        self.successResultOf(self.intake.when_idle())
        self.store()
        self.store().addErrback(lambda _: None)
        idle = [self.intake.when_idle(), self.intake.when_idle()]
        self.settle(1)
        self.assertNoResult(idle[0])
        self.settle(1, FULL)
        for each in idle:
            self.successResultOf(each)

    def test_not_idle_if_an_answer_led_to_more(self) -> None:
        self.store().addCallback(lambda _: self.store())
        idle = self.intake.when_idle()
        self.settle()
        self.assertNoResult(idle)
        self.settle()
        self.successResultOf(idle)

    def test_one_who_fails_on_the_answer_keeps_it_from_nobody(self) -> None:
        class Failing:
            def callback(self, _receipt: Receipt) -> None:
                raise ZeroDivisionError

            def errback(self, _why: NotStored) -> None:
                raise ZeroDivisionError

        for error in (None, FULL):
            first = self.store()
            self.intake.take(self.session, Batch(1), b"[...]", "", 7, Failing())
            last = self.store()
            idle = self.intake.when_idle()
            self.settle(error=error)
            for each in (first, last):
                (self.failureResultOf if error else self.successResultOf)(each)
            self.successResultOf(idle)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
