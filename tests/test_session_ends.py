"""Sessions left and ended, over a journal that settles when it is told to."""

from logui_tx.intake import LiveSession
from logui_tx.journal.segment import Kind
from logui_tx.model import EndReason
from logui_tx.sessions import RETRY_END
from tests.test_sessions import FULL, WINDOW, SessionsTestCase


class LeaveTests(SessionsTestCase):
    def test_the_last_socket_ends_it(self) -> None:
        session = self.open().session
        self.open(session.id)
        self.leave(session, EndReason.LEAVING_PAGE)
        self.assertFalse(self.waiting)
        self.clock.advance(3)
        self.end(session, EndReason.LOST)
        last = self.written[-1]
        self.assertEqual((last.kind, last.end_reason, last.received), (Kind.ENDED, "lost", 1_000_003_000))
        self.assertEqual(self.sessions.live, {})

    def test_resumed_while_the_end_is_in_flight(self) -> None:
        session = self.open().session
        self.leave(session, EndReason.LOST)
        opened = self.open(session.id)
        self.assertIs(opened.session, session)
        self.assertEqual(self.kinds(), [Kind.OPENED, Kind.ENDED, Kind.RESUMED])
        self.assertIs(self.sessions.live[session.id], session)
        self.assertFalse(self.store._sessions)
        self.clock.advance(2 * WINDOW)
        self.assertIs(self.open(session.id).session, session)
        self.leave(session, EndReason.LOST)
        self.end(session)
        self.assertEqual(self.sessions.live, {})

    def test_ended_twice_in_flight(self) -> None:
        session = self.open().session
        self.leave(session, EndReason.LOST)
        self.ask(session.id)
        self.leave(session, EndReason.CLOSED)
        self.settle(1)
        self.assertIn(session.id, self.sessions.live)
        self.settle()
        self.assertEqual(self.sessions.live, {})
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_resumed_while_it_is_put_to_rest(self) -> None:
        session = self.open().session
        self.store.slow = True
        self.end(session)
        asked = self.ask(session.id)
        # Its numbers may be another server's from now on: it is woken anew once it rests.
        self.assertFalse(self.waiting)
        self.store.slow = False
        self.store.late.popleft()()
        self.settle()
        again = self.successResultOf(asked).session
        self.assertIsNot(again, session)
        self.assertEqual((again.id, self.sessions.live), (session.id, {session.id: again}))
        self.assertEqual((len(session.sockets), len(again.sockets)), (0, 1))


class OwedEndTests(SessionsTestCase):
    def fail_to_end(self, session: LiveSession) -> None:
        self.leave(session, EndReason.CLOSED)
        self.settle(error=FULL)
        self.assertIn(session.id, self.sessions.live)

    def test_tried_again_with_its_own_time(self) -> None:
        session = self.open().session
        self.fail_to_end(session)
        for _ in range(3):
            self.clock.advance(RETRY_END)
            self.settle(error=FULL)
        self.clock.advance(RETRY_END)
        self.settle()
        last = self.written[-1]
        self.assertEqual((last.kind, last.end_reason, last.received), (Kind.ENDED, "closed", 1_000_000_000))
        self.assertEqual((self.sessions.live, session.last_activity), ({}, 1_000_000_000))
        self.clock.advance(10 * RETRY_END)
        self.assertFalse(self.waiting)

    def test_not_where_it_was_resumed(self) -> None:
        session = self.open().session
        self.fail_to_end(session)
        self.assertIs(self.open(session.id).session, session)
        self.clock.advance(RETRY_END)
        self.assertFalse(self.waiting)

    def test_not_where_it_has_ended_since(self) -> None:
        session = self.open().session
        self.fail_to_end(session)
        self.open(session.id)
        self.end(session)
        again = self.open(session.id).session
        self.assertIsNot(again, session)
        self.clock.advance(RETRY_END)
        self.assertFalse(self.waiting)
        self.assertIs(self.sessions.live[session.id], again)

    def test_not_while_another_end_is_in_flight(self) -> None:
        session = self.open().session
        self.fail_to_end(session)
        self.open(session.id)
        self.leave(session, EndReason.LOST)
        self.clock.advance(RETRY_END)
        self.assertEqual([entry.end_reason for entry in self.waiting], ["lost"])
        self.settle(error=FULL)
        self.clock.advance(RETRY_END)
        self.assertEqual([entry.end_reason for entry in self.waiting], ["lost"])
