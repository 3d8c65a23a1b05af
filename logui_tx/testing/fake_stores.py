"""A session store that several servers share, in memory; each end can be told that it does not answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from zope.interface import implementer

from logui_tx.errors import StoreAway
from logui_tx.interfaces import ISessionStore
from logui_tx.model import Kept, Known


@define(eq=False)
class FakeStores:
    """A session store in memory that several servers share; :meth:`new` is one server's end of it."""

    clock: Clock
    sessions: dict[str, tuple[dict[str, bytes], int]] = field(factory=dict)
    tickets: set[str] = field(factory=set)
    ends: list[FakeSessionStore] = field(factory=list)
    _over: dict[str, IDelayedCall] = field(factory=dict)

    def new(self) -> FakeSessionStore:
        """One more server's."""
        end = FakeSessionStore(self)
        self.ends.append(end)
        return end

    def keep(self, session_id: str, views: dict[str, bytes], reserved: int, ttl: float) -> None:
        self.drop(session_id)
        self.sessions[session_id] = views, reserved
        self._over[session_id] = self.clock.callLater(ttl, self.drop, session_id)

    def drop(self, session_id: str) -> None:
        self.sessions.pop(session_id, None)
        over = self._over.pop(session_id, None)
        if over is not None and over.active():
            over.cancel()


@implementer(ISessionStore)
@define(eq=False)
class FakeSessionStore:
    """One server's end; ``away`` can be set with :meth:`go` and :meth:`come_back`."""

    _all: FakeStores
    name: str = "fake"
    shared: bool = True
    away: str | None = None
    servers: int = 1
    _server: str = ""
    _heard: Callable[[bytes], None] = lambda _message: None
    _back: Callable[[], None] = lambda: None
    _unwritten: dict[str, tuple[Kept, float]] = field(factory=dict)
    _used: set[str] = field(factory=set)

    @property
    def trouble(self) -> str | None:
        """See :attr:`ISessionStore.trouble`."""
        return self.away

    def go(self) -> None:
        """The store does not answer this server any more."""
        self.away = "away"

    def come_back(self) -> None:
        """It does again."""
        self.away = None
        unwritten, self._unwritten = self._unwritten, {}
        for session_id, (kept, ttl) in unwritten.items():
            self.save({session_id: kept}, ttl)
        self._all.tickets -= self._used
        self._back()

    def start(self, server: str, heard: Callable[[bytes], None], back: Callable[[], None]) -> None:
        """See :meth:`ISessionStore.start`."""
        self._server, self._heard, self._back = server, heard, back

    def when_ready(self) -> Deferred[None]:
        """See :meth:`ISessionStore.when_ready`."""
        return succeed(None)

    def load(self, session_id: str) -> Deferred[Known]:
        """See :meth:`ISessionStore.load`."""
        if self.away:
            kept = self._unwritten.get(session_id)
            return succeed(Known({self._server: kept[0].view} if kept else {}))
        views, reserved = self._all.sessions.get(session_id, ({}, 0))
        return succeed(Known(dict(views), reserved))

    def save(self, sessions: Mapping[str, Kept], ttl: float) -> Deferred[None]:
        """See :meth:`ISessionStore.save`."""
        for session_id, kept in sessions.items():
            if self.away:
                self._unwritten[session_id] = kept, ttl
                continue
            views, reserved = self._all.sessions.get(session_id, ({}, 0))
            reserved = max(reserved, kept.numbers_to)
            if kept.unused_above is not None and reserved == kept.numbers_to:
                reserved = kept.unused_above
            self._all.keep(session_id, {**views, self._server: kept.view}, reserved, ttl)
        return succeed(None)

    def reserve(self, session_id: str, count: int, above: int, ttl: float) -> Deferred[int]:
        """See :meth:`ISessionStore.reserve`."""
        if self.away:
            return fail(StoreAway("away"))
        views, reserved = self._all.sessions.get(session_id, ({}, 0))
        last = max(reserved, above) + count
        self._all.keep(session_id, views, last, ttl)
        return succeed(last)

    def forget(self, session_id: str) -> Deferred[None]:
        """See :meth:`ISessionStore.forget`."""
        if self.away:
            return fail(StoreAway("away"))
        self._all.drop(session_id)
        return succeed(None)

    def tell(self, server: str | None, message: bytes) -> Deferred[int]:
        """See :meth:`ISessionStore.tell`."""
        hearers = [
            end
            for end in self._all.ends
            if end is not self and not end.away and not self.away and server in (None, end._server)
        ]
        for end in hearers:
            self._all.clock.callLater(0, end._heard, message)
        return succeed(len(hearers))

    def keep_ticket(self, ticket_id: str, ttl: float) -> Deferred[bool]:
        """See :meth:`ISessionStore.keep_ticket`."""
        if self.away:
            return succeed(False)
        self._all.tickets.add(ticket_id)
        self._all.clock.callLater(ttl, self._all.tickets.discard, ticket_id)
        return succeed(True)

    def take_ticket(self, ticket_id: str, kept: bool, ttl: float) -> Deferred[bool]:  # noqa: ARG002
        """See :meth:`ISessionStore.take_ticket`."""
        if kept and not self.away:
            known = ticket_id in self._all.tickets
            self._all.tickets.discard(ticket_id)
            return succeed(known)
        used = ticket_id in self._used
        self._used.add(ticket_id)
        return succeed(not used)

    def check(self) -> Deferred[None]:
        """See :meth:`ISessionStore.check`."""
        return fail(StoreAway(self.away)) if self.away else succeed(None)

    def close(self) -> Deferred[None]:
        """See :meth:`ISessionStore.close`."""
        if self in self._all.ends:
            self._all.ends.remove(self)
        return succeed(None)
