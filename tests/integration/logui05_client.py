"""The released LogUI client 0.5 as it behaves on the wire (PROTOCOL, section 2), without a browser.

Its timers are on a clock of their own, which a test turns; what they lead to happens on real sockets.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from logui_tx.web.client import ABNORMAL, Closed, Socket, connect
from tests.logui05 import events, handshake, item

FLUSH = 10
"""It sends when it has so many events, and never fewer but at its end."""
ATTEMPTS = (5, 15, 25, 35)
"""Seconds after the loss at which it tries to come back."""
GIVES_UP = 45


class ReleasedClient:
    """A page with the client. It logs ``log()`` by ``log()``, and knows what has left it.

    ``sent`` holds the numbers of the events that left this process, ``unsure`` those of the last moment
    before a connection ended: a browser may not have sent these either. ``cache`` is what waits.
    """

    def __init__(self, reactor: Any, clock: Clock, url: str, token: str, name: int = 0) -> None:
        self._reactor = reactor
        self._clock = clock
        self._url = url
        self._token = token
        self._timers: list[IDelayedCall] = []
        self._socket: Socket | None = None
        self._leaving: list[int] = []
        self.name = name
        self.connecting = False
        self.greeted = False
        self.over: int | None = None
        self.session: str | None = None
        self.answers: list[dict[str, Any]] = []
        self.attempts = 0
        self.count = 0
        self.cache: list[dict[str, Any]] = []
        self.sent: list[int] = []
        self.unsure: list[int] = []

    # --- what the page does

    def start(self) -> None:
        self._open()

    def log(self, **details: Any) -> None:
        """An event; once it was stopped, or has given up, it is nobody's."""
        if self.over is None:
            self.count += 1
            self.cache.append(
                item(
                    eventDetails={"client": self.name, "n": self.count, **details},
                    sessionID=self.session,
                    applicationSpecificData={"client": self.name},
                )
            )
            self._flush(FLUSH)

    def stop(self) -> Deferred[Closed]:
        """``LogUI.stop()``: what waits goes out, maybe an empty batch, and a close frame without a code."""
        assert self._socket is not None
        self.log(type="stopped")
        self._flush(0)
        self.over = 1005
        closed = self._socket.closed
        self._socket._protocol.sendCloseFrame()
        return closed

    # --- the connection

    def _open(self) -> None:
        if self.connecting:
            return
        self.attempts += 1
        self.connecting = True
        opening = connect(self._reactor, self._url, origin="http://localhost", on_message=self._heard)
        opening.addCallbacks(self._opened, self._not_opened)

    def _opened(self, socket: Socket) -> None:
        self.connecting = False
        self._cancel()
        self._socket = socket
        socket.closed.addCallback(self._closed)
        resuming = {} if self.session is None else {"sessionID": self.session}
        socket.send(json.dumps(handshake(self._token, **resuming)).encode())

    def _not_opened(self, _why: Failure) -> None:
        """Whatever it was: a page is told 1006."""
        self.connecting = False
        self._lost()

    def _heard(self, message: bytes) -> None:
        told = json.loads(message)
        if told["type"] == "handshakeSuccess":
            self.answers.append(told["payload"])
            self.session = told["payload"]["sessionID"]
            self.greeted = True
            self._flush(FLUSH)
            self.log(type="started")

    def _closed(self, end: Closed) -> None:
        self._socket = None
        self.greeted = False
        self.unsure += self._leaving
        self._leaving = []
        if self.over is not None:
            return
        if end.code == ABNORMAL:
            self._lost()
        else:
            self._finish(end.code)

    def _lost(self) -> None:
        if not self._timers:
            self._timers = [self._clock.callLater(after, self._open) for after in ATTEMPTS]
            self._timers.append(self._clock.callLater(GIVES_UP, self._finish, ABNORMAL))

    def _finish(self, code: int) -> None:
        """For good: it never comes back, and what it kept is gone."""
        self.over = code
        self.cache.clear()
        self._cancel()

    def _cancel(self) -> None:
        for timer in self._timers:
            if timer.active():
                timer.cancel()
        self._timers = []

    # --- what leaves

    def _flush(self, least: int) -> None:
        """The cache is cleared when it is sent, whatever becomes of it."""
        if self._socket is None or len(self.cache) < least:
            return
        numbers = [each["eventDetails"]["n"] for each in self.cache]
        self._socket.send(json.dumps(events(*self.cache)).encode())
        self.cache.clear()
        self._leaving += numbers
        # In the turn after this the socket has been written to, if there was no end of it before.
        self._reactor.callLater(0, self._left, numbers)

    def _left(self, numbers: list[int]) -> None:
        if self._leaving[: len(numbers)] == numbers:
            del self._leaving[: len(numbers)]
            self.sent += numbers


def all_of(clients: list[ReleasedClient], holds: Callable[[ReleasedClient], object]) -> Callable[[], bool]:
    """Whether it holds for each."""
    return lambda: all(holds(client) for client in clients)
