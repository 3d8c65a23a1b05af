"""One connection's talk in LogUI 0.4, over a journal that settles when it is told to."""

import json
from collections import deque
from typing import Any
from unittest.mock import Mock

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from logui_tx.conversation import Conversation
from logui_tx.dialects.logui04 import LogUI04
from logui_tx.errors import HandshakeRefused, NotStored, Refusal
from logui_tx.intake import Intake
from logui_tx.interfaces import IDialect, IPeer
from logui_tx.journal.entry import Entry
from logui_tx.journal.segment import Kind
from logui_tx.model import Close, Connection, EndReason, Flight, Hello, Limits
from logui_tx.sessions import LiveSessions, Opened
from logui_tx.sharing import Sharing
from logui_tx.stores.memory import MemorySessionStore

FULL = NotStored("disk full")
FLIGHT = Flight("flight", "application", "F", ("*",), True, "0.4.0", 0)


@implementer(IPeer)
class FakePeer:
    """``heard`` is what the client got: status codes, with the payloadID where there is one, and ends."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.messages: list[dict[str, Any]] = []
        self.paused = False

    def send(self, message: bytes) -> None:
        told = json.loads(message)
        self.messages.append(told)
        code = told["statusCode"]
        self.heard.append(f"{code} #{told['payloadID']}" if "payloadID" in told else code)

    def close(self, how: Close) -> None:
        self.heard.append(how.code)

    def pause(self) -> None:
        assert not self.paused
        self.paused = True

    def resume(self) -> None:
        assert self.paused
        self.paused = False


class ConversationTestCase(SynchronousTestCase):
    limits = Limits(max_unacknowledged=1000, max_in_flight=5000)

    def setUp(self) -> None:
        self.clock = Clock()
        self.waiting: deque[Entry] = deque()
        self.written: list[Entry] = []
        self.gate: Deferred[None] = succeed(None)
        self.dialect: IDialect = LogUI04()
        self.intake = Intake(self.clock, self.waiting.append, self.limits)
        store = MemorySessionStore(self.clock)
        sharing = Sharing(self.clock, self.intake, store, lambda _: succeed(None), self.limits, "here")
        self.sessions = LiveSessions(self.clock, self.intake, sharing, self.limits)
        self.peer, self.talk = self.connect()

    def connect(self) -> tuple[FakePeer, Conversation]:
        peer = FakePeer()
        parts: dict[str, Any] = {"sessions": self.sessions, "intake": self.intake, "clock": self.clock}
        connection = Connection("192.0.2.1")
        talk = Conversation(peer, self.dialect, connection, admit=self.admit, limits=self.limits, **parts)
        return peer, talk

    def admit(self, hello: Hello, connection: Connection, dialect: IDialect) -> "Deferred[Opened]":
        async def admit() -> Opened:
            await self.gate
            return await self.sessions.open(FLIGHT, dialect.name, hello, connection)

        return Deferred.fromCoroutine(admit())

    def settle(self, count: int = 0, error: NotStored | None = None) -> None:
        entries = [self.waiting.popleft() for _ in range(count or len(self.waiting))]
        for entry in entries if error is None else ():
            entry.handle.number = 1
            self.written.append(entry)
        self.intake.settled(entries, error)

    def tell(self, kind: str, **more: Any) -> None:
        self.talk.received(json.dumps({"payloadType": kind, **more}).encode(), False)

    def hello(self, **more: Any) -> None:
        self.tell("LogUIHandshake", clientDateTime=1000, appIdentifier="t", appSpecificLogData={}, **more)

    def begin(self) -> None:
        self.hello()
        self.settle()
        self.peer.heard.clear()

    def events(self, payload_id: int | None = None, **more: Any) -> None:
        numbered = {} if payload_id is None else {"payloadID": payload_id}
        self.tell("LogUIEventPayload", eventsToBeLogged=[{"clientDateTime": 1}], **numbered, **more)

    def change(self, **data: Any) -> None:
        self.tell("LogUIAppSpecificLogDataChange", appSpecificLogData=data)

    def bad(self) -> None:
        self.talk.received(b"?", False)

    def assert_ended(self, reason: str) -> None:
        self.settle()
        self.assertEqual((self.written[-1].kind, self.written[-1].end_reason), (Kind.ENDED, reason))
        self.assertEqual(self.sessions.live, {})


class HandshakeTests(ConversationTestCase):
    def test_welcome_once_it_is_durable(self) -> None:
        self.hello()
        self.assertEqual(self.peer.heard, [])
        self.settle()
        self.assertEqual(self.peer.heard, ["200"])
        self.assertIn(self.peer.messages[0]["sessionIdentifier"], self.sessions.live)

    def test_not_a_handshake(self) -> None:
        self.bad()
        self.events()
        self.assertEqual((self.peer.heard, self.sessions.live), (["400", 1008], {}))

    def test_not_admitted(self) -> None:
        self.gate = Deferred()
        self.hello()
        self.gate.errback(HandshakeRefused(Refusal.DOMAIN, "Not from there."))
        self.assertEqual(self.peer.messages[0]["errorDetails"]["errorString"], "Not from there.")
        self.assertEqual(self.peer.heard, ["400", 1008])

    def test_none_in_time(self) -> None:
        self.clock.advance(9.999)
        self.assertEqual(self.peer.heard, [])
        self.clock.advance(0.001)
        self.assertEqual(self.peer.heard, ["400", 1008])
        self.hello()
        self.assertEqual(len(self.peer.heard), 2)
        _, gone = self.connect()
        gone.lost(EndReason.LOST)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_early_messages_keep_their_order(self) -> None:
        self.gate = Deferred()
        self.hello()
        self.events(1)
        self.change(a=1)
        self.events(2)
        self.clock.advance(100)
        self.gate.callback(None)
        self.assertEqual([entry.kind for entry in self.waiting], [Kind.OPENED])
        self.settle()
        self.events(3)
        self.assertEqual([entry.payload_id for entry in self.waiting], [1, None, 2, 3])
        self.settle()
        self.assertEqual(self.peer.heard, ["200", "201 #1", "201", "201 #2", "201 #3"])


class OrphanTests(ConversationTestCase):
    def test_heard_to_the_end(self) -> None:
        self.hello()
        self.events(1)
        self.talk.lost(EndReason.CLOSED)
        self.talk.announce()
        self.talk.drain()
        self.settle()
        self.assert_ended("closed")
        self.assertEqual([entry.kind for entry in self.written], [Kind.OPENED, Kind.EVENTS, Kind.ENDED])

    def test_who_said_it_leaves(self) -> None:
        self.hello()
        self.events(session="shutdownClient")
        self.talk.lost(EndReason.LOST)
        self.settle()
        self.assert_ended("shutdownClient")

    def test_refused(self) -> None:
        self.gate = Deferred()
        self.hello()
        self.talk.lost(EndReason.LOST)
        self.gate.errback(HandshakeRefused(Refusal.TOKEN, "No."))
        self.assertEqual((self.peer.heard, self.sessions.live), ([], {}))


class ListeningTests(ConversationTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.begin()

    def test_answers_in_the_order_of_the_messages(self) -> None:
        self.events(1)
        self.bad()
        self.change(a=1)
        self.tell("LogUIEventPayload", eventsToBeLogged=[0])
        self.events(1)
        self.settle(1)
        self.assertEqual(self.peer.heard, ["201 #1", "401"])
        self.settle()
        self.assertEqual(self.peer.heard, ["201 #1", "401", "201", "403", "201 #1"])

    def test_what_is_answered_at_once_waits_for_what_came_before(self) -> None:
        self.events(1)
        self.settle()
        self.events(2)
        self.events(1)
        self.assertEqual(self.peer.heard, ["201 #1"])
        self.settle()
        self.assertEqual(self.peer.heard, ["201 #1", "201 #2", "201 #1"])

    def test_the_fifth_hit_comes_after_what_is_in_flight(self) -> None:
        self.events(1)
        for _ in range(5):
            self.bad()
        self.events(2)
        self.talk.lost(EndReason.CLOSED)
        self.assert_ended("badRequests")
        self.assertEqual(self.peer.heard, ["201 #1", *["401"] * 4, "402", 1008])

    def test_not_stored(self) -> None:
        self.events(1)
        self.change(a=1)
        self.settle(error=FULL)
        self.events(2)
        self.events(1)
        self.settle()
        self.assertEqual(self.peer.heard, ["500 #1", "500", "500 #2", "201 #1"])

    def test_lost(self) -> None:
        self.events(1)
        self.talk.lost(EndReason.CLOSED)
        self.events(2)
        self.assert_ended("closed")
        self.assertEqual([entry.payload_id for entry in self.written], [None, 1, None])


class LeavingTests(ConversationTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.begin()

    def test_stored_then_closed(self) -> None:
        self.events(1, session="leavingPage")
        self.events(2)
        self.settle(1)
        self.talk.lost(EndReason.CLOSED)
        self.assert_ended("leavingPage")
        self.assertEqual(self.peer.heard, [1000])

    def test_a_repeat_is_enough(self) -> None:
        self.events(1)
        self.settle()
        self.events(1, session="shutdownClient")
        self.assertEqual(self.peer.heard, ["201 #1", 1000])
        self.assert_ended("shutdownClient")

    def test_not_stored_goes_on_in_order(self) -> None:
        self.events(1, session="leavingPage")
        self.events(2)
        self.bad()
        self.settle(error=FULL)
        self.assertEqual(self.peer.heard, ["500 #1", "500 #2", "401"])
        self.talk.lost(EndReason.CLOSED)
        self.assert_ended("closed")

    def test_an_older_payloads_failure_is_not_the_farewells(self) -> None:
        # The notice of payload 1 comes late: the farewell is of a newer epoch and will be stored.
        mine, self.talk = self.talk, self.connect()[1]
        self.hello()
        self.talk = mine
        self.events()
        self.settle(1, FULL)
        self.events(session="shutdownClient")
        self.bad()
        self.settle(1, FULL)
        self.assertEqual(self.peer.heard, ["500"])
        self.settle(1)
        self.assertEqual(self.peer.heard, ["500", 1000])
        self.settle()
        self.assertEqual(self.written[-1].end_reason, "shutdownClient")


class ShutdownTests(ConversationTestCase):
    def test_not_shaken_hands(self) -> None:
        self.talk.announce()
        self.assertEqual((self.peer.heard, self.clock.getDelayedCalls()), (["400", 1008], []))

    def test_in_admission(self) -> None:
        self.hello()
        self.talk.announce()
        self.assertEqual(self.peer.heard, ["400", 1008])
        self.talk.lost(EndReason.CLOSED)
        self.settle()
        self.assert_ended("serverShutdown")

    def test_served_until_the_end(self) -> None:
        self.begin()
        self.talk.announce()
        self.talk.announce()
        self.events(1)
        self.settle()
        self.events(2)
        self.talk.drain()
        self.events(3)
        self.assertEqual(self.peer.heard, ["501", "201 #1"])
        self.assert_ended("serverShutdown")
        self.assertEqual(self.peer.heard, ["501", "201 #1", "201 #2", 1001])


class CrashTests(ConversationTestCase):
    def crash_in(self, name: str) -> None:
        self.talk._dialect = broken = Mock(wraps=self.dialect)
        broken.name = self.dialect.name
        getattr(broken, name).side_effect = ZeroDivisionError

    def assert_crashed(self, *before: str) -> None:
        self.assertEqual(self.peer.heard, [*before, "500", 1011])
        self.assertTrue(self.flushLoggedErrors(ZeroDivisionError))
        self.settle()
        self.assertEqual(self.sessions.live, {})

    def test_in_the_handshake(self) -> None:
        for name in ("read_hello", "welcome"):
            self.setUp()
            self.crash_in(name)
            self.hello()
            self.settle()
            self.assert_crashed()

    def test_in_admission(self) -> None:
        self.gate = Deferred()
        self.hello()
        self.gate.errback(ZeroDivisionError())
        self.assert_crashed()

    def test_in_reading(self) -> None:
        self.begin()
        self.events(1)
        self.crash_in("read")
        self.events(2)
        self.events(3)
        self.settle(1)
        self.assert_crashed("201 #1")

    def test_in_answering(self) -> None:
        for name, status in (("stored", None), ("changed", None), ("unstored", FULL)):
            self.setUp()
            self.begin()
            self.crash_in(name)
            self.change() if name == "changed" else self.events(1)
            self.settle(error=status)
            self.assert_crashed()
