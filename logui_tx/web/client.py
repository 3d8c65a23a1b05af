"""A small WebSocket client: a socket to send to and to receive from, in bytes.

The replay, the integration tests and the benchmarks speak through it; none of them sees Autobahn. It sets
no timers: every wait is a Deferred that the caller may cancel, and cancelling one harms nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, cast
from urllib.parse import urlsplit

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from autobahn.websocket.compress import (
    PerMessageDeflateOffer,
    PerMessageDeflateResponse,
    PerMessageDeflateResponseAccept,
)
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.python.failure import Failure

from logui_tx.errors import LoguiError

NO_STATUS = 1005
"""The peer's close frame had no code."""
ABNORMAL = 1006
"""The connection ended without a close frame from the peer."""


class Closed(LoguiError):
    """The connection is gone. ``code`` is the peer's, or 1005 or 1006; ``clean``: both said goodbye."""

    def __init__(self, code: int, reason: str, clean: bool) -> None:
        super().__init__(f"the connection was closed with {code}" + (f": {reason}" if reason else ""))
        self.code = code
        self.reason = reason
        self.clean = clean


class UpgradeRefused(LoguiError):
    """The server did not upgrade to WebSocket. ``status`` is its HTTP status, 0 if it did not speak HTTP."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"the server refused the WebSocket upgrade with {status} {reason}".rstrip())
        self.status = status
        self.reason = reason


class Socket:
    """One open WebSocket connection; made by :func:`connect`.

    Every call is harmless once the connection is gone. Text and binary messages arrive alike, as bytes.
    """

    def __init__(
        self, protocol: _Protocol, on_message: Callable[[bytes], None] | None, max_buffer: int
    ) -> None:
        self._protocol = protocol
        self._on_message = on_message
        self._max_buffer = max_buffer
        self._messages: deque[bytes] = deque()
        self._buffered = 0
        self._receivers: deque[Deferred[bytes]] = deque()
        self._watchers: list[Deferred[Closed]] = []
        self._end: Closed | None = None
        self._paused = False
        self._full = False

    @property
    def compressed(self) -> bool:
        """Whether the server agreed to ``permessage-deflate``."""
        return bool(self._protocol.websocket_extensions_in_use)

    @property
    def response_headers(self) -> Mapping[str, str]:
        """The headers of the upgrade's answer; names in lower case."""
        return cast("Mapping[str, str]", self._protocol.http_headers)

    @property
    def closed(self) -> Deferred[Closed]:
        """A new Deferred at each access; fires with the :class:`Closed` when the connection is gone."""
        if self._end is not None:
            return succeed(self._end)
        watcher: Deferred[Closed] = Deferred(self._watchers.remove)
        self._watchers.append(watcher)
        return watcher

    def send(self, message: bytes, binary: bool = False) -> None:
        """Send one message, as text unless ``binary``; the bytes are not checked to be UTF-8."""
        if self._protocol.state == self._protocol.STATE_OPEN:
            self._protocol.sendMessage(message, isBinary=binary)

    def send_raw(self, data: bytes) -> None:
        """Write bytes to the transport as they are: broken frames, half frames, no frames."""
        if self._end is None:
            self._protocol.transport.write(data)

    def receive(self) -> Deferred[bytes]:
        """Fires with the next message in order.

        Fails with :class:`Closed` once the connection is gone and every message was received. A cancelled
        call takes no message away. Not for a socket with ``on_message``.
        """
        if self._messages:
            message = self._messages.popleft()
            self._buffered -= len(message)
            if self._full and self._buffered <= self._max_buffer // 2:
                self._full = False
                self._set_reading()
            return succeed(message)
        if self._end is not None:
            return fail(self._end)
        receiver: Deferred[bytes] = Deferred(self._receivers.remove)
        self._receivers.append(receiver)
        return receiver

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Begin the closing handshake with any code; :attr:`closed` fires when the server has ended it."""
        if self._protocol.state == self._protocol.STATE_OPEN:
            # sendClose would refuse the codes from 1001 on.
            self._protocol.sendCloseFrame(code, reason.encode() or None)

    def abort(self) -> None:
        """Drop the connection at once, unsent bytes included, without a close frame."""
        if self._end is None:
            self._protocol.transport.abortConnection()

    def pause_reading(self) -> None:
        """Stop reading; messages of the last read still arrive, and the connection's end goes unnoticed."""
        self._paused = True
        self._set_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self._paused = False
        self._set_reading()

    def _set_reading(self) -> None:
        if self._end is not None:
            return
        if self._paused or self._full:
            self._protocol.transport.pauseProducing()
        else:
            self._protocol.transport.resumeProducing()

    def _received(self, message: bytes) -> None:
        if self._on_message is not None:
            self._on_message(message)
        elif self._receivers:
            self._receivers.popleft().callback(message)
        else:
            self._messages.append(message)
            self._buffered += len(message)
            if self._buffered > self._max_buffer and not self._full:
                self._full = True
                self._set_reading()

    def _ended(self, end: Closed) -> None:
        self._end = end
        receivers, self._receivers = self._receivers, deque()
        watchers, self._watchers = self._watchers, []
        for receiver in receivers:
            receiver.errback(end)
        for watcher in watchers:
            watcher.callback(end)


def connect(
    reactor: Any,
    url: str,
    *,
    origin: str | None = None,
    headers: Mapping[str, str] | None = None,
    compress: bool = False,
    max_buffer: int = 16 * 1024 * 1024,
    on_message: Callable[[bytes], None] | None = None,
) -> Deferred[Socket]:
    """Open a WebSocket connection to a ``ws`` or ``wss`` URL.

    ``origin`` and ``headers`` go into the upgrade request; ``compress`` offers ``permessage-deflate``.
    Messages wait for :meth:`Socket.receive`; past ``max_buffer`` bytes of them the socket stops reading
    until half are taken. With ``on_message`` each goes to it instead, at once; it must not raise.

    Fires with a :class:`Socket`. Fails with :class:`UpgradeRefused`, with :class:`Closed` when the
    connection ended before the upgrade's answer, with ``twisted.internet.error.ConnectError`` or
    ``DNSLookupError`` when there is no connection, and with ValueError for a malformed URL. Cancelling it
    drops the connection.
    """
    try:
        factory = _Factory(reactor, url, origin=origin, headers=headers, compress=compress)
        endpoint = _endpoint(reactor, url)
    except ValueError:
        return fail()
    opening = _Opening(on_message, max_buffer)
    factory.opening = opening
    opening.connecting = endpoint.connect(factory)
    opening.connecting.addErrback(opening.failed)
    return opening.done


def _endpoint(reactor: Any, url: str) -> IStreamClientEndpoint:
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "wss" else 80)
    # HostnameEndpoint asks a thread even for an address.
    kind: Any = HostnameEndpoint
    if isIPAddress(host):
        kind = TCP4ClientEndpoint
    elif isIPv6Address(host):
        kind = TCP6ClientEndpoint
    endpoint = kind(reactor, host, port)
    if parts.scheme == "wss":
        from twisted.internet.ssl import optionsForClientTLS  # needs the extra "tls"

        endpoint = wrapClientTLS(optionsForClientTLS(host), endpoint)
    return cast("IStreamClientEndpoint", endpoint)


class _Opening:
    """The time from the call of connect to its answer."""

    def __init__(self, on_message: Callable[[bytes], None] | None, max_buffer: int) -> None:
        self.done: Deferred[Socket] = Deferred(self._cancelled)
        self.connecting: Deferred[Any] | None = None
        self.protocol: _Protocol | None = None
        self._on_message = on_message
        self._max_buffer = max_buffer

    def succeeded(self, protocol: _Protocol) -> Socket:
        socket = Socket(protocol, self._on_message, self._max_buffer)
        if self.done.called:
            socket.abort()
        else:
            self.done.callback(socket)
        return socket

    def failed(self, why: Failure | Exception) -> None:
        if not self.done.called:
            self.done.errback(why)

    def _cancelled(self, done: Deferred[Socket]) -> None:
        # The reason of what follows is no news to the one who cancelled.
        done.errback(CancelledError())
        if self.protocol is not None:
            self.protocol.transport.abortConnection()
        elif self.connecting is not None:
            self.connecting.cancel()


class _Protocol(WebSocketClientProtocol):  # type: ignore[misc]  # Autobahn is untyped
    # The factory's option comes too late: without this, messages wait for Nagle.
    tcpNoDelay = True

    factory: _Factory
    opening: _Opening
    socket: Socket | None = None
    close_frame: tuple[int | None, bytes | None] | None = None

    def connectionMade(self) -> None:
        self.opening = self.factory.opening
        self.opening.protocol = self
        super().connectionMade()

    def onOpen(self) -> None:
        self.socket = self.opening.succeeded(self)

    def failHandshake(self, reason: str) -> None:
        words = getattr(self, "http_status_line", "").split(None, 2)
        status = int(words[1]) if len(words) > 1 and words[1].isdecimal() else 0
        # A 101 that is refused for its headers is this client's doing: Autobahn's text says why.
        text = words[2] if len(words) > 2 and status != 101 else reason
        self.opening.failed(UpgradeRefused(status, text))
        super().failHandshake(reason)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: ARG002 - Autobahn's signature
        if self.socket is not None:
            self.socket._received(payload)

    def onCloseFrame(self, code: int | None, reasonRaw: bytes | None) -> Any:
        # Autobahn forgets the code where the connection ends before its own reply is out.
        self.close_frame = code, reasonRaw
        return super().onCloseFrame(code, reasonRaw)

    def onClose(self, wasClean: bool, _code: int | None, reason: str | None) -> None:
        if self.close_frame is None:
            end = Closed(ABNORMAL, reason or "", False)
        else:
            told, text = self.close_frame
            end = Closed(
                NO_STATUS if told is None else told, (text or b"").decode(errors="replace"), wasClean
            )
        if self.socket is not None:
            self.socket._ended(end)
        else:
            self.opening.failed(end)


class _Factory(WebSocketClientFactory):  # type: ignore[misc]  # Autobahn is untyped
    protocol = _Protocol
    noisy = False
    opening: _Opening

    def __init__(
        self, reactor: Any, url: str, *, origin: str | None, headers: Mapping[str, str] | None, compress: bool
    ) -> None:
        super().__init__(
            url, origin=origin, headers=dict(headers or {}), useragent="logui-tx", reactor=reactor
        )
        # Timeouts are the caller's.
        self.setProtocolOptions(
            openHandshakeTimeout=0, closeHandshakeTimeout=0, serverConnectionDropTimeout=0
        )
        if compress:
            self.setProtocolOptions(
                perMessageCompressionOffers=[PerMessageDeflateOffer()],
                perMessageCompressionAccept=_accept_deflate,
            )


def _accept_deflate(response: object) -> Any:
    if isinstance(response, PerMessageDeflateResponse):
        return PerMessageDeflateResponseAccept(response)
    return None
