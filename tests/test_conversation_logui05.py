"""One connection's talk in LogUI 0.5: where its manners differ from LogUI 0.4's."""

import json
from collections import deque
from typing import Any

from twisted.internet.defer import Deferred

from logui_tx.dialects.logui05 import LogUI05
from logui_tx.errors import HandshakeRefused, Refusal
from logui_tx.journal.segment import Kind
from logui_tx.model import Close, EndReason, Limits
from tests.logui05 import ITEM, MARKER, T, events, handshake, item, message
from tests.test_conversation import FULL, ConversationTestCase

BACK = Close(None)
"""The client comes back."""


class Peer:
    """``heard``: the payloads of answers, and ends."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def send(self, message: bytes) -> None:
        self.heard.append(json.loads(message)["payload"])

    def close(self, how: Close) -> None:
        self.heard.append(how)

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass


class LogUI05TestCase(ConversationTestCase):
    limits = Limits(max_app_data=100)

    def setUp(self) -> None:
        super().setUp()
        self.talk.lost(EndReason.LOST)
        self.clock.advance(T / 1000 + 5)
        self.dialect = LogUI05(max_events=20)
        self.peer, self.talk = self.connect()

    def connect(self) -> Any:
        _, talk = super().connect()
        talk._peer = peer = Peer()
        return peer, talk

    def say(self, *messages: Any, to: Any = None) -> None:
        for told in messages:
            text = told if isinstance(told, bytes) else json.dumps(told).encode()
            (to or self.talk).received(text, False)

    def begin(self, session: str | None = None) -> str:
        """Another connection, which shakes hands; its session's identifier."""
        self.peer, self.talk = self.connect()
        self.say(handshake("t", sessionID=session))
        self.settle()
        (welcome,) = self.peer.heard
        self.peer.heard.clear()
        return welcome["sessionID"]

    def stored(self) -> list[tuple[int, bytes]]:
        """How many events, under which data: of each message that was written."""
        return [(e.count, e.app_data) for e in self.written if e.kind is Kind.EVENTS]


class HandshakeTests(LogUI05TestCase):
    def test_the_start_is_by_the_clients_first_clock(self) -> None:
        self.say(handshake("t"))
        self.settle()
        (first,) = self.peer.heard
        self.assertEqual(first["newSessionCreated"], True)
        self.assertEqual(first["clientStartTimestamp"], "2026-11-22T00:10:26.888Z")
        self.peer, self.talk = self.connect()
        self.say(handshake("t", sessionID=first["sessionID"], clientTimestamp="2026-11-22T00:10:33Z"))
        self.settle()
        self.assertEqual(self.peer.heard, [{**first, "newSessionCreated": False}])
        self.assertEqual([entry.clock_offset for entry in self.written], [-5000, 1112])

    def test_events_before_the_answer(self) -> None:
        self.say(handshake("t"), events(*[ITEM] * 10), events(ITEM))
        self.settle()
        self.settle()
        self.assertEqual([count for count, _ in self.stored()], [10, 1])

    def test_refused(self) -> None:
        self.gate = Deferred()
        self.say(handshake("t"), events(ITEM))
        self.gate.errback(HandshakeRefused(Refusal.INACTIVE, "Not active."))
        self.assertEqual(self.peer.heard, [Close(4007, "Not active.")])
        self.assertEqual(self.sessions.live, {})

    def test_something_else_first(self) -> None:
        for told in (b"?", events(ITEM), message("closedown")):
            self.peer, self.talk = self.connect()
            self.say(told, handshake("t"))
            (end,) = self.peer.heard
            self.assertEqual(end.code, 4001)

    def test_none_in_time_or_before_a_stop(self) -> None:
        self.clock.advance(10)
        self.assertEqual(self.peer.heard, [BACK])
        self.peer, self.talk = self.connect()
        self.talk.announce()
        self.assertEqual(self.peer.heard, [BACK])

    def test_the_journal_cannot_be_written(self) -> None:
        """Welcome, it would send what it kept, and forget it."""
        self.say(handshake("t"), events(ITEM))
        self.settle(error=FULL)
        self.assertEqual(self.peer.heard, [BACK])
        self.assertEqual((self.sessions.live, self.waiting), ({}, deque()))
        self.clock.advance(60)
        self.assertEqual(list(self.waiting), [], "nothing is left behind")

    def test_the_journal_cannot_be_written_of_who_comes_back(self) -> None:
        session = self.begin()
        self.talk.lost(EndReason.LOST)
        self.settle()
        self.peer, self.talk = self.connect()
        self.say(handshake("t", sessionID=session))
        self.settle(error=FULL)
        self.assertEqual(self.peer.heard, [BACK])
        self.settle()
        self.assertEqual(self.begin(session), session)
        self.assertEqual(len(self.sessions.live[session].sockets), 1)

    def test_the_journal_cannot_be_written_of_a_second_page(self) -> None:
        """The first has the session still."""
        session = self.begin()
        self.peer, self.talk = self.connect()
        self.say(handshake("t", sessionID=session))
        self.settle(error=FULL)
        self.assertEqual(self.peer.heard, [BACK])
        self.assertEqual(len(self.sessions.live[session].sockets), 1)

    def test_not_decided(self) -> None:
        self.gate = Deferred()
        self.say(handshake("t"))
        self.gate.errback(ValueError("a fault of ours"))
        self.assertEqual(self.peer.heard, [BACK])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class ListeningTests(LogUI05TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.begin()

    def test_nothing_is_acknowledged(self) -> None:
        self.say(events(ITEM), events())
        self.settle()
        self.assertEqual((self.peer.heard, [count for count, _ in self.stored()]), ([], [1, 0]))

    def test_the_first_bad_message_is_the_last(self) -> None:
        self.say(events(ITEM), events(ITEM, 5), events(ITEM))
        self.settle()
        (end,) = self.peer.heard
        self.assertEqual(end.code, 4001)
        self.assert_ended("badRequests")
        self.assertEqual([count for count, _ in self.stored()], [1])

    def test_a_backlog_too_long(self) -> None:
        self.say(events(*[ITEM] * 21))
        self.assertEqual(self.peer.heard, [BACK])

    def test_what_comes_after_the_server_hung_up_is_stored(self) -> None:
        self.talk.announce()
        self.assertEqual(self.peer.heard, [BACK])
        self.say(events(ITEM), events(ITEM, ITEM))
        self.settle()
        self.talk.lost(EndReason.LOST)
        self.assert_ended("serverShutdown")
        self.assertEqual([count for count, _ in self.stored()], [1, 2])

    def test_not_stored(self) -> None:
        self.say(events(ITEM))
        self.settle(error=FULL)
        self.assertEqual(self.peer.heard, [BACK])
        self.say(events(ITEM, ITEM))
        self.settle()
        self.talk.lost(EndReason.LOST)
        self.assert_ended("lost")
        self.assertEqual([count for count, _ in self.stored()], [2])

    def test_closedown(self) -> None:
        self.say(message("closedown"))
        self.settle()
        self.assertEqual(self.peer.heard, [Close(1000)])
        self.talk.lost(EndReason.CLOSED)
        self.assert_ended("closed")


def bearing(n: Any, count: int = 1) -> list[Any]:
    return [item(applicationSpecificData={"n": n})] * count


def marker(n: Any) -> Any:
    return {**MARKER, "applicationSpecificData": {"n": n}}


class AppDataTests(LogUI05TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.id = self.begin()

    def in_force(self) -> list[Any]:
        """Under which data each message was written."""
        self.settle()
        return [json.loads(data).get("n") for _, data in self.stored()]

    def test_what_events_bear_is_in_force(self) -> None:
        self.say(events(*bearing(1)), events(*bearing(1)), events(*bearing(2)), events())
        self.assertEqual(self.in_force(), [1, 1, 2, 2])
        self.assertEqual([e.kind for e in self.written].count(Kind.CHANGED), 2)

    def test_before_a_marker_what_was_in_force_before(self) -> None:
        self.say(events(*bearing(1)), events(*bearing(2), marker(2)), events(), events(*bearing(2)))
        self.assertEqual(self.in_force(), [1, 1, 2, 2])

    def test_nothing_was_in_force_before(self) -> None:
        self.say(events(*bearing(2), marker(2)))
        self.assertEqual(self.in_force(), [2])

    def test_two_pages_of_a_session(self) -> None:
        """Each has data of its own."""
        one = self.talk
        self.begin(self.id)
        self.say(events(*bearing(1)), to=one)
        self.say(events(*bearing(7)))
        self.say(events(*bearing(2), marker(2)), to=one)
        self.say(events(*bearing(8), marker(8)))
        self.assertEqual(self.in_force(), [1, 7, 1, 7])

    def test_the_page_came_back(self) -> None:
        self.say(events(*bearing(1)))
        self.talk.lost(EndReason.LOST)
        self.settle()
        self.begin(self.id)
        self.say(events(*bearing(2), marker(2)))
        self.assertEqual(self.in_force(), [1, 1])

    def test_as_it_was_written(self) -> None:
        data = b'{"a" : null, "\\ud83d": 1.0}'
        self.say(json.dumps(events(item(applicationSpecificData="D"))).encode().replace(b'"D"', data))
        self.settle()
        self.assertEqual(self.stored(), [(1, data)])
        self.talk.lost(EndReason.LOST)
        self.settle()
        self.begin(self.id)
        self.say(events())
        self.settle()
        self.assertEqual(self.stored(), [(1, data), (0, data)])

    def test_too_much(self) -> None:
        self.say(events(*bearing(1)), events(*bearing("x" * 100)))
        self.settle()
        self.assertEqual([end.code for end in self.peer.heard], [4001])
        self.assertEqual(self.in_force(), [1])

    def test_not_stored(self) -> None:
        """Both fall together, and the next that is stored puts in force what it bears."""
        self.say(events(*bearing(1)))
        self.settle()
        self.say(events(*bearing(2)))
        self.settle(error=FULL)
        self.assertEqual(self.sessions.live[self.id].now.app_data.encoded, b'{"n": 1}')
        self.say(events(*bearing(2)))
        self.assertEqual(self.in_force(), [1, 2])
