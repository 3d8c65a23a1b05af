"""WebSocket over Autobahn: a connection for each conversation, and nothing of what is said.

Together with :mod:`logui_tx.web.frames` and :mod:`logui_tx.web.client` the only module that knows Autobahn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, cast

from autobahn.twisted.resource import WebSocketResource
from autobahn.twisted.websocket import WebSocketServerFactory
from autobahn.websocket.compress import PerMessageDeflateOffer, PerMessageDeflateOfferAccept
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from logui_tx.conversation import Conversation
from logui_tx.errors import RegistryError, RequestRefused
from logui_tx.interfaces import IPeer
from logui_tx.model import Close, Connection, EndReason, Limits
from logui_tx.options import Network
from logui_tx.web.frames import MAX_QUICK, QuickWebSocket
from logui_tx.web.gate import Gate
from logui_tx.web.poll import Readers, is_plain
from logui_tx.web.request import address_of, header

log = Logger()

Converse = Callable[[IPeer, Connection], Conversation]
"""Begins the conversation of a connection that was upgraded."""
Enter = Callable[[Request, Connection], "Deferred[tuple[Connection, Converse]]"]
"""Decides whether a request may be upgraded: fires with what is known of the client then and what is to be
begun with it, or fails with :class:`RequestRefused`."""

CLOSE_TIMEOUT = 5.0
"""Seconds for the client's half of the goodbye; a large message may be on its way before it."""

_COMPRESS_FROM = 1024


@implementer(IPushProducer)
class _WriteFlow:
    """A client that does not read its answers is not read from: else they would pile up here."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket

    def pauseProducing(self) -> None:
        self._socket.hold("unread answers")

    def resumeProducing(self) -> None:
        self._socket.let_go("unread answers")

    def stopProducing(self) -> None:
        pass


@implementer(IPeer)
class Socket(QuickWebSocket):
    """One connection."""

    # Autobahn reads the factory's option too late, and acknowledgements would wait for Nagle's algorithm.
    tcpNoDelay = True

    factory: EndpointFactory
    connection: Connection
    converse: Converse
    conversation: Conversation | None = None
    closeHandshakeTimeoutCall: Any
    hung_up: IDelayedCall | None = None
    dropping: IDelayedCall | None = None

    # --- IPeer

    def send(self, message: bytes) -> None:
        """See :meth:`IPeer.send`."""
        if self.state == self.STATE_OPEN and self.hung_up is None:
            if len(message) <= MAX_QUICK:
                self.send_text(message)
            else:
                self.sendMessage(message, doNotCompress=len(message) < _COMPRESS_FROM)

    def close(self, how: Close) -> None:
        """See :meth:`IPeer.close`."""
        if how.code is None:
            self._hang_up()
        elif self.hung_up is None:
            # sendClose refuses codes that only a server may send.
            self.sendCloseFrame(code=how.code, reasonUtf8=how.reason.encode()[:123] or None)

    def _hang_up(self) -> None:
        """Half of the connection ends: closed as a whole, it would lose what the client has just sent."""
        if self.state == self.STATE_OPEN and self.hung_up is None:
            self.hung_up = self.factory.reactor.callLater(CLOSE_TIMEOUT, self.dropConnection, True)
            # With a producer, which may wait for a client that does not read, the half would stay open.
            self.transport.unregisterProducer()
            self.let_go("unread answers")
            self.transport.loseWriteConnection()

    def pause(self) -> None:
        """See :meth:`IPeer.pause`."""
        self.hold("unacknowledged")

    def resume(self) -> None:
        """See :meth:`IPeer.resume`."""
        self.let_go("unacknowledged")

    def hold(self, why: str) -> None:
        """Do not read while there is a reason not to."""
        self._held |= {why}
        if self.state != self.STATE_CLOSED:
            self.transport.pauseProducing()

    def let_go(self, why: str) -> None:
        """One reason less."""
        if why in self._held:
            self._held -= {why}
        if not self._held and self.state != self.STATE_CLOSED:
            # What was read before comes first; in a turn of its own, because this may be within a message.
            self.factory.reactor.callLater(0, self._go_on)

    def put_off(self) -> None:
        self.hold("others")
        self.factory.reactor.callLater(0, self._others_had_theirs)

    def _others_had_theirs(self) -> None:
        self._held -= {"others"}
        self._go_on()

    def _go_on(self) -> None:
        if self.state == self.STATE_CLOSING or (not self._held and self.state != self.STATE_CLOSED):
            self.consumeData()
        if not self._held and self.state != self.STATE_CLOSED:
            self.transport.resumeProducing()

    # --- Autobahn

    def connectionMade(self) -> None:
        super().connectionMade()
        self._plain = is_plain(self.transport)
        self.factory.readers.adopt(self.transport)

    def onOpen(self) -> None:
        self._held: frozenset[str] = frozenset()
        # What is only for the handshake, or for sending in pieces.
        self.send_queue = ()
        # Autobahn's own is_closed may fire while the transport still has something to say.
        self.gone: Deferred[None] = Deferred()
        # The HTTP channel regulated this transport until now.
        self.transport.unregisterProducer()
        self.transport.registerProducer(_WriteFlow(self), True)
        self.conversation = self.converse(self, self.connection)
        self.factory.sockets.add(self)

    def _max_message_size_exceeded(self, size: int, most: int, reason: str) -> None:
        self.failByDrop = self.factory.too_large.code is None
        super()._max_message_size_exceeded(size, most, reason)

    def onMessageFrame(self, payload: list[bytes]) -> None:
        # Empty fragments add nothing to a message's size, and would pile up without end.
        super().onMessageFrame([part for part in payload if part])

    def receive_text(self, payload: bytes) -> None:
        try:
            self.conversation.received(payload, False)  # type: ignore[union-attr]
        except Exception:  # noqa: BLE001 - whatever it is
            self._failed()

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        try:
            self.conversation.received(payload, isBinary)  # type: ignore[union-attr]
        except Exception:  # noqa: BLE001 - Autobahn would let it escape and leave the connection half alive
            self._failed()

    def _failed(self) -> None:
        log.failure("a message could not be handled")
        self.close(Close(1011, "server error"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        # Autobahn fires it with this connection, which holds it: only the collector would find that.
        self.is_closed = None

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:  # noqa: ARG002
        if self.closeHandshakeTimeoutCall is not None:
            # Autobahn would let it run, and hold on to this connection until then.
            self.closeHandshakeTimeoutCall.cancel()
            self.closeHandshakeTimeoutCall = None
        for timer in (self.hung_up, self.dropping):
            if timer is not None and timer.active():
                timer.cancel()
        self.factory.gate.leave(self.connection.address)
        self.factory.sockets.discard(self)
        if self.conversation is not None:
            self.conversation.lost(self._end_reason(wasClean))
            self.conversation = None
            self.gone.callback(None)

    def _end_reason(self, clean: bool) -> EndReason:
        if self.failedByMe:
            return EndReason.BAD_REQUESTS
        return EndReason.CLOSED if clean else EndReason.LOST

    def onAutoPingTimeout(self) -> None:
        # While reading waits for the journal the answer may lie unread: that is our delay, not the client's.
        if "unacknowledged" in self._held:
            self.autoPingTimeoutCall = self.factory._batched_timer.call_later(
                self.autoPingTimeout, self.onAutoPingTimeout
            )
        else:
            super().onAutoPingTimeout()

    def dropConnection(self, abort: bool = False) -> None:
        # After a goodbye that began here Autobahn would reset the connection: to a browser that is no clean
        # end, and a proxy logs an error.
        if self.wasClean and self.dropping is None:
            abort = False
            # Over TLS, the end waits for the client's last word.
            self.dropping = self.factory.reactor.callLater(CLOSE_TIMEOUT, self.transport.abortConnection)
        super().dropConnection(abort)

    def unregisterProducer(self) -> None:
        if self.transport is not None:
            super().unregisterProducer()


class EndpointFactory(WebSocketServerFactory):  # type: ignore[misc]
    """Makes the connections of one dialect's endpoint. ``too_large`` is its :attr:`IDialect.too_large`."""

    protocol = Socket

    def __init__(self, reactor: Any, gate: Gate, sockets: set[Socket], limits: Limits, too_large: Close):
        super().__init__(reactor=reactor, server="")
        self.gate = gate
        self.too_large = too_large
        self.sockets = sockets
        self.readers = Readers(reactor)
        self.upgrading: tuple[Connection, Converse] | None = None
        self.setProtocolOptions(
            allowNullOrigin=True,
            autoPingInterval=limits.ping_interval,
            autoPingTimeout=limits.ping_timeout,
            closeHandshakeTimeout=CLOSE_TIMEOUT,
            failByDrop=False,
            maxMessagePayloadSize=limits.max_message_size,
            openHandshakeTimeout=limits.handshake_timeout,
            perMessageCompressionAccept=_accept_deflate,
        )
        # Autobahn copies its options into every connection; here they stand in the class.
        options = {name: getattr(self, name) for name in Socket.CONFIG_ATTRS if not hasattr(Socket, name)}
        options = {name: staticmethod(value) if callable(value) else value for name, value in options.items()}
        self.protocol = cast(type[Socket], type("Socket", (Socket,), {**options, "CONFIG_ATTRS": ()}))

    def buildProtocol(self, addr: Any) -> Socket:
        socket: Socket = super().buildProtocol(addr)
        assert self.upgrading is not None
        (socket.connection, socket.converse), self.upgrading = self.upgrading, None
        self.gate.enter(socket.connection.address)
        return socket


class Endpoint(WebSocketResource):  # type: ignore[misc]
    """The resource at a dialect's path. Refusals before the upgrade are plain HTTP."""

    def __init__(
        self, factory: EndpointFactory, enter: Enter, trusted: Sequence[Network], closing: Callable[[], bool]
    ):
        super().__init__(factory)
        self._enter = enter
        self._trusted = trusted
        self._closing = closing

    def render(self, request: Request) -> Any:
        if (request.getHeader(b"upgrade") or b"").lower() != b"websocket":
            request.setHeader(b"upgrade", b"websocket")
            return _answer(request, 426, "This address speaks WebSocket.")
        connection = _connection(request, self._trusted)
        refusal = self._why_not(connection)
        if refusal is not None:
            return _answer(request, *refusal)
        gone = request.notifyFinish()
        entering = self._enter(request, connection)
        # A client that does not wait is not let in; its ticket may be used up, as that of any who goes.
        gone.addErrback(lambda _gone: entering.cancel())
        entering.addCallbacks(self._upgrade, self._refuse, callbackArgs=(request,), errbackArgs=(request,))
        entering.addErrback(lambda failure: log.failure("an upgrade failed", failure=failure))
        return NOT_DONE_YET

    def _why_not(self, connection: Connection) -> tuple[int, str] | None:
        if self._closing():
            return 503, "The server is shutting down."
        refusal: tuple[int, str] | None = self._factory.gate.why_not(connection.address)
        return refusal

    def _upgrade(self, entered: tuple[Connection, Converse], request: Request) -> None:
        # Others may have come in meanwhile, or the server's end.
        refusal = self._why_not(entered[0])
        if refusal is not None:
            _finish(request, _answer(request, *refusal))
            return
        self._factory.upgrading = entered
        answer = super().render(request)
        if answer is not NOT_DONE_YET:
            _finish(request, answer)

    def _refuse(self, failure: Failure, request: Request) -> None:
        if failure.check(CancelledError):
            return
        why = failure.value
        if isinstance(why, RequestRefused):
            _finish(request, _answer(request, why.status, str(why)))
            return
        if failure.check(RegistryError) is None:
            log.failure("an upgrade could not be decided", failure=failure)
        _finish(request, _answer(request, 503, "The server cannot let anybody in at the moment."))


def _answer(request: Request, status: int, text: str) -> bytes:
    request.setResponseCode(status, HTTPStatus(status).phrase.encode())
    request.setHeader(b"content-type", b"text/plain; charset=utf-8")
    request.setHeader(b"connection", b"close")
    return text.encode() + b"\n"


def _finish(request: Request, body: bytes) -> None:
    request.write(body)
    request.finish()


def _connection(request: Request, trusted: Sequence[Network]) -> Connection:
    return Connection(
        address_of(request, trusted),
        header(request, "origin"),
        header(request, "user-agent"),
        header(request, "referer"),
    )


def _accept_deflate(offers: Sequence[Any]) -> Any:
    for offer in offers:
        if isinstance(offer, PerMessageDeflateOffer):
            return PerMessageDeflateOfferAccept(offer)
    return None
