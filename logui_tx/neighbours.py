"""The other servers that share the session store: what they tell each other.

A socket of a session may come to one server while another still has one of the same session: the page's old
connection that nobody has closed yet, or a duplicated tab. The newcomer asks the others to *release* the
page load that came to it: they end its connection, finish what they took from it, write down how the session
stands, and say so.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from attrs import define, field
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from logui_tx.interfaces import ISessionStore

log = Logger()

ANSWER_TIMEOUT = 2.0
"""Seconds for a server's answer; one that is gone is known at once, unless its machine went with it."""


class _Release(msgspec.Struct, tag="release"):
    question: str
    asker: str
    session: str
    instance: str


class _Released(msgspec.Struct, tag="released"):
    question: str
    still_open: bool


class _Data(msgspec.Struct, tag="data"):
    session: str
    app_data: bytes
    version: int
    server: str


class _FlightChanged(msgspec.Struct, tag="flight"):
    flight: str


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Release | _Released | _Data | _FlightChanged).decode


def flight_changed(flight_id: str) -> bytes:
    """What every server is told when a flight was changed: the message for :meth:`ISessionStore.tell`."""
    return _encode(_FlightChanged(flight_id))


@define(eq=False)
class Neighbours:
    """Asks and answers. ``server`` is this one's name.

    ``release(session_id, instance, asker)`` fires with whether the session stays open here;
    ``data(session_id, app_data, version, server)`` takes over a change; ``flight(flight_id)`` was changed.
    """

    _clock: IReactorTime
    _store: ISessionStore
    server: str
    release: Callable[[str, str, str], Deferred[bool]]
    data: Callable[[str, bytes, int, str], None]
    flight: Callable[[str], None]
    _questions: dict[str, Deferred[bool]] = field(factory=dict)

    async def ask_release(self, session_id: str, instance: str, servers: Iterable[str]) -> set[str]:
        """Done when each of ``servers`` has released the page load, or does not answer; those where the
        session is open still."""
        asked = sorted(servers)
        answers: list[tuple[bool, bool]] = await DeferredList(
            [Deferred.fromCoroutine(self._ask(session_id, instance, server)) for server in asked],
            consumeErrors=True,
        )
        return {server for server, (_, still_open) in zip(asked, answers, strict=True) if still_open is True}

    async def _ask(self, session_id: str, instance: str, server: str) -> bool:
        question = str(uuid.uuid4())
        answer: Deferred[bool] = Deferred()
        self._questions[question] = answer
        try:
            heard = await self._store.tell(
                server, _encode(_Release(question, self.server, session_id, instance))
            )
            if not heard:
                return False
            return await answer.addTimeout(
                ANSWER_TIMEOUT, self._clock, onTimeoutCancel=lambda *_: self._no_answer(server)
            )
        finally:
            del self._questions[question]

    def _no_answer(self, server: str) -> bool:
        log.warn("the server {server} does not answer; its sessions are taken over", server=server)
        return False

    def tell_data(
        self, session_id: str, app_data: bytes, version: int, server: str, servers: Iterable[str]
    ) -> None:
        """Tell them of a change of the application-specific data."""
        message = _encode(_Data(session_id, app_data, version, server))
        for neighbour in servers:
            self._store.tell(neighbour, message)

    def hear(self, message: bytes) -> None:
        """What another server told."""
        try:
            heard = _decode(message)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return  # of a newer version
        if isinstance(heard, _Release):
            released = self.release(heard.session, heard.instance, heard.asker)
            released.addErrback(self._not_released)
            released.addCallback(self._answer, heard)
        elif isinstance(heard, _Released):
            answer = self._questions.get(heard.question)
            if answer is not None and not answer.called:
                answer.callback(heard.still_open)
        elif isinstance(heard, _Data):
            self.data(heard.session, heard.app_data, heard.version, heard.server)
        else:
            self.flight(heard.flight)

    def _not_released(self, failure: Any) -> bool:
        log.failure("a session could not be released", failure=failure)
        return True

    def _answer(self, still_open: bool, question: _Release) -> None:
        self._store.tell(question.asker, _encode(_Released(question.question, still_open)))
