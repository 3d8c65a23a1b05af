"""The registry as the running server asks it: off the reactor's thread, with a short memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from logui_tx.errors import UnknownFlight
from logui_tx.interfaces import IRegistry
from logui_tx.model import Flight
from logui_tx.registry.domains import allows
from logui_tx.registry.registry import Registry
from logui_tx.threads import daemon_pool

T = TypeVar("T")

# A flight that was disabled may go on being admitted for this long, in seconds (IRegistry.find_flight).
_MAX_AGE = 0.5
_MAX_KNOWN = 1024


@frozen
class _Answer:
    """What the database said, and when it was asked."""

    found: Any
    asked: float


_DOMAINS = "domains"
"""The key of the one question that is not about a flight, whose ids are UUIDs."""


@implementer(IRegistry)
class LiveRegistry:
    """Asks the synchronous registry in threads of its own; concurrent questions about one thing become one.

    ``reactor`` provides IReactorTime and IReactorFromThreads; ``pool`` is this object's to start and stop.
    No Deferred fires after :meth:`stop`.
    """

    def __init__(self, reactor: Any, registry: Registry, pool: ThreadPool | None = None) -> None:
        self._reactor = reactor
        self._registry = registry
        self._pool = pool or daemon_pool("registry", 2)
        self._known: dict[str, _Answer] = {}
        self._waiting: dict[str, list[Deferred[Any]]] = {}
        self._questions = 0
        self._started = False
        self._ended = False
        self._stopped = False
        self._stop_waiters: list[Deferred[None]] = []

    def start(self) -> None:
        """Starts the threads; questions asked before get their answers from here on."""
        self._started = True
        self._pool.start()

    def stop(self) -> Deferred[None]:
        """Ends the threads; fires with None when they ended. Idempotent.

        Who still waits for an answer gets none.
        """
        waiter: Deferred[None] = Deferred()
        self._stop_waiters.append(waiter)
        if not self._stopped:
            self._stopped = True
            self._waiting.clear()
            self._known.clear()
        # Joining a thread that waits for the database would hold up the reactor: only idle ones are joined.
        if not self._questions or not self._started:
            self._end()
        return waiter

    def find_flight(self, flight_id: str) -> Deferred[Flight]:
        """See :meth:`IRegistry.find_flight`. Fails with :class:`RegistryError` while the database is away."""
        return self._recall(flight_id, self._look_up, flight_id).addCallback(_known)

    def accepts(self, origin: str | None) -> Deferred[bool]:
        """See :meth:`IRegistry.accepts`. Fails with :class:`RegistryError` while the database is away."""
        asked = self._recall(_DOMAINS, self._registry.active_domains)
        return asked.addCallback(lambda domains: allows(domains, origin, None))

    def _recall(self, key: str, function: Callable[..., Any], *args: object) -> Deferred[Any]:
        """What the function returned less than half a second ago, or returns now, in a thread."""
        answer = self._known.get(key)
        if answer is not None and self._reactor.seconds() - answer.asked < _MAX_AGE:
            return succeed(answer.found)
        waiter: Deferred[Any] = Deferred()
        if key in self._waiting:
            self._waiting[key].append(waiter)
        elif not self._stopped:
            self._waiting[key] = [waiter]
            asked = self._reactor.seconds()
            self._ask(function, *args).addCallbacks(
                self._found, self._failed, callbackArgs=(key, asked), errbackArgs=(key,)
            )
        return waiter

    def check(self) -> Deferred[None]:
        """See :meth:`IRegistry.check`."""
        waiter: Deferred[None] = Deferred()

        def pass_on(result: Any) -> None:
            if not self._stopped:
                waiter.callback(result)

        if not self._stopped:
            self._ask(self._registry.check).addBoth(pass_on)
        return waiter

    def _ask(self, function: Callable[..., T], *args: object) -> Deferred[T]:
        """Runs it in the pool. The Deferred may fire after :meth:`stop`: it is not for callers."""
        self._questions += 1
        answer: Deferred[T] = deferToThreadPool(self._reactor, self._pool, function, *args)
        return answer.addBoth(self._answered)

    def _answered(self, result: T) -> T:
        self._questions -= 1
        if self._stopped and not self._questions:
            self._end()
        return result

    def _look_up(self, flight_id: str) -> Flight | None:
        """In a thread. That a flight is unknown is an answer here, not a failure."""
        try:
            return self._registry.get_flight(flight_id)
        except UnknownFlight:
            return None

    def _found(self, found: Any, key: str, asked: float) -> None:
        if self._stopped:
            return
        self._known.pop(key, None)  # so that it goes to the end of the line
        self._known[key] = _Answer(found, asked)
        if len(self._known) > _MAX_KNOWN:
            del self._known[next(iter(self._known))]
        for waiter in self._waiting.pop(key, []):
            if self._stopped:  # by the waiter before
                return
            waiter.callback(found)

    def _failed(self, failure: Failure, key: str) -> None:
        for waiter in self._waiting.pop(key, []):
            if not self._stopped:
                waiter.errback(failure)

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._pool.stop()
        waiters, self._stop_waiters = self._stop_waiters, []
        for waiter in waiters:
            waiter.callback(None)


def _known(flight: Flight | None) -> Flight:
    if flight is None:
        raise UnknownFlight("there is no such flight")
    return flight
