"""One replayed session: its stream, what the server has of it, and the connections that carry it.

A payload stays pending until its 201, or until the handshake of a later connection tells that it is
stored; after a 500, a 501 or a lost connection the pending ones are sent again, in order (PROTOCOL,
section 1). So that the account is exact, nothing is taken for acknowledged on any other sign.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import msgspec
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.task import deferLater

from logui_tx.errors import LoguiError
from logui_tx.web.client import Closed, Socket, UpgradeRefused, connect

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall


Event = Mapping[str, Any]

FIRST_TRIES = 3
"""Tries to connect while no session has found the server at all."""
_HOPELESS_CLOSES = frozenset({1002, 1003, 1007, 1008, 1009})


class CannotGoOn(LoguiError):
    """A session ends here: the server refused it for good, or too many tries were in vain."""


class Interrupted(LoguiError):
    """This connection is of no more use; another may be."""


_RETRIED = (Closed, UpgradeRefused, ConnectError, DNSLookupError, Interrupted)


class Player(Protocol):
    """What a session asks of the replay that it is part of; see :class:`logui_tx.replay.player.Replay`."""

    reactor: Any
    url: str
    token: str
    origin: str | None
    domain: str | None
    app_data: dict[str, Any]
    window: int
    timeout: float
    tries: int
    reached: bool
    latencies: array[float]

    def now_ms(self) -> int: ...
    def count(self, sent: int = 0, acknowledged: int = 0) -> None: ...
    def pause_before_try(self, failures: int) -> float: ...


@define(eq=False)
class _Payload:
    number: int
    body: bytes
    events: int
    leaving: bool = False
    first_sent: float | None = None


class _Details(msgspec.Struct):
    errorString: str = ""
    terminate: bool = False


class _Answer(msgspec.Struct):
    statusCode: str
    payloadID: int | None = None
    sessionIdentifier: str | None = None
    lastPayloadID: int = 0
    errorDetails: _Details = msgspec.field(default_factory=_Details)


@define(eq=False)
class Session:
    """One stream and what the server has of it, over all its connections."""

    replay: Player
    cut: Iterator[tuple[float, list[Event]]]
    instance: str
    session_ids: list[str] = field(factory=list)
    pending: dict[int, _Payload] = field(factory=dict)
    last_number: int = 0
    upcoming: tuple[float, list[Event]] | None = None
    pace_from: float | None = None
    failures: int = 0
    connections: int = 0
    sent: int = 0
    acknowledged: int = 0
    refused: int = 0
    resent: int = 0
    highest: int = 0
    highest_here: int = 0
    refused_payloads: list[int] = field(factory=list)

    async def play(self) -> None:
        """Returns when the session has left. Raises CannotGoOn, a hopeless refusal, or the stream's error."""
        self.upcoming = next(self.cut, None)
        while not await self._connect():
            await deferLater(self.replay.reactor, self.replay.pause_before_try(self.failures))

    async def _connect(self) -> bool:
        """One connection; True when the session has left, False when it should go on after a pause."""
        try:
            await _Connection(self).converse()
        except _RETRIED as why:
            self.replay.reached |= isinstance(why, Closed | UpgradeRefused)
            if isinstance(why, Closed) and (why.code in _HOPELESS_CLOSES or why.code >= 4000):
                raise
            if isinstance(why, UpgradeRefused) and why.status not in (0, 429) and why.status < 500:
                raise
            self.failed(str(why))
            return False
        return True

    def failed(self, why: str) -> None:
        """One more failure in a row. Raises CannotGoOn when it was one too many."""
        self.failures += 1
        tries = self.replay.tries if self.replay.reached else min(FIRST_TRIES, self.replay.tries)
        if self.failures >= tries:
            raise CannotGoOn(f"gave up after {self.failures} tries: {why}")

    def hello(self) -> bytes:
        message = {
            "payloadType": "LogUIHandshake",
            "clientDateTime": self.replay.now_ms(),
            "appIdentifier": self.replay.token,
            "appSpecificLogData": self.replay.app_data,
            "clientInstance": self.instance,
        }
        if self.replay.domain is not None:
            message["domain"] = self.replay.domain
        if self.session_ids:
            message["sessionIdentifier"] = self.session_ids[-1]
        return msgspec.json.encode(message)

    def welcomed(self, session_id: str, last_number: int) -> None:
        """The server took the handshake. Raises CannotGoOn if it has less than it acknowledged."""
        self.connections += 1
        if session_id not in self.session_ids[-1:]:
            self.session_ids.append(session_id)
            self.highest_here = 0
            return
        if last_number < self.highest_here:
            raise CannotGoOn(
                f"the server lost payloads: it has {last_number} of {self.highest_here} acknowledged"
            )
        for number in [number for number in self.pending if number <= last_number]:
            self.stored(number)

    @property
    def at_end(self) -> bool:
        """Whether only the leaving payload is left."""
        return self.upcoming is None and all(payload.leaving for payload in self.pending.values())

    def seconds_to_next(self) -> float | None:
        """When a payload that was never sent may be: 0.0 is now, None not before an answer."""
        if self.upcoming is None:
            return None if self.pending else 0.0
        now: float = self.replay.reactor.seconds()
        self.pace_from = now if self.pace_from is None else self.pace_from
        due = self.pace_from + self.upcoming[0]
        return due - now if due > now else 0.0

    def take(self) -> _Payload:
        """The next payload of the stream, or the leaving one after its end."""
        self.last_number += 1
        events: list[Event] = []
        message: dict[str, Any] = {"payloadType": "LogUIEventPayload", "payloadID": self.last_number}
        leaving = self.upcoming is None
        if self.upcoming is not None:
            events = self.upcoming[1]
            self.upcoming = next(self.cut, None)
        else:
            message["session"] = "leavingPage"
        message["eventsToBeLogged"] = events
        payload = _Payload(self.last_number, msgspec.json.encode(message), len(events), leaving)
        self.pending[payload.number] = payload
        return payload

    def sending(self, payload: _Payload) -> None:
        if payload.first_sent is None:
            payload.first_sent = self.replay.reactor.seconds()
            self.sent += payload.events
            self.replay.count(sent=payload.events)
        else:
            self.resent += payload.events

    def stored(self, number: int) -> None:
        payload = self.pending.pop(number)
        self.failures = 0
        if payload.leaving:  # no events; and a handshake that tells of it has opened the session again
            return
        self.acknowledged += payload.events
        self.highest = max(self.highest, number)
        self.highest_here = max(self.highest_here, number)
        if payload.first_sent is not None:
            self.replay.latencies.append(self.replay.reactor.seconds() - payload.first_sent)
        self.replay.count(acknowledged=payload.events)

    def refuse(self, number: int) -> None:
        self.refused += self.pending.pop(number).events
        self.refused_payloads.append(number)


class _Connection:
    """One connection of a session, from its handshake to its end.

    An answer that names no payload (401, 403) can only be placed once every other payload in the air has
    its own; so after one, and after a 500, nothing is sent until all are answered.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._replay = session.replay
        self._over: Deferred[None] = Deferred()
        self._socket: Socket | None = None
        self._welcomed = False
        self._stopping = False
        self._leaving = False
        self._to_send: deque[_Payload] = deque()
        self._in_air: set[int] = set()
        self._again = False
        self._nameless = 0
        self._muddled = False
        self._why = ""
        self._timer: IDelayedCall | None = None
        self._watch: IDelayedCall | None = None

    async def converse(self) -> None:
        """Returns when the session has left. Raises of ``_RETRIED``, CannotGoOn, or the stream's error."""
        replay = self._replay
        connecting = connect(replay.reactor, replay.url, origin=replay.origin, on_message=self._received)
        try:
            self._socket = await connecting.addTimeout(replay.timeout, replay.reactor, self._late)
            replay.reached = True
            self._socket.closed.addCallback(self._closed)
            self._socket.send(self._session.hello())
            self._expect()
            await self._over
        finally:
            for call in (self._timer, self._watch):
                if call is not None and call.active():
                    call.cancel()
            if self._socket is not None:
                self._socket.abort()

    def _end(self, why: Exception | None) -> None:
        if self._over.called:
            return
        if isinstance(why, _RETRIED) and self._nameless and not self._muddled:
            why = CannotGoOn(
                f"the connection was lost before it was clear which payload was refused: {self._why}"
            )
        self._over.callback(None) if why is None else self._over.errback(why)

    def _late(self, _result: object, seconds: float) -> NoReturn:
        raise Interrupted(f"the server gave no sign within {seconds:g} s")

    def _expect(self) -> None:
        """Begin the wait for the server's next sign anew, if there is one to wait for."""
        waiting = not self._welcomed or self._in_air or self._stopping or self._leaving
        if self._watch is not None and self._watch.active():
            self._watch.reset(self._replay.timeout) if waiting else self._watch.cancel()
        elif waiting:
            self._watch = self._replay.reactor.callLater(self._replay.timeout, self._silent)

    def _silent(self) -> None:
        self._end(Interrupted(f"the server gave no sign within {self._replay.timeout:g} s"))

    def _closed(self, end: Closed) -> None:
        self._end(None if self._leaving and end.code == 1000 else end)

    def _received(self, message: bytes) -> None:
        self._guard(lambda: self._answered(msgspec.json.decode(message, type=_Answer)))

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self._replay.reactor.callLater(seconds, self._guard, call)

    def _guard(self, call: Callable[[], None]) -> None:
        if self._over.called:
            return
        try:
            call()
        except msgspec.MsgspecError as why:
            self._end(CannotGoOn(f"the server's answer makes no sense: {why}"))
        except Exception as why:  # noqa: BLE001 - it belongs into the account, not to the reactor
            self._end(why)

    def _answered(self, answer: _Answer) -> None:
        status, text = answer.statusCode, answer.errorDetails.errorString
        if status == "200" and not self._welcomed:
            self._welcome(answer)
        elif status == "201" and answer.payloadID in self._in_air:
            self._in_air.remove(answer.payloadID)
            self._session.stored(answer.payloadID)
        elif status in ("401", "403"):
            self._nameless += 1
            self._why = f"{status} {text}"
        elif status == "500" and answer.errorDetails.terminate:
            raise Interrupted(f"the server answered 500: {text}")
        elif status == "500":
            self._again = True
            self._why = f"500 {text}"
            if answer.payloadID in self._in_air:
                self._in_air.remove(answer.payloadID)
            else:
                self._nameless += 1
                self._muddled = True
        elif status == "501":
            self._stopping = True
        elif status in ("400", "402"):
            raise CannotGoOn(f"the server refused with {status}: {text}")
        else:
            return
        self._go_on()

    def _welcome(self, answer: _Answer) -> None:
        if answer.sessionIdentifier is None:
            raise CannotGoOn("the server's 200 has no sessionIdentifier")
        self._welcomed = True
        self._session.welcomed(answer.sessionIdentifier, answer.lastPayloadID)
        self._to_send.extend(self._session.pending.values())

    def _go_on(self) -> None:
        if (self._again or self._nameless) and len(self._in_air) <= self._nameless:
            self._place_nameless()
        if not (self._again or self._nameless):
            self._send()
        self._expect()

    def _place_nameless(self) -> None:
        """Every payload in the air has an answer: those left there were refused, or nobody knows."""
        if not self._muddled:
            for number in sorted(self._in_air):
                self._session.refuse(number)
        self._in_air.clear()
        self._nameless = 0
        self._muddled = False
        if self._again:
            self._session.failed(self._why)
            self._later(self._replay.pause_before_try(self._session.failures), self._send_again)

    def _send_again(self) -> None:
        self._again = self._leaving = False
        self._to_send = deque(self._session.pending.values())
        self._go_on()

    def _send(self) -> None:
        assert self._socket is not None
        while len(self._in_air) < self._replay.window and not self._leaving:
            if self._stopping and not self._session.at_end:
                break
            if self._to_send:
                payload = self._to_send.popleft()
            elif (wait := self._session.seconds_to_next()) == 0.0:
                payload = self._session.take()
            else:
                if wait is not None:
                    self._later(wait, self._go_on)
                break
            self._in_air.add(payload.number)
            self._leaving = payload.leaving
            self._session.sending(payload)
            self._socket.send(payload.body)
        if not self._in_air and (self._stopping or self._leaving):
            self._socket.close()
