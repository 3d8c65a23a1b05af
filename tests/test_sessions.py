"""Sessions opened, resumed, shared and ended, over a journal that settles when it is told to."""

from collections import deque
from collections.abc import Mapping
from typing import Any

from attrs import asdict
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.errors import HandshakeRefused, NotStored, Refusal
from logui_tx.intake import Intake, LiveSession
from logui_tx.journal.entry import Entry, SessionRow
from logui_tx.journal.segment import Kind
from logui_tx.journal.state import SessionState
from logui_tx.model import AppDataChange, Batch, EndReason, Flight, Hello, Kept, Known, Limits
from logui_tx.sessions import LiveSessions, Opened
from logui_tx.sharing import Sharing
from logui_tx.stores.memory import MemorySessionStore
from tests.servers import CONNECTION, FLIGHT, FULL, stands
from tests.taking import take

OTHER = Flight("other", "application", "O", ("*",), True, "0.4.0", 0)
WINDOW = 1_800.0


class SlowStore(MemorySessionStore):
    """Answers a load or a save when it is told to."""

    slow = False

    def load(self, session_id: str) -> "Deferred[Known]":
        return self.answer(MemorySessionStore.load(self, session_id))

    def save(self, sessions: Mapping[str, Kept], ttl: float) -> "Deferred[None]":
        if not self.slow:
            return MemorySessionStore.save(self, sessions, ttl)
        return self.answer(succeed(None)).addCallback(lambda _: MemorySessionStore.save(self, sessions, ttl))

    def answer(self, result: "Deferred[Any]") -> "Deferred[Any]":
        if not self.slow:
            return result
        late: Deferred[Any] = Deferred()
        self.late.append(lambda: result.chainDeferred(late))
        return late


class SessionsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.waiting: deque[Entry] = deque()
        self.written: list[Entry] = []
        self.journal: dict[str, SessionState] = {}
        self.looked_up: list[str] = []
        self.erased: set[str] = set()
        self.store = SlowStore(self.clock)
        self.store.late = deque()
        limits = Limits(max_app_data=100)
        self.intake = Intake(self.clock, self.waiting.append, limits)
        self.sharing = Sharing(self.clock, self.intake, self.store, self.find, limits, "here")
        self.sessions = LiveSessions(self.clock, self.intake, self.sharing, limits)
        self.sharing.start()
        self.numbers = iter(range(1, 100))

    def find(self, session_id: str) -> "Deferred[SessionState | None]":
        self.looked_up.append(session_id)
        if session_id not in self.journal:
            entries = [entry for entry in self.written if entry.handle.row.id == session_id]
            if entries and session_id not in self.erased:
                return succeed(stands(entries))
        return self.store.answer(succeed(self.journal.get(session_id)))

    def settle(self, count: int = 0, error: NotStored | None = None) -> None:
        entries = [self.waiting.popleft() for _ in range(count or len(self.waiting))]
        if error is None:
            self.written += entries
            for entry in entries:
                if entry.handle.number is None:
                    entry.handle.number = next(self.numbers)
        self.intake.settled(entries, error)

    def kinds(self) -> list[Kind | None]:
        return [entry.kind for entry in self.written]

    def ask(
        self, session_id: str | None = None, flight: Flight = FLIGHT, dialect: str = "logui-0.4", **more: Any
    ) -> "Deferred[Opened]":
        more.setdefault("app_data", {})
        hello = Hello("token", 1_000_000_250, session_id=session_id, **more)
        return Deferred.fromCoroutine(self.sessions.open(flight, dialect, hello, CONNECTION))

    def open(self, session_id: str | None = None, *args: Any, **more: Any) -> Opened:
        asked = self.ask(session_id, *args, **more)
        self.settle()
        return self.successResultOf(asked)

    def end(self, session: LiveSession, reason: EndReason = EndReason.CLOSED) -> None:
        self.leave(session, reason)
        self.settle()

    def leave(self, session: LiveSession, reason: EndReason) -> None:
        """One of its sockets is gone."""
        self.sessions.leave(next(iter(session.sockets)), reason)

    def log(
        self, session: LiveSession, payload_id: int | None = None, instance: str = "", events: int = 2
    ) -> None:
        stored = take(self.intake, session, Batch(events, payload_id), b"[..]", instance, 0)
        stored.addErrback(lambda failure: failure.trap(NotStored))


class OpenTests(SessionsTestCase):
    def test_a_new_one_stands_in_the_journal_before_it_is_told(self) -> None:
        asked = self.ask(app_data={"k": b"1"}, referrer="https://page", user_agent="told")
        self.assertNoResult(asked)
        (entry,) = self.waiting
        session_id = entry.handle.row.id
        self.assertEqual(
            entry.handle.row,
            SessionRow(
                session_id,
                "flight",
                "application",
                "logui-0.4",
                1_000_000_000,
                "told",
                "https://origin",
                "https://page",
                client_started_at=1_000_000_250,
            ),
        )
        self.assertEqual((entry.kind, entry.app_data, entry.clock_offset), (Kind.OPENED, b'{"k":1}', 250))
        self.settle()
        opened = self.successResultOf(asked)
        self.assertEqual(
            (opened.session.id, opened.resumed, opened.last_payload_id, opened.clock_offset, opened.now),
            (session_id, False, 0, 250, 1_000_000_000),
        )
        self.assertIs(self.sessions.live[session_id], opened.session)

    def test_the_connections_referrer_where_the_page_names_none(self) -> None:
        self.assertEqual(self.open().session.handle.row.referrer, "https://before")

    def test_too_much_app_data(self) -> None:
        failure = self.failureResultOf(self.ask(app_data={"k": b'"%s"' % (b"x" * 100)}), HandshakeRefused)
        self.assertIs(failure.value.cause, Refusal.FIELD)
        self.assertEqual((self.sessions.live, self.waiting), ({}, deque()))

    def test_too_much_together_with_what_is_there(self) -> None:
        session = self.open(app_data={"a": b'"%s"' % (b"x" * 60)}).session
        self.failureResultOf(self.ask(session.id, app_data={"b": b'"%s"' % (b"x" * 60)}), HandshakeRefused)
        self.assertEqual((len(session.sockets), len(session.now.app_data.values)), (1, 1))

    def test_a_journal_that_cannot_be_written_refuses_nobody(self) -> None:
        asked = self.ask(app_data={"k": b"1"})
        self.settle(error=FULL)
        session = self.successResultOf(asked).session
        self.log(session)
        self.assertEqual((self.waiting[0].epoch, self.waiting[0].app_data), (1, b'{"k":1}'))
        self.settle(error=FULL)
        self.assertEqual(session.now.app_data.encoded, b'{"k":1}')

    def test_a_failed_handshake_does_not_undo_a_change_that_came_after_it(self) -> None:
        session = self.open().session
        self.ask()
        late = self.ask(session.id, app_data={"h": b"1"})
        self.settle(1, FULL)
        self.intake.change(session, AppDataChange({"c": b"2"}))
        self.settle(1, FULL)
        self.successResultOf(late)
        self.assertEqual(session.now.app_data.values, {"c": b"2", "h": b"1"})


class ResumeTests(SessionsTestCase):
    def at_rest(self, reason: EndReason = EndReason.CLOSED) -> LiveSession:
        session = self.open(app_data={"a": b"1", "b": b"2"}).session
        session.handle.version = 5
        self.log(session, 3, "tab")
        self.end(session, reason)
        self.assertEqual(self.sessions.live, {})
        return session

    def test_from_the_store(self) -> None:
        before = self.at_rest()
        self.clock.advance(60)
        opened = self.open(before.id, app_data={"b": b"null", "c": b"3"}, instance="tab")
        session = opened.session
        self.assertIsNot(session, before)
        self.assertEqual((session.id, opened.resumed, opened.last_payload_id), (before.id, True, 3))
        handle = session.handle
        self.assertEqual(
            (asdict(handle.row), handle.number, handle.version, handle.open, handle.app_data),
            (asdict(before.handle.row), 1, 5, False, b'{"a":1,"b":2}'),
        )
        self.assertEqual(session.now.last_seq, 2)
        self.assertEqual(session.committed.app_data.values, {"a": b"1", "c": b"3"})
        self.assertEqual((self.kinds()[-1], session.end_reason), (Kind.RESUMED, None))
        # The journal has the last word on whether there is such a session at all.
        self.assertEqual(self.looked_up, [session.id])
        self.log(session, 3, "tab")
        self.log(session, 4, "tab")
        self.assertEqual([entry.first_seq for entry in self.waiting], [3])
        self.settle()
        self.assertEqual(before.committed.payload_ids, {"tab": 3})

    def test_from_the_journal(self) -> None:
        row = SessionRow("old", "flight", "application", "logui-0.4", 5)
        self.journal["old"] = SessionState(asdict(row), 7, 2, 999_999_000, 11, b'{"x":1}', {"": 4}, "lost")
        opened = self.open("old")
        self.assertEqual((opened.resumed, opened.last_payload_id, self.looked_up), (True, 4, ["old"]))
        self.assertEqual((opened.session.now.last_seq, opened.session.handle.number), (11, 7))

    def test_what_was_refused_is_remembered(self) -> None:
        session = self.open().session
        self.log(session, 1)
        self.settle(error=FULL)
        self.end(session)
        again = self.open(session.id).session
        self.log(again, 2)
        self.assertFalse(self.waiting)
        self.log(again, 1)
        self.log(again, 2)
        self.assertEqual(len(self.waiting), 2)

    def assert_new(self, opened: Opened, other_than: str) -> None:
        self.assertFalse(opened.resumed)
        self.assertNotEqual(opened.session.id, other_than)
        self.assertEqual(self.kinds()[-1], Kind.OPENED)

    def test_an_unknown_one(self) -> None:
        self.assert_new(self.open("unknown"), "unknown")

    def test_anothers(self) -> None:
        before = self.at_rest()
        self.assert_new(self.open(before.id, OTHER), before.id)
        self.assert_new(self.open(before.id, dialect="kraken"), before.id)
        live = self.open().session
        self.assert_new(self.open(live.id, OTHER), live.id)
        self.assertEqual(len(live.sockets), 1)

    def test_the_window(self) -> None:
        for wait, resumed in ((WINDOW, True), (WINDOW + 0.001, False)):
            self.clock.advance(1)
            row = SessionRow("old", "flight", "application", "logui-0.4", 5)
            last = int((self.clock.seconds() - wait) * 1000)
            self.journal["old"] = SessionState(asdict(row), 7, 2, last, 11, b"{}", {}, "lost")
            opened = self.open("old")
            self.assertEqual(opened.resumed, resumed)
            self.end(opened.session)
            self.clock.advance(WINDOW)

    def test_the_store_forgets_after_the_window(self) -> None:
        before = self.at_rest()
        self.clock.advance(WINDOW + 1)
        self.assert_new(self.open(before.id), before.id)
        self.assertEqual(self.looked_up, [before.id])

    def test_not_after_shutdown_client(self) -> None:
        before = self.at_rest(EndReason.SHUTDOWN_CLIENT)
        self.assert_new(self.open(before.id), before.id)
        session = self.open().session
        self.leave(session, EndReason.SHUTDOWN_CLIENT)
        asked = self.ask(session.id)
        self.settle()
        self.assert_new(self.successResultOf(asked), session.id)

    def test_a_look_up_that_fails(self) -> None:
        self.sharing._find = lambda _: fail(ZeroDivisionError())
        self.failureResultOf(self.ask("any"), ZeroDivisionError)
        self.assertEqual((self.sessions.live, self.sessions._waking), ({}, {}))

    def test_at_the_same_time(self) -> None:
        for forgotten in (False, True):
            before = self.at_rest()
            if forgotten:
                self.journal[before.id] = self.sessions_state(before)
                self.store.forget(before.id)
            self.store.slow = True
            asked = [self.ask(before.id), self.ask(before.id)]
            while self.store.late:
                self.store.late.popleft()()
            self.store.slow = False
            self.settle()
            first, second = map(self.successResultOf, asked)
            self.assertIs(first.session, second.session)
            self.assertEqual(len(first.session.sockets), 2)
            self.log(first.session)
            self.log(second.session)
            self.assertEqual([entry.first_seq for entry in self.waiting], [3, 5])
            self.leave(second.session, EndReason.LOST)
            self.end(first.session)

    def sessions_state(self, session: LiveSession) -> SessionState:
        row, stands = asdict(session.handle.row), session.committed
        return SessionState(row, 1, 5, session.last_activity, stands.last_seq, b"{}", stands.payload_ids)

    def test_one_that_was_erased_is_not_gone_on_with(self) -> None:
        before = self.at_rest()
        self.erased.add(before.id)
        opened = self.open(before.id)
        self.assertFalse(opened.resumed)
        self.assertNotEqual(opened.session.id, before.id)

    def test_nobody_wakes_up_an_older_state(self) -> None:
        # Two ask; the first is answered, logs and leaves before the second would be.
        before = self.at_rest()
        self.store.slow = True
        asked = [self.ask(before.id), self.ask(before.id)]
        self.store.late.popleft()()
        self.store.slow = False
        self.settle()
        first = self.successResultOf(asked[0]).session
        self.log(first)
        self.end(first)
        while self.store.late:
            self.store.late.popleft()()
        self.settle()
        second = self.successResultOf(asked[1]).session
        self.assertEqual(second.committed.last_seq, 4)
