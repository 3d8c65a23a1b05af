"""Sessions that are live here: begun, gone on with, shared by several sockets, ended with the last one."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, Protocol

from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from logui_tx.app_data import AppData
from logui_tx.errors import HandshakeRefused, LoguiError, NotStored, Refusal, StoreAway, Superseded
from logui_tx.intake import Intake
from logui_tx.interfaces import IDialect
from logui_tx.journal.entry import SessionHandle, SessionRow
from logui_tx.live_session import LiveSession
from logui_tx.model import Connection, EndReason, Flight, Hello, Limits
from logui_tx.registry.admission import checked_active, must_be_there
from logui_tx.sharing import Sharing, Woken
from logui_tx.views import Whole

log = Logger()

RETRY_END = 1.0
"""Seconds until an end that could not be written is tried again."""


@define(eq=False)
class Opened:
    """A socket of a session: what its handshake led to. ``last_payload_id`` is that of its ``instance``.

    ``evict``, once somebody has set it, ends the connection: its page load has gone on at another server.
    ``app_data`` is what its last events bore, encoded, where they did.
    """

    session: LiveSession
    instance: str
    resumed: bool
    clock_offset: int | None
    now: int
    last_payload_id: int = 0
    evict: Callable[[], None] | None = None
    superseded: bool = False
    app_data: bytes | None = None


class Admit(Protocol):
    """Decides whether a client may log; fires with its open session."""

    def __call__(self, hello: Hello, connection: Connection, dialect: IDialect) -> Deferred[Opened]: ...


class LiveSessions:
    """Opens and ends sessions; one for all conversations of the process."""

    def __init__(self, clock: IReactorTime, intake: Intake, sharing: Sharing, limits: Limits) -> None:
        self._clock = clock
        self._intake = intake
        self._sharing = sharing
        self._limits = limits
        self.live = intake.live
        self._waking: dict[str, list[Deferred[None]]] = {}
        self._retries: dict[str, IDelayedCall] = {}
        self._ending: dict[str, list[Deferred[None]]] = {}
        self._resting: set[str] = set()
        sharing.evict = self._evict

    async def open(self, flight: Flight, dialect: str, hello: Hello, connection: Connection) -> Opened:
        """Done when the session stands in the journal; also, with a warning, where that cannot be written and
        the client keeps what it sends. Fails with :class:`NotStored` where it does not.

        Fails with :class:`HandshakeRefused` where the application-specific data is too large, or the session
        must be there and is not; with :class:`StoreAway` where that cannot be told.
        """
        now = self._intake.now()
        self._intake.check_size(AppData().changed(hello.app_data), _too_much)
        found = None
        if hello.session_id is not None:
            found = await self._resume(hello.session_id, flight, dialect, hello)
            if found is None and must_be_there(flight, hello):
                raise self._missing()
        session = found.session if found else self._begin(flight, dialect, hello, connection, now)
        clock_offset = None if hello.client_time is None else hello.client_time - now
        opened = Opened(session, hello.instance, found is not None, clock_offset, now)
        joined = session.id in self.live
        self.live[session.id] = session
        session.sockets.add(opened)
        session.end_reason = None
        try:
            if joined:
                await self._sharing.claim(session, hello.instance, frozenset())
            await self._enter(opened, hello, found.jump if found else 0)
            if found is not None and not joined:
                # Another server may have woken it at the same moment: from now on each sees the other.
                await self._sharing.claim(session, hello.instance, found.asked)
            if opened.superseded:
                raise Superseded("the page load has gone on at another server")
        except BaseException as why:
            if found is None and isinstance(why, NotStored):
                # Nobody knows of it, so nobody needs to know of its end.
                del self.live[session.id]
            else:
                self.leave(opened, EndReason.LOST)
            raise
        opened.last_payload_id = session.committed.payload_ids.get(hello.instance, 0)
        return opened

    async def _enter(self, opened: Opened, hello: Hello, jump: int) -> None:
        session = opened.session
        session.now.app_data = session.now.app_data.changed(hello.app_data)
        try:
            await self._intake.open(
                session, resumed=opened.resumed, clock_offset=opened.clock_offset, jump=jump
            )
        except NotStored as error:
            if not hello.keeps:
                raise
            # The client may stay and send: it is told 500 until there is room again. What it said of itself
            # is accepted with its handshake, and is written with the first thing that can be.
            for standing in (session.now, session.committed):
                standing.app_data = standing.app_data.changed(hello.app_data)
            log.warn("session {id} is not in the journal yet: {error}", id=session.id, error=error)

    def leave(self, opened: Opened, reason: EndReason) -> None:
        """One socket of the session is gone; with the last one it ends."""
        session = opened.session
        session.sockets.remove(opened)
        if not session.sockets:
            self._end(session, reason, self._intake.now())

    def stop(self) -> None:
        """Try no more to write an end: the next start will find the session open, and close it as lost."""
        while self._retries:
            self._retries.popitem()[1].cancel()

    # --- beginning

    def _begin(
        self, flight: Flight, dialect: str, hello: Hello, connection: Connection, now: int
    ) -> LiveSession:
        row = SessionRow(
            id=str(uuid.uuid4()),
            flight_id=flight.id,
            application_id=flight.application_id,
            dialect=dialect,
            started_at=now,
            user_agent=hello.user_agent or connection.user_agent,
            origin=connection.origin,
            referrer=hello.referrer or connection.referrer,
            device=hello.device,
            visitor_id=connection.visitor_id,
            client_started_at=hello.client_time,
        )
        return LiveSession(row.id, flight.id, SessionHandle(row), now, numbers=self._sharing.new_numbers())

    async def _resume(self, session_id: str, flight: Flight, dialect: str, hello: Hello) -> Woken | None:
        """The session, if it is the flight's and may be gone on with."""

        def may_resume(whole: Whole) -> bool:
            state = whole.state
            fits = state.row["flight_id"] == flight.id and state.row["dialect"] == dialect
            if not fits or state.end_reason == EndReason.SHUTDOWN_CLIENT.value:
                return False
            if not whole.others and self._too_late(state.last_activity):
                return False
            # Before anybody is asked to let go of it.
            checked_active(flight)
            self._intake.check_size(AppData.decode(state.app_data).changed(hello.app_data), _too_much)
            return True

        while session_id in self._resting or session_id in self._waking:
            await (self._when_ended if session_id in self._resting else self._when_woken)(session_id)
        live = self.live.get(session_id)
        found = Woken(live) if live is not None else await self._wake(session_id, hello, may_resume)
        if found is None:
            return None
        session = found.session
        if session.flight_id != flight.id or session.handle.row.dialect != dialect:
            return None
        if session.end_reason is EndReason.SHUTDOWN_CLIENT:
            return None
        if not session.sockets and not session.neighbours and self._too_late(session.last_activity):
            return None
        checked_active(flight)
        self._intake.check_size(session.now.app_data.changed(hello.app_data), _too_much)
        return found

    def _missing(self) -> LoguiError:
        if self._sharing.cut_off:
            return StoreAway("the session may be known to another server")
        return HandshakeRefused(Refusal.SESSION, "The session is unknown or expired.")

    def _too_late(self, last_activity: int) -> bool:
        return self._intake.now() - last_activity > self._limits.resume_window * 1000

    def _wake(
        self, session_id: str, hello: Hello, may_resume: Callable[[Whole], bool]
    ) -> Deferred[Woken | None]:
        """A session that rests; for one at a time: what another is told could be from before what this one
        does with the session."""
        answer: Deferred[Woken | None] = Deferred()
        self._waking[session_id] = []
        waking = Deferred.fromCoroutine(self._sharing.wake(session_id, hello.instance, may_resume))
        waking.addBoth(self._woken, session_id, answer)
        return answer

    def _when_woken(self, session_id: str) -> Deferred[None]:
        """Fires when it is live here, or who asked first may not go on with it."""
        woken: Deferred[None] = Deferred()
        self._waking[session_id].append(woken)
        return woken

    def _woken(self, outcome: Any, session_id: str, answer: Deferred[Woken | None]) -> None:
        waiting = self._waking.pop(session_id)
        answer.callback(outcome)
        for each in waiting:
            each.callback(None)

    # --- ending

    def _end(self, session: LiveSession, reason: EndReason, at: int) -> None:
        ended = self._intake.end(session, reason, at)
        ended.addCallbacks(
            lambda _receipt: Deferred.fromCoroutine(self._put_to_rest(session)),
            lambda failure: self._end_later(session, at, failure),
        )
        ended.addErrback(lambda failure: log.failure("a session's end", failure=failure))
        ended.addCallback(self._ended, session.id)

    def _when_ended(self, session_id: str) -> Deferred[None]:
        """Fires when the end that is under way has gone as far as it will."""
        ended: Deferred[None] = Deferred()
        self._ending.setdefault(session_id, []).append(ended)
        return ended

    def _ended(self, _outcome: Any, session_id: str) -> None:
        for waiting in self._ending.pop(session_id, []):
            waiting.callback(None)

    async def _evict(self, session: LiveSession, instance: str, asker: str) -> None:
        """The page load has gone on elsewhere: its connections end here; done when that is written.

        Where it shakes hands with both servers at this moment, the greater name keeps it.
        """
        for opened in list(session.sockets):
            if not instance or opened.instance != instance:
                continue
            if opened.evict is not None:
                opened.evict()
            elif asker > self._sharing.server:
                opened.superseded = True
        if not session.sockets and self.live.get(session.id) is session:
            await self._when_ended(session.id)

    def _end_later(self, session: LiveSession, at: int, failure: Any) -> None:
        failure.trap(NotStored)
        earlier = self._retries.pop(session.id, None)
        if earlier is not None:
            earlier.cancel()
        self._retries[session.id] = self._clock.callLater(RETRY_END, self._end_again, session, at)

    def _end_again(self, session: LiveSession, at: int) -> None:
        del self._retries[session.id]
        # Resumed meanwhile, it ends another time; what is in flight then is that end.
        if not session.sockets and not session.in_flight and self.live.get(session.id) is session:
            assert session.end_reason is not None
            self._end(session, session.end_reason, at)

    async def _put_to_rest(self, session: LiveSession) -> None:
        """Kept before it is forgotten here: nobody may wake up an older state meanwhile, nor go on with a
        session whose numbers have just been given back."""
        if _is_busy(session):
            return
        self._resting.add(session.id)
        try:
            await self._sharing.rest(session)
        finally:
            self._resting.discard(session.id)
            self.live.pop(session.id, None)


def _is_busy(session: LiveSession) -> bool:
    return bool(session.sockets or session.in_flight)


def _too_much(text: str) -> HandshakeRefused:
    return HandshakeRefused(Refusal.FIELD, text)
