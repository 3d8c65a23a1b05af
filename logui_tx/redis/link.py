"""A connection to Redis that comes back by itself; nothing waits on it for longer than its time limit.

The only module that knows txredisapi.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import txredisapi
from twisted.application.internet import backoffPolicy
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.error import ConnectError, ConnectionDone, DNSLookupError
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from logui_tx.errors import StoreAway
from logui_tx.redis.address import RedisAddress

log = Logger()

LONGEST_PAUSE = 2.0
"""Seconds between two attempts to connect, at most."""


class _Strict:
    """What is not Redis' protocol ends the connection."""

    def dataReceived(self, data: bytes) -> None:
        try:
            super().dataReceived(data)  # type: ignore[misc]
        except txredisapi.RedisError:
            self.transport.abortConnection()  # type: ignore[attr-defined]


class _Speaker(_Strict, txredisapi.RedisProtocol):  # type: ignore[misc]
    """Sends commands."""

    def __init__(self) -> None:
        super().__init__(charset=None, convertNumbers=False)


class _Listener(_Strict, txredisapi.SubscriberProtocol):  # type: ignore[misc]
    """Hears what is published."""

    def __init__(self, heard: Callable[[bytes, bytes], None]) -> None:
        super().__init__(charset=None, convertNumbers=False)
        self._heard = heard

    def messageReceived(self, pattern: Any, channel: bytes, message: bytes) -> None:  # noqa: ARG002
        try:
            self._heard(channel, message)
        except Exception:  # noqa: BLE001 - or the connection would be lost by it
            log.failure("a message could not be heard")


class RedisLink:
    """``connected`` and ``lost(why)`` are told of each change; start it with :meth:`start`.

    With ``channels`` it hears what is published there, by ``heard(channel, message)``, and sends nothing.
    """

    def __init__(
        self,
        reactor: Any,
        address: RedisAddress,
        connected: Callable[[], None],
        lost: Callable[[str], None],
        channels: tuple[str, ...] = (),
        heard: Callable[[bytes, bytes], None] | None = None,
    ) -> None:
        self._reactor = reactor
        self._address = address
        self._connected = connected
        self._lost = lost
        self._channels = channels
        self._protocol: Any = None
        self._factory = Factory.forProtocol(_Speaker if heard is None else lambda: _Listener(heard))
        self._factory.noisy = False
        self._endpoint = address.endpoint(reactor)
        self._pause = backoffPolicy(0.1, LONGEST_PAUSE, 1.5)
        self._failures = 0
        self._attempt: Deferred[None] | None = None
        self._retry: IDelayedCall | None = None
        self._stopped = False

    @property
    def up(self) -> bool:
        """Whether there is a connection that may be used."""
        return self._protocol is not None

    def start(self) -> None:
        """Connect, and again whenever the connection is lost."""
        self._retry = None
        self._attempt = Deferred.fromCoroutine(self._connect())
        self._attempt.addErrback(self._failed)

    def stop(self) -> None:
        """Connect no more. What was sent has gone out; nobody waits for the answers. Idempotent."""
        self._stopped = True
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._attempt is not None:
            self._attempt.cancel()
        if self._protocol is not None:
            self._protocol.transport.abortConnection()

    def drop(self) -> None:
        """Give the connection up; another is made."""
        if self._protocol is not None:
            self._protocol.transport.abortConnection()

    def command(self, *words: Any) -> Deferred[Any]:
        """Fires with the answer; fails with :class:`StoreAway`, also where Redis refuses the command."""
        return self._ask(lambda protocol: protocol.execute_command(*words))

    def script(self, text: str, keys: list[bytes], arguments: list[Any]) -> Deferred[Any]:
        """The same for a Lua script, which is sent once a connection."""
        return self._ask(lambda protocol: protocol.eval(text, keys, arguments))

    def _ask(self, send: Callable[[Any], Deferred[Any]]) -> Deferred[Any]:
        protocol = self._protocol
        if protocol is None:
            return fail(StoreAway("there is no connection"))
        return self._timed(protocol, maybeDeferred(send, protocol)).addErrback(_away)

    def _timed(self, protocol: Any, answer: Deferred[Any]) -> Deferred[Any]:
        def too_late(_result: Any, _timeout: float) -> Any:
            # What was sent may not be answered later, behind what is sent next.
            protocol.transport.abortConnection()
            raise StoreAway(f"no answer within {self._address.timeout:g} s")

        return answer.addTimeout(self._address.timeout, self._reactor, onTimeoutCancel=too_late)

    # --- being connected

    async def _connect(self) -> None:
        protocol: Any = await self._endpoint.connect(self._factory)
        try:
            await self._prepare(protocol)
        except BaseException:
            protocol.transport.abortConnection()
            raise
        self._failures = 0
        self._protocol = protocol
        protocol.whenDisconnected().addCallback(self._gone)
        self._connected()

    async def _prepare(self, protocol: Any) -> None:
        address = self._address
        with suppress(AttributeError):  # a UNIX socket
            protocol.transport.setTcpKeepAlive(1)
        if address.password is not None:
            await self._timed(protocol, protocol.auth(address.password, address.user))
        if address.database:
            await self._timed(protocol, protocol.select(address.database))
        # An answer proves that it can be spoken with: TLS may fail after the connection was made.
        if self._channels:
            await self._timed(protocol, protocol.subscribe(list(self._channels)))
        else:
            await self._timed(protocol, protocol.ping())

    def _failed(self, failure: Failure) -> None:
        if not self._stopped:
            self._again(_why(failure))

    def _gone(self, _protocol: Any) -> None:
        self._protocol = None
        if not self._stopped:
            self._again("the connection was lost")

    def _again(self, why: str) -> None:
        self._failures += 1
        # Who is told may stop this link at once.
        self._retry = self._reactor.callLater(self._pause(self._failures), self.start)
        self._lost(why)


def _bare(text: str) -> str:
    """Without what was sent, and without where in a script it happened."""
    return text.partition(", with args")[0].partition(" script:")[0]


def _away(failure: Failure) -> Failure:
    return failure if failure.check(StoreAway) else Failure(StoreAway(_why(failure)))


def _why(failure: Failure) -> str:
    """For operators; Redis' own words, without what it was sent."""
    error = failure.value
    if isinstance(error, StoreAway):
        return str(error)
    if failure.check(txredisapi.ResponseError):
        return f"it says: {_bare(str(error))[:200]}"
    if failure.check(txredisapi.ConnectionError, ConnectionDone):
        return "the connection was lost"
    if failure.check(ConnectError, DNSLookupError, OSError):
        return "it cannot be reached"
    log.failure("Redis", failure=failure)
    return type(error).__name__
