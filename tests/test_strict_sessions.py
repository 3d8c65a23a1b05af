"""A flight that is strict about sessions: who names one that cannot be gone on with is refused."""

from attrs import evolve
from twisted.internet.defer import Deferred

from logui_tx.errors import HandshakeRefused, Refusal, StoreAway
from logui_tx.model import EndReason, Flight, Hello
from logui_tx.registry.admission import must_be_there
from logui_tx.sessions import Opened
from tests.servers import CONNECTION, FLIGHT, OTHER_FLIGHT, Server, SharingTestCase
from tests.test_sessions import WINDOW, SessionsTestCase

STRICT = evolve(FLIGHT, strict_sessions=True)
INACTIVE = evolve(STRICT, active=False)


class StrictTests(SessionsTestCase):
    def refused(self, session_id: str | None, cause: Refusal, flight: Flight = STRICT) -> None:
        asked = self.ask(session_id, flight, refusable=True)
        self.assertIs(self.failureResultOf(asked, HandshakeRefused).value.cause, cause)
        self.assertEqual(list(self.waiting), [], "nothing of it is left behind")

    def test_unknown_or_anothers(self) -> None:
        others = self.open(flight=OTHER_FLIGHT).session
        for session_id in ("5cdfc67b-52a7-4c14-b743-a2f999ba546e", "", others.id):
            self.refused(session_id, Refusal.SESSION)
        self.end(others)
        self.refused(others.id, Refusal.SESSION)
        self.assertEqual(self.sessions.live, {})

    def test_expired(self) -> None:
        session = self.open(flight=STRICT).session
        self.end(session)
        self.clock.advance(WINDOW)
        again = self.open(session.id, STRICT, refusable=True)
        self.assertTrue(again.resumed)
        self.end(again.session)
        self.clock.advance(WINDOW + 1)
        self.refused(session.id, Refusal.SESSION)

    def test_who_names_none_begins_one(self) -> None:
        self.assertFalse(self.open(None, STRICT, refusable=True).resumed)

    def test_a_dialect_without_a_word_for_it(self) -> None:
        self.assertFalse(self.open("unknown", STRICT).resumed)

    def test_other_flights_are_not_strict(self) -> None:
        self.assertFalse(self.open("unknown", refusable=True).resumed)

    def test_the_session_comes_before_the_switch(self) -> None:
        """Also one that is live, and nobody is asked to let go of it."""
        session = self.open(flight=STRICT).session
        self.refused("unknown", Refusal.SESSION, INACTIVE)
        self.refused(session.id, Refusal.INACTIVE, INACTIVE)
        self.assertEqual(len(session.sockets), 1)
        self.end(session)
        self.refused(session.id, Refusal.INACTIVE, INACTIVE)
        self.assertEqual(self.sessions.live, {})

    def test_when_it_must_be_there(self) -> None:
        hello = Hello("token", None, {}, session_id="", refusable=True)
        self.assertTrue(must_be_there(STRICT, hello))
        self.assertFalse(must_be_there(FLIGHT, hello))
        self.assertFalse(must_be_there(STRICT, evolve(hello, refusable=False)))
        self.assertFalse(must_be_there(STRICT, evolve(hello, session_id=None)))


class SharedTests(SharingTestCase):
    def ask(self, server: Server, session_id: str, flight: Flight = STRICT) -> Deferred[Opened]:
        hello = Hello("token", None, {}, session_id=session_id, refusable=True)
        asked = Deferred.fromCoroutine(server.sessions.open(flight, "logui-0.4", hello, CONNECTION))
        self.pump()
        return asked

    def test_a_session_of_another_server(self) -> None:
        first = self.open(self.a, None, "tab", STRICT)
        failure = self.failureResultOf(self.ask(self.b, first.session.id, INACTIVE), HandshakeRefused)
        self.assertIs(failure.value.cause, Refusal.INACTIVE)
        self.assertEqual(self.a.evicted, [])
        again = self.successResultOf(self.ask(self.b, first.session.id))
        self.assertTrue(again.resumed)
        self.b.leave(again, EndReason.CLOSED)
        self.end(self.a, first)

    def test_what_others_know_cannot_be_told(self) -> None:
        """Then nobody is sent away for good."""
        first = self.open(self.a, None, "tab", STRICT)
        self.end(self.a, first)
        self.away()
        self.failureResultOf(self.ask(self.b, first.session.id), StoreAway)
        self.back()
        again = self.successResultOf(self.ask(self.b, first.session.id))
        self.assertTrue(again.resumed)
        self.b.leave(again, EndReason.CLOSED)
