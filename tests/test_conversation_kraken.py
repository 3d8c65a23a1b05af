"""One connection's talk in DataKraken: where its manners differ from LogUI 0.4's."""

import json
from typing import Any

from twisted.internet.defer import Deferred

from logui_tx.dialects.kraken import Kraken
from logui_tx.errors import HandshakeRefused, Refusal
from logui_tx.journal.segment import Kind
from logui_tx.model import Close, EndReason
from tests.test_conversation import FULL, ConversationTestCase


class Peer:
    """``heard``: acknowledgements as numbers, errors as their codes in text, other words, and ends."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def send(self, message: bytes) -> None:
        told = json.loads(message)
        self.heard.append(told.get("stored", str(told.get("code", told["type"]))))

    def close(self, how: Close) -> None:
        self.heard.append(how)

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass


class KrakenTestCase(ConversationTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.talk.lost(EndReason.LOST)
        self.dialect = Kraken()
        self.peer, self.talk = self.connect()

    def connect(self) -> Any:
        _, talk = super().connect()
        talk._peer = peer = Peer()
        return peer, talk

    def say(self, *messages: Any) -> None:
        for message in messages:
            self.talk.received(message if isinstance(message, bytes) else json.dumps(message).encode(), False)

    def event(self, count: int = 1) -> list[dict[str, Any]]:
        return [{"type": 9, "timestamp": 1}] * count

    def codes(self) -> list[Any]:
        """What was heard so far, ends as their codes."""
        return [one.code if isinstance(one, Close) else one for one in self.peer.heard]

    def begin(self) -> None:
        self.say({"type": "start"})
        self.settle()
        self.assertEqual(self.peer.heard, [])


class StartTests(KrakenTestCase):
    def test_bad_messages_before_it_are_hits(self) -> None:
        self.say(b"?", self.event(), {"type": "close"})
        self.assertEqual(self.codes(), ["401"] * 3)
        self.say({"type": "start"}, self.event(2))
        self.settle(1)
        self.settle()
        self.clock.advance(0)
        self.assertEqual(self.codes(), ["401"] * 3 + [2])
        self.say(b"?", b"?", b"?")
        self.assertEqual(self.codes(), ["401"] * 3 + [2, "401", "402", 1008])
        self.assert_ended("badRequests")

    def test_five_before_it(self) -> None:
        self.say(*[b"?"] * 7, {"type": "start"})
        self.assertEqual(self.codes(), ["401"] * 4 + ["402", 1008])
        self.assertEqual((list(self.waiting), self.sessions.live), ([], {}))
        self.talk.lost(EndReason.CLOSED)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_time_goes_on(self) -> None:
        self.clock.advance(9)
        self.say(b"?")
        self.clock.advance(1)
        self.assertEqual(self.codes(), ["401", "401", 1008])

    def test_lost_or_stopped_after_a_bad_message(self) -> None:
        self.say(b"?")
        self.talk.lost(EndReason.LOST)
        self.peer, self.talk = self.connect()
        self.say(b"?")
        self.talk.announce()
        self.assertEqual(self.codes(), ["401", "shutdown", 1001])

    def test_refused(self) -> None:
        self.gate = Deferred()
        self.say({"type": "start"}, self.event())
        self.gate.errback(HandshakeRefused(Refusal.INACTIVE, "Not active."))
        self.assertEqual(self.codes(), ["403", 1008])


class AcknowledgementTests(KrakenTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.begin()

    def test_one_for_a_turn(self) -> None:
        self.say(self.event(), self.event(2), [], self.event(4))
        self.settle(2)
        self.settle(1)
        self.assertEqual(self.codes(), [])
        self.clock.advance(0)
        self.assertEqual(self.codes(), [3])
        self.settle()
        self.clock.advance(0)
        self.clock.advance(0)
        self.assertEqual(self.codes(), [3, 7])

    def test_none_is_overtaken(self) -> None:
        self.say(self.event(), b"?", self.event(2), [0], self.event())
        self.settle()
        self.assertEqual(self.codes(), [1, "401", 3, "403"])
        self.clock.advance(0)
        self.assertEqual(self.codes(), [1, "401", 3, "403", 4])

    def test_before_the_announcement_and_the_end(self) -> None:
        self.say(self.event())
        self.settle()
        self.talk.announce()
        self.say(self.event())
        self.settle()
        self.talk.drain()
        self.assertEqual(self.codes(), [1, "shutdown", 2, 1001])
        self.clock.advance(0)
        self.assertEqual(len(self.codes()), 4)

    def test_not_stored(self) -> None:
        self.say(self.event(), self.event(2))
        self.settle(error=FULL)
        self.say(self.event(3))
        self.settle()
        self.clock.advance(0)
        self.assertEqual(self.codes(), ["500", "500", 3])

    def test_lost_before_it_left(self) -> None:
        self.say(self.event())
        self.settle()
        self.talk.lost(EndReason.LOST)
        self.assert_ended("lost")
        self.assertEqual([call for call in self.clock.getDelayedCalls() if call.getTime() == 0], [])


class ClosingTests(KrakenTestCase):
    def test_closed(self) -> None:
        self.begin()
        self.say(self.event(), {"type": "close"}, self.event())
        self.settle(1)
        self.settle(1)
        self.assertEqual(self.codes(), [1, 1000])
        self.talk.lost(EndReason.CLOSED)
        self.assert_ended("closed")
        self.assertEqual([entry.count for entry in self.written if entry.kind is Kind.EVENTS], [1, 0])
