"""``memory:``, the session store of one process; what it forgets at a restart the journal still knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from logui_tx.interfaces import ISessionStore

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall


CAPACITY = 16 * 1024 * 1024
"""Bytes of states kept; the oldest go first, and are found in the journal."""


@implementer(ISessionStore)
@define(eq=False)
class MemorySessionStore:
    """States by session, each until its time is over."""

    _clock: IReactorTime
    name: str = "memory"
    capacity: int = CAPACITY
    _states: dict[str, tuple[bytes, IDelayedCall]] = field(factory=dict)
    _size: int = 0
    _tickets: dict[str, IDelayedCall] = field(factory=dict)

    def load(self, session_id: str) -> Deferred[bytes | None]:
        """See :meth:`ISessionStore.load`."""
        state = self._states.get(session_id)
        return succeed(None if state is None else state[0])

    def save(self, session_id: str, state: bytes, ttl: float) -> Deferred[None]:
        """See :meth:`ISessionStore.save`."""
        self._drop(session_id)
        self._states[session_id] = state, self._clock.callLater(ttl, self._drop, session_id)
        self._size += len(state)
        while self._size > self.capacity:
            self._drop(next(iter(self._states)))
        return succeed(None)

    def forget(self, session_id: str) -> Deferred[None]:
        """See :meth:`ISessionStore.forget`."""
        self._drop(session_id)
        return succeed(None)

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
        for session_id in list(self._states):
            self._drop(session_id)
        while self._tickets:
            self._tickets.popitem()[1].cancel()
        return succeed(None)

    def _drop(self, session_id: str) -> None:
        state = self._states.pop(session_id, None)
        if state is not None:
            self._size -= len(state[0])
            if state[1].active():
                state[1].cancel()
