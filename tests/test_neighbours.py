"""What servers that share a session store ask and tell each other."""

from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from logui_tx import neighbours
from logui_tx.neighbours import ANSWER_TIMEOUT, Neighbours, flight_changed
from logui_tx.testing import FakeSessionStore, FakeStores


@define(eq=False)
class Server:
    """One that remembers what it was asked and told; ``answer`` is what its release fires with."""

    store: FakeSessionStore
    asked: list[tuple[str, str, str]] = field(factory=list)
    data: list[tuple[str, bytes, int, str]] = field(factory=list)
    flights: list[str] = field(factory=list)
    answer: "Deferred[bool] | None" = None
    neighbours: Any = None

    def release(self, *question: str) -> "Deferred[bool]":
        self.asked.append(question)
        return succeed(False) if self.answer is None else self.answer

    def hear_data(self, *told: Any) -> None:
        self.data.append(told)


class NeighboursTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.stores = FakeStores(self.clock)
        self.here, self.there, self.third = (self.start(name) for name in ("here", "there", "third"))

    def start(self, name: str) -> Server:
        server = Server(self.stores.new())
        server.neighbours = Neighbours(
            self.clock, server.store, name, server.release, server.hear_data, server.flights.append
        )
        server.store.start(name, server.neighbours.hear, lambda: None)
        return server

    def ask(self, *servers: str) -> "Deferred[set[str]]":
        asked = self.here.neighbours.ask_release("session", "tab", set(servers))
        return Deferred.fromCoroutine(asked)

    def turn(self) -> None:
        """Until nothing is on its way: a question and its answer take a turn each."""
        for _ in range(3):
            self.clock.advance(0)

    def tearDown(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_asked_and_answered(self) -> None:
        asked = self.ask("there")
        self.assertNoResult(asked)
        self.turn()
        self.assertEqual(self.successResultOf(asked), set())
        self.assertEqual(self.there.asked, [("session", "tab", "here")])
        self.assertEqual((self.third.asked, self.here.asked), ([], []))

    def test_nobody_is_asked(self) -> None:
        self.assertEqual(self.successResultOf(self.ask()), set())

    def test_the_answer_waits_for_the_release(self) -> None:
        self.there.answer = Deferred()
        asked = self.ask("there")
        self.turn()
        self.assertNoResult(asked)
        self.there.answer.callback(True)
        self.turn()
        self.assertEqual(self.successResultOf(asked), {"there"})

    def test_several_are_asked_at_once(self) -> None:
        self.there.answer, self.third.answer = Deferred(), Deferred()
        asked = self.ask("there", "third", "gone")
        self.turn()
        self.assertEqual((len(self.there.asked), len(self.third.asked)), (1, 1))
        self.third.answer.callback(True)
        self.turn()
        self.assertNoResult(asked)
        self.there.answer.callback(False)
        self.turn()
        self.assertEqual(self.successResultOf(asked), {"third"})

    def test_questions_are_not_confused(self) -> None:
        first: Deferred[bool] = Deferred()
        self.there.answer = first
        one = self.ask("there")
        self.turn()
        self.there.answer = second = Deferred()
        two = self.ask("there")
        self.turn()
        second.callback(True)
        self.turn()
        self.assertNoResult(one)
        self.assertEqual(self.successResultOf(two), {"there"})
        first.callback(False)
        self.turn()
        self.assertEqual(self.successResultOf(one), set())

    def test_who_is_gone_is_not_waited_for(self) -> None:
        self.there.store.close()
        self.assertEqual(self.successResultOf(self.ask("there")), set())

    def test_a_store_that_is_away(self) -> None:
        self.here.store.go()
        self.assertEqual(self.successResultOf(self.ask("there", "third")), set())

    def test_a_store_that_fails(self) -> None:
        self.patch(FakeSessionStore, "tell", lambda *_: fail(RuntimeError("broken")))
        self.assertEqual(self.successResultOf(self.ask("there")), set())

    def test_who_does_not_answer_is_waited_for_no_longer_than_that(self) -> None:
        self.there.answer = Deferred()
        warned: list[str] = []
        self.patch(neighbours.log, "warn", lambda text, **more: warned.append(text.format(**more)))
        asked = self.ask("there", "third")
        self.turn()
        self.clock.advance(ANSWER_TIMEOUT - 0.01)
        self.assertNoResult(asked)
        self.clock.advance(0.01)
        self.assertEqual(self.successResultOf(asked), set())
        self.assertEqual(warned, ["the server there does not answer; its sessions are taken over"])
        # An answer that comes too late is nobody's.
        self.there.answer.callback(True)
        self.turn()

    def test_an_answer_that_comes_twice(self) -> None:
        answers: list[bytes] = []
        hear = self.here.neighbours.hear
        self.here.store.start("here", lambda message: (answers.append(message), hear(message)), lambda: None)
        asked = self.ask("there")
        self.turn()
        (answer,) = answers
        hear(answer)
        self.assertEqual(self.successResultOf(asked), set())

    def test_what_cannot_be_released_stays_open(self) -> None:
        self.there.answer = fail(RuntimeError("broken"))
        asked = self.ask("there")
        self.turn()
        self.assertEqual(self.successResultOf(asked), {"there"})
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_data(self) -> None:
        self.here.neighbours.tell_data("session", b'{"k":1}', 3, "third", ["there", "gone"])
        self.turn()
        self.assertEqual(self.there.data, [("session", b'{"k":1}', 3, "third")])
        self.assertEqual((self.third.data, self.here.data), ([], []))

    def test_a_flight_that_was_changed(self) -> None:
        self.here.store.tell(None, flight_changed("flight"))
        self.turn()
        self.assertEqual(
            (self.there.flights, self.third.flights, self.here.flights), (["flight"], ["flight"], [])
        )

    def test_what_cannot_be_read_is_of_a_newer_version(self) -> None:
        good = flight_changed("flight")
        for message in (
            b"",
            b"\xc1",
            b"\xff" * 20,
            b"hello",
            good[:-1],
            good + b"x",
            b"\x80",
            b"\x81\xa4type\xa3new",
        ):
            self.there.neighbours.hear(message)
        self.there.neighbours.hear(good.replace(b"flight", b"fl\xffght", 1))
        self.assertEqual((self.there.flights, self.there.asked, self.there.data), ([], [], []))
        self.there.neighbours.hear(b"\x83\xa4type\xa6flight\xa6flight\xa1f\xa3new\x01")
        self.assertEqual(self.there.flights, ["f"])
