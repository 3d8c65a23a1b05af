"""The registry as the running server asks it: off the reactor's thread, with a short memory.

While the database is away the memory is longer: flights that were asked for before are admitted as last seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from logui_tx.errors import RegistryError, UnknownFlight
from logui_tx.interfaces import IRegistry
from logui_tx.model import Flight
from logui_tx.registry.domains import allows
from logui_tx.registry.registry import Registry
from logui_tx.threads import daemon_pool

log = Logger()

T = TypeVar("T")

# A flight that was disabled may go on being admitted for this long, in seconds (IRegistry.find_flight).
_MAX_AGE = 0.5
_MAX_KNOWN = 1024

# Seconds after which an earlier answer stands in; less where the question before went unanswered.
PATIENCE = 1.0
_LITTLE_PATIENCE = 0.1
# Seconds after which those are refused for whom nothing stands in.
_LAST_PATIENCE = 10.0

_LATE = "the registry's database does not answer in time"

_CHECK = ""
"""In the place of a flight's id: whether the database answers at all."""
_DOMAINS = "domains"
"""In the place of a flight's id: what all active flights together accept."""


@frozen
class _Answer:
    """What the database said (None: the flight is unknown), and when it was asked."""

    found: Flight | tuple[str, ...] | None
    asked: float

    def tell(self, waiter: Deferred[Any]) -> None:
        if self.found is None:
            waiter.errback(_unknown())
        else:
            waiter.callback(self.found)


@define(eq=False)
class _Question:
    """What is being asked in a thread, and who waits for it.

    It is ``late`` when those are answered who can do without, ``given_up`` when all are.
    """

    asked: float
    timer: IDelayedCall
    waiters: list[Deferred[Any]] = field(factory=list)
    late: bool = False
    given_up: bool = False


@implementer(IRegistry)
class LiveRegistry:
    """Asks the synchronous registry in threads of its own; concurrent questions about one flight become one.

    ``reactor`` provides IReactorTime and IReactorFromThreads; ``pool`` is this object's to start and stop,
    ``registry`` to close. While the database does not answer, answers that are at most ``stale`` seconds old
    stand in. No Deferred fires after :meth:`stop`.
    """

    def __init__(
        self, reactor: Any, registry: Registry, pool: ThreadPool | None = None, stale: float = 0.0
    ) -> None:
        self._reactor = reactor
        self._registry = registry
        self._pool = pool or daemon_pool("registry", 2)
        self._stale = stale
        self._known: dict[str, _Answer] = {}
        self._questions: dict[str, _Question] = {}
        self._in_threads = 0
        self._away = False
        self._started = False
        self._ended = False
        self._stopped = False
        self._stop_waiters: list[Deferred[None]] = []

    def start(self) -> None:
        """Starts the threads; questions asked before get their answers from here on."""
        self._started = True
        self._pool.start()

    def stop(self) -> Deferred[None]:
        """Ends the threads; fires with None when they ended, or when they do not within a second. Idempotent.

        Who still waits for an answer gets none.
        """
        waiter: Deferred[None] = Deferred()
        self._stop_waiters.append(waiter)
        if not self._stopped:
            self._stopped = True
            for question in self._questions.values():
                if question.timer.active():
                    question.timer.cancel()
            self._questions.clear()
            self._known.clear()
        # Joining a thread that waits for the database would hold up the reactor: only idle ones are joined.
        if not self._in_threads or not self._started:
            self._end()
        else:
            timer = self._reactor.callLater(PATIENCE, self._say_stopped)
            waiter.addCallback(lambda _: timer.cancel() if timer.active() else None)
        return waiter

    def find_flight(self, flight_id: str) -> Deferred[Flight]:
        """See :meth:`IRegistry.find_flight`.

        Fails with :class:`RegistryError` while the database is away and no earlier answer stands in.
        """
        return self._recall(flight_id, self._look_up, flight_id)

    def accepts(self, origin: str | None) -> Deferred[bool]:
        """See :meth:`IRegistry.accepts`; fails as :meth:`find_flight` does."""
        asked = self._recall(_DOMAINS, self._registry.active_domains)
        return asked.addCallback(lambda domains: allows(domains, origin, None))

    def forget(self, flight_id: str) -> None:
        """The flight was changed: what is known of it counts only where the database does not answer."""
        for key in (flight_id, _DOMAINS):
            answer = self._known.get(key)
            if answer is not None:
                self._known[key] = evolve(answer, asked=min(answer.asked, self._reactor.seconds() - _MAX_AGE))

    def _recall(self, key: str, function: Callable[..., Any], *args: object) -> Deferred[Any]:
        waiter: Deferred[Any] = Deferred()
        answer = self._at_once(key)
        question = self._questions.get(key)
        if answer is not None:
            answer.tell(waiter)
        elif question is not None and question.given_up:
            waiter.errback(_late())
        elif not self._stopped:
            self._ask(key, function, *args).waiters.append(waiter)
        return waiter

    def _at_once(self, key: str) -> _Answer | None:
        """What is said without waiting: a fresh answer, or what stands in for one that is late."""
        answer = self._known.get(key)
        if answer is None or self._age(answer) < _MAX_AGE:
            return answer
        question = self._questions.get(key)
        return self._stand_in(key) if question is not None and question.late else None

    def check(self) -> Deferred[None]:
        """See :meth:`IRegistry.check`. Fails with :class:`RegistryError`, within a second."""
        waiter: Deferred[None] = Deferred()
        question = self._questions.get(_CHECK)
        if question is not None and question.late:
            return fail(_late())
        if not self._stopped:
            self._ask(_CHECK, self._registry.check).waiters.append(waiter)
        return waiter

    def stands_in(self) -> bool:
        """Whether there are flights that are admitted also while the database is away."""
        return any(
            isinstance(answer.found, Flight) and self._may_stand_in(answer) for answer in self._known.values()
        )

    def _ask(self, key: str, function: Callable[..., Any], *args: object) -> _Question:
        """The question with this key, asked now unless it is being asked already."""
        if key in self._questions:
            return self._questions[key]
        patience = _LITTLE_PATIENCE if self._away and key != _CHECK else PATIENCE
        question = _Question(self._reactor.seconds(), self._reactor.callLater(patience, self._too_late, key))
        self._questions[key] = question
        self._in_threads += 1
        asked: Deferred[Any] = deferToThreadPool(self._reactor, self._pool, function, *args)
        asked.addBoth(self._came_back).addBoth(self._answered, key)
        return question

    def _came_back(self, result: T) -> T:
        self._in_threads -= 1
        if self._stopped and not self._in_threads:
            self._end()
        return result

    def _look_up(self, flight_id: str) -> Flight | None:
        """In a thread. That a flight is unknown is an answer here, not a failure."""
        try:
            return self._registry.get_flight(flight_id)
        except UnknownFlight:
            return None

    def _answered(self, result: Any, key: str) -> None:
        if self._stopped:
            return
        question = self._questions.pop(key)
        if question.timer.active():
            question.timer.cancel()
        if isinstance(result, Failure):
            if result.check(RegistryError):
                self._note_trouble(str(result.value))
            else:
                log.failure("the registry failed", failure=result)
            self._do_without(key, question, result)
            return
        if self._away:
            self._away = False
            log.info("the registry's database answers again")
        if key == _CHECK:
            self._tell(question, lambda waiter: waiter.callback(None))
        else:
            self._remember(key, answer := _Answer(result, question.asked))
            self._tell(question, answer.tell)

    def _remember(self, flight_id: str, answer: _Answer) -> None:
        self._known.pop(flight_id, None)  # so that it goes to the end of the line
        self._known[flight_id] = answer
        if len(self._known) > _MAX_KNOWN:
            del self._known[next(iter(self._known))]

    def _too_late(self, key: str) -> None:
        """Nobody waits any longer who can do without; the question itself may still be answered."""
        question = self._questions[key]
        question.late = True
        question.timer = self._reactor.callLater(_LAST_PATIENCE - PATIENCE, self._give_up, key)
        self._note_trouble(_LATE)
        if key == _CHECK or self._stand_in(key) is not None:
            self._do_without(key, question, Failure(_late()))

    def _give_up(self, key: str) -> None:
        """Nobody waits any longer."""
        question = self._questions[key]
        question.given_up = True
        self._do_without(key, question, Failure(_late()))

    def _do_without(self, key: str, question: _Question, failure: Failure) -> None:
        """What was seen last stands in for an answer; where there is nothing, those who wait are told why."""
        answer = self._stand_in(key)
        if answer is not None:
            self._tell(question, answer.tell)
        else:
            self._tell(question, lambda waiter: waiter.errback(failure))

    def _stand_in(self, flight_id: str) -> _Answer | None:
        answer = self._known.get(flight_id)
        return answer if answer is not None and self._may_stand_in(answer) else None

    def _tell(self, question: _Question, how: Callable[[Deferred[Any]], None]) -> None:
        waiters, question.waiters = question.waiters, []
        for waiter in waiters:
            if self._stopped:  # by the waiter before
                return
            how(waiter)

    def _note_trouble(self, why: str) -> None:
        if not self._away:
            self._away = True
            log.warn("{why}", why=why)

    def _age(self, answer: _Answer) -> float:
        age: float = self._reactor.seconds() - answer.asked
        return age

    def _may_stand_in(self, answer: _Answer) -> bool:
        return self._age(answer) < self._stale

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._pool.stop()
            self._registry.close()
        self._say_stopped()

    def _say_stopped(self) -> None:
        waiters, self._stop_waiters = self._stop_waiters, []
        for waiter in waiters:
            waiter.callback(None)


def _late() -> RegistryError:
    return RegistryError(_LATE)


def _unknown() -> UnknownFlight:
    return UnknownFlight("there is no such flight")
