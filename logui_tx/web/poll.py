"""Many connections read in one call of the reactor.

The reactor leads every single read through its logging context, which costs as much as taking the message.
Here the connections have an ``epoll`` of their own; that is readable, for the reactor, when any of them is.
Writing, timers and ends stay the reactor's.
"""

from __future__ import annotations

import select
from time import monotonic
from typing import Any, cast

from twisted.internet import error, main, tcp
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

log = Logger()

_MOST = 65_536
"""Bytes of one read, as of Twisted's own."""
_LOOKS, _FEW, _SOON = 3, 50, 0.005
"""How often a turn looks for more, below how many connections and within how many seconds: some send while
others are read, and what a turn brings is written in one commit."""


def is_plain(transport: Any) -> bool:
    """Whether what its socket reads and sends is what its protocol does: a stream without TLS."""
    return isinstance(transport, tcp.Server) and not transport.TLS


@implementer(IReadDescriptor)
class Readers:
    """Stands in for the reactor of the transports that it was told to :meth:`adopt`."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        # For good: a descriptor that is given away may not be had again.
        self._epoll: Any = select.epoll() if hasattr(select, "epoll") else None
        self._transports: dict[int, Any] = {}

    def __getattr__(self, name: str) -> Any:
        """All else that a transport asks of its reactor."""
        return getattr(self._reactor, name)

    def adopt(self, transport: Any) -> None:
        """Read this one here from now on, where it is plain and the system has such a thing."""
        if self._epoll is not None and is_plain(transport):
            reading = transport in self._reactor.getReaders()
            self._reactor.removeReader(transport)
            transport.reactor = cast(Any, self)
            if reading:
                self.addReader(transport)

    # --- what a transport calls

    def addReader(self, transport: Any) -> None:
        """See :meth:`IReactorFDSet.addReader`."""
        fd = transport.fileno()
        if fd not in self._transports:
            self._epoll.register(fd, select.EPOLLIN)
            if not self._transports:
                self._reactor.addReader(self)
            self._transports[fd] = transport

    def removeReader(self, transport: Any) -> None:
        """See :meth:`IReactorFDSet.removeReader`."""
        fd = transport.fileno()
        if self._transports.get(fd) is transport:
            del self._transports[fd]
            self._epoll.unregister(fd)
            if not self._transports:
                self._reactor.removeReader(self)

    def getReaders(self) -> list[Any]:
        """See :meth:`IReactorFDSet.getReaders`: those that are read here."""
        return list(self._transports.values())

    # --- what the reactor calls

    def fileno(self) -> int:
        """See :meth:`IFileDescriptor.fileno`."""
        return int(self._epoll.fileno())

    def logPrefix(self) -> str:
        """See :meth:`ILoggingContext.logPrefix`."""
        return "WebSocket"

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is at its end, or an error hit the poll itself: with it go all that it read."""
        for transport in self.getReaders():
            self._end(transport, reason)

    def doRead(self) -> None:
        """Read from all that have something, as each transport would by itself."""
        until = monotonic() + _SOON
        for _ in range(_LOOKS):
            ready = self._epoll.poll(0)
            for fd, event in ready:
                self._read(fd, event)
            if not 0 < len(ready) < _FEW or monotonic() > until:
                break

    def _read(self, fd: int, event: int) -> None:
        transport = self._transports.get(fd)
        if transport is None:
            return  # ended by one before it
        if not event & select.EPOLLIN:
            self._lose(transport, Failure(error.ConnectionLost()))
            return
        try:
            data = transport.socket.recv(_MOST)
        except BlockingIOError:
            return
        except OSError:
            self._lose(transport, Failure(main.CONNECTION_LOST))
            return
        if not data:
            self._lose(transport, Failure(main.CONNECTION_DONE))
            return
        try:
            transport.protocol.dataReceived(data)
        except Exception as fault:  # noqa: BLE001 - it ends that connection, and no other
            log.failure("a connection failed")
            self._lose(transport, Failure(fault))

    def _lose(self, transport: Any, reason: Failure) -> None:
        # Not now: what the reactor has seen of its writing in this turn would be told to whoever gets its
        # descriptor next, and end that.
        self.removeReader(transport)
        self._reactor.callLater(0, self._end, transport, reason)

    def _end(self, transport: Any, reason: Failure) -> None:
        # The transport stops reading and writing itself; nobody here asks to be told of half an end.
        try:
            transport.connectionLost(reason)
        except Exception:  # noqa: BLE001 - others are still to be read
            log.failure("the end of a connection failed")
