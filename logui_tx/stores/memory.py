"""``memory:``, the session store of one process; what it forgets at a restart the journal still knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from logui_tx.interfaces import ISessionStore
from logui_tx.model import Kept, Known

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall


CAPACITY = 16 * 1024 * 1024
"""Bytes of views kept; the oldest go first, and are found in the journal."""


@define
class _Session:
    view: bytes | None
    reserved: int
    over: IDelayedCall


@implementer(ISessionStore)
@define(eq=False)
class MemorySessionStore:
    """Sessions, each until its time is over."""

    _clock: IReactorTime
    name: str = "memory"
    shared: bool = False
    servers: int = 1
    away: str | None = None
    trouble: str | None = None
    capacity: int = CAPACITY
    _server: str = ""
    _sessions: dict[str, _Session] = field(factory=dict)
    _size: int = 0
    _tickets: dict[str, IDelayedCall] = field(factory=dict)

    def start(self, server: str, heard: Callable[[bytes], None], back: Callable[[], None]) -> None:  # noqa: ARG002
        """See :meth:`ISessionStore.start`; there is nobody to hear from."""
        self._server = server

    def when_ready(self) -> Deferred[None]:
        """See :meth:`ISessionStore.when_ready`: at once."""
        return succeed(None)

    def load(self, session_id: str) -> Deferred[Known]:
        """See :meth:`ISessionStore.load`."""
        kept = self._sessions.get(session_id)
        if kept is None or kept.view is None:
            return succeed(Known({}, 0 if kept is None else kept.reserved))
        return succeed(Known({self._server: kept.view}, kept.reserved))

    def save(self, sessions: Mapping[str, Kept], ttl: float) -> Deferred[None]:
        """See :meth:`ISessionStore.save`."""
        for session_id, kept in sessions.items():
            reserved = max(kept.numbers_to, self._drop(session_id))
            if kept.unused_above is not None and reserved == kept.numbers_to:
                reserved = kept.unused_above
            self._keep(session_id, kept.view, reserved, ttl)
        return succeed(None)

    def reserve(self, session_id: str, count: int, above: int, ttl: float) -> Deferred[int]:
        """See :meth:`ISessionStore.reserve`."""
        kept = self._sessions.get(session_id)
        view = None if kept is None else kept.view
        last = max(above, self._drop(session_id)) + count
        self._keep(session_id, view, last, ttl)
        return succeed(last)

    def forget(self, session_id: str) -> Deferred[None]:
        """See :meth:`ISessionStore.forget`."""
        self._drop(session_id)
        return succeed(None)

    def tell(self, server: str | None, message: bytes) -> Deferred[int]:  # noqa: ARG002
        """See :meth:`ISessionStore.tell`: there is nobody."""
        return succeed(0)

    def keep_ticket(self, ticket_id: str, ttl: float) -> Deferred[bool]:
        """See :meth:`ISessionStore.keep_ticket`."""
        self._tickets[ticket_id] = self._clock.callLater(ttl, self._tickets.pop, ticket_id)
        return succeed(True)

    def take_ticket(self, ticket_id: str, kept: bool, ttl: float) -> Deferred[bool]:  # noqa: ARG002
        """See :meth:`ISessionStore.take_ticket`; what is not kept was used, or is from before a restart."""
        timer = self._tickets.pop(ticket_id, None)
        if timer is None:
            return succeed(False)
        timer.cancel()
        return succeed(True)

    def check(self) -> Deferred[None]:
        """See :meth:`ISessionStore.check`: memory always answers."""
        return succeed(None)

    def close(self) -> Deferred[None]:
        """See :meth:`ISessionStore.close`."""
        for session_id in list(self._sessions):
            self._drop(session_id)
        while self._tickets:
            self._tickets.popitem()[1].cancel()
        return succeed(None)

    def _keep(self, session_id: str, view: bytes | None, reserved: int, ttl: float) -> None:
        over = self._clock.callLater(ttl, self._drop, session_id)
        self._sessions[session_id] = _Session(view, reserved, over)
        self._size += len(view or b"")
        while self._size > self.capacity:
            self._drop(next(iter(self._sessions)))

    def _drop(self, session_id: str) -> int:
        """Forget it; the last number that was reserved."""
        kept = self._sessions.pop(session_id, None)
        if kept is None:
            return 0
        self._size -= len(kept.view or b"")
        if kept.over.active():
            kept.over.cancel()
        return kept.reserved
