"""The registry as the running server asks it."""

from collections import deque
from collections.abc import Callable
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from logui_tx.errors import RegistryError, UnknownFlight
from logui_tx.interfaces import IRegistry
from logui_tx.model import Flight
from logui_tx.registry import live
from logui_tx.registry.live import LiveRegistry

FLIGHT = Flight("f", "a", "F", ("*",), True, "0.4.0", 0)


class FakeRegistry:
    """Knows the flights it is given, counts the questions, and can be away."""

    def __init__(self, *flights: Flight) -> None:
        self.flights = {flight.id: flight for flight in flights}
        self.asked: list[str] = []
        self.away: Exception | None = None

    def get_flight(self, flight_id: str) -> Flight:
        self.check()
        self.asked.append(flight_id)
        if flight_id not in self.flights:
            raise UnknownFlight("unknown")
        return self.flights[flight_id]

    def active_domains(self) -> tuple[str, ...]:
        self.check()
        self.asked.append("domains")
        return tuple(domain for flight in self.flights.values() for domain in flight.domains)

    def check(self) -> None:
        if self.away:
            raise self.away


class StillReactor(Clock):
    def callFromThread(self, function: Callable[..., object], *args: object, **kwargs: object) -> None:
        function(*args, **kwargs)


class StillPool:
    """A thread pool without threads: work is done when the test says so."""

    def __init__(self) -> None:
        self.work: deque[Callable[[], object]] = deque()
        self.started = self.stopped = 0

    def start(self) -> None:
        self.started += 1

    def stop(self) -> None:
        self.stopped += 1

    def callInThreadWithCallback(
        self,
        on_result: Callable[[bool, Any], object],
        function: Callable[..., object],
        *args: object,
        **kw: object,
    ) -> None:
        def run() -> None:
            try:
                result: object = function(*args, **kw)
            except Exception:  # noqa: BLE001 - as a thread pool does
                on_result(False, Failure())
            else:
                on_result(True, result)

        self.work.append(run)

    def run(self) -> None:
        while self.work:
            self.work.popleft()()


class LiveRegistryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.pool, self.registry = StillReactor(), StillPool(), FakeRegistry(FLIGHT)
        self.live = LiveRegistry(self.clock, self.registry, self.pool)  # type: ignore[arg-type]
        self.live.start()

    def ask(self, flight_id: str = "f") -> Flight:
        found = self.live.find_flight(flight_id)
        self.pool.run()
        return self.successResultOf(found)

    def test_provides_the_interface(self) -> None:
        verifyObject(IRegistry, self.live)

    def test_asks_in_the_pool(self) -> None:
        found = self.live.find_flight("f")
        self.assertNoResult(found)
        self.assertEqual(self.registry.asked, [])
        self.pool.run()
        self.assertEqual(self.successResultOf(found), FLIGHT)

    def test_remembers_for_half_a_second(self) -> None:
        self.ask()
        self.clock.advance(0.49)
        self.assertEqual(self.successResultOf(self.live.find_flight("f")), FLIGHT)
        self.assertEqual(self.registry.asked, ["f"])
        self.clock.advance(0.01)
        self.registry.flights.clear()
        found = self.live.find_flight("f")
        self.pool.run()
        self.failureResultOf(found, UnknownFlight)

    def test_whether_any_flight_accepts(self) -> None:
        self.registry.flights = {"f": evolve(FLIGHT, domains=("a.example",))}
        asked = [self.live.accepts(origin) for origin in ("https://a.example", "https://b.example", None)]
        self.pool.run()
        self.assertEqual([self.successResultOf(answer) for answer in asked], [True, False, False])
        self.assertIs(self.successResultOf(self.live.accepts("https://a.example:1")), True)
        self.assertEqual(self.registry.asked, ["domains"])
        self.clock.advance(0.5)
        self.registry.away = RegistryError("away")
        failed = self.live.accepts("https://a.example")
        self.pool.run()
        self.failureResultOf(failed, RegistryError)

    def test_an_answers_age_counts_from_the_question(self) -> None:
        found = self.live.find_flight("f")
        self.clock.advance(0.5)
        self.pool.run()
        self.successResultOf(found)
        self.assertNoResult(self.live.find_flight("f"))

    def test_remembers_what_is_unknown(self) -> None:
        found = self.live.find_flight("x")
        self.pool.run()
        self.failureResultOf(found, UnknownFlight)
        self.failureResultOf(self.live.find_flight("x"), UnknownFlight)
        self.assertEqual(self.registry.asked, ["x"])

    def test_joins_questions(self) -> None:
        found = [self.live.find_flight("f") for _ in range(3)]
        self.pool.run()
        self.assertEqual([self.successResultOf(each) for each in found], [FLIGHT] * 3)
        self.assertEqual(self.registry.asked, ["f"])

    def test_one_who_gives_up_costs_the_others_nothing(self) -> None:
        first, second = self.live.find_flight("f"), self.live.find_flight("f")
        first.addErrback(lambda _: None)
        first.cancel()
        self.pool.run()
        self.assertEqual(self.successResultOf(second), FLIGHT)

    def test_a_failure_is_not_remembered(self) -> None:
        self.registry.away = RegistryError("away")
        found = [self.live.find_flight("f"), self.live.find_flight("f")]
        self.pool.run()
        for each in found:
            self.failureResultOf(each, RegistryError)
        self.registry.away = None
        self.assertEqual(self.ask(), FLIGHT)

    def test_memory_is_bounded(self) -> None:
        self.patch(live, "_MAX_KNOWN", 3)
        for number in range(10):
            found = self.live.find_flight(str(number))
            self.pool.run()
            self.failureResultOf(found, UnknownFlight)
        self.assertEqual(list(self.live._known), ["7", "8", "9"])

    def test_check(self) -> None:
        good = self.live.check()
        self.assertNoResult(good)
        self.pool.run()
        self.assertIsNone(self.successResultOf(good))
        self.registry.away = RegistryError("away")
        bad = self.live.check()
        self.pool.run()
        self.failureResultOf(bad, RegistryError)

    def test_nothing_fires_after_stop(self) -> None:
        self.ask()
        waiting: list[Deferred[Any]] = [self.live.find_flight("g"), self.live.check()]
        stopped = self.live.stop()
        self.assertNoResult(stopped)
        self.assertEqual(self.pool.stopped, 0, "it would block the reactor")
        self.pool.run()
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual(self.pool.stopped, 1)
        waiting += [self.live.find_flight("f"), self.live.find_flight("g"), self.live.check()]
        self.pool.run()
        for each in waiting:
            self.assertNoResult(each)

    def test_stop_by_one_who_waited(self) -> None:
        first, second = self.live.find_flight("f"), self.live.find_flight("f")
        first.addCallback(lambda _: self.live.stop())
        self.pool.run()
        self.successResultOf(first)
        self.assertNoResult(second)

    def test_stop_again(self) -> None:
        self.successResultOf(self.live.stop())
        self.successResultOf(self.live.stop())
        self.assertEqual(self.pool.stopped, 1)


class ThreadTests(TestCase):
    def test_with_threads(self) -> Deferred[None]:
        subject = LiveRegistry(reactor, FakeRegistry(FLIGHT))  # type: ignore[arg-type]
        subject.start()

        async def ask() -> None:
            try:
                self.assertEqual(await subject.find_flight("f"), FLIGHT)
                await subject.check()
                with self.assertRaises(UnknownFlight):
                    await subject.find_flight("x")
            finally:
                await subject.stop()

        return Deferred.fromCoroutine(ask())
