"""Sessions that are live here: begun, gone on with, shared by several sockets, ended with the last one."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import msgspec
from attrs import asdict, define
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from logui_tx.app_data import AppData
from logui_tx.errors import HandshakeRefused, NotStored, Refusal
from logui_tx.intake import Intake, LiveSession, Standing
from logui_tx.interfaces import ISessionStore
from logui_tx.journal.entry import SessionHandle, SessionRow
from logui_tx.journal.state import SessionState
from logui_tx.model import Connection, EndReason, Flight, Hello, Limits

log = Logger()

RETRY_END = 1.0
"""Seconds until an end that could not be written is tried again."""


_encode_state = msgspec.msgpack.Encoder().encode
_decode_state = msgspec.msgpack.Decoder(SessionState).decode

FindSession = Callable[[str], "Deferred[SessionState | None]"]
"""Looks a session up in the journal: what the session store has forgotten since."""


@define(eq=False)
class Opened:
    """What a handshake led to; ``last_payload_id`` is that of the client's instance."""

    session: LiveSession
    resumed: bool
    last_payload_id: int
    clock_offset: int | None
    now: int


class LiveSessions:
    """Opens and ends sessions; one for all conversations of the process."""

    def __init__(
        self, clock: IReactorTime, intake: Intake, store: ISessionStore, find: FindSession, limits: Limits
    ) -> None:
        self._clock = clock
        self._intake = intake
        self._store = store
        self._find = find
        self._limits = limits
        self.live = intake.live
        self._looking: dict[str, list[Deferred[SessionState | None]]] = {}
        self._retries: dict[str, IDelayedCall] = {}

    async def open(self, flight: Flight, dialect: str, hello: Hello, connection: Connection) -> Opened:
        """Done when the session stands in the journal; also, with a warning, where that cannot be written.

        Fails with :class:`HandshakeRefused` where the application-specific data is too large.
        """
        now = self._intake.now()
        fresh = AppData().changed(hello.app_data)
        self._intake.check_size(fresh, _too_much)
        session = None
        if hello.session_id is not None:
            session = await self._resume(hello.session_id, flight, dialect)
        resumed = session is not None
        if session is None:
            app_data = fresh
            session = self._begin(flight, dialect, hello, connection, now)
        else:
            app_data = session.now.app_data.changed(hello.app_data)
            self._intake.check_size(app_data, _too_much)
        session.now.app_data = app_data
        self.live[session.id] = session
        session.sockets += 1
        session.end_reason = None
        clock_offset = None if hello.client_time is None else hello.client_time - now
        try:
            await self._intake.open(session, resumed=resumed, clock_offset=clock_offset)
        except NotStored as error:
            # The client may stay and send: it is told 500 until there is room again. What it said of itself
            # is accepted with its handshake, and is written with the first thing that can be.
            for standing in (session.now, session.committed):
                standing.app_data = standing.app_data.changed(hello.app_data)
            log.warn("session {id} is not in the journal yet: {error}", id=session.id, error=error)
        last_payload_id = session.committed.payload_ids.get(hello.instance, 0)
        return Opened(session, resumed, last_payload_id, clock_offset, now)

    def leave(self, session: LiveSession, reason: EndReason) -> None:
        """One socket of the session is gone; with the last one it ends."""
        session.sockets -= 1
        if session.sockets == 0:
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
            user_agent=connection.user_agent,
            origin=connection.origin,
            referrer=hello.referrer or connection.referrer,
            device=hello.device,
            visitor_id=connection.visitor_id,
        )
        return LiveSession(row.id, flight.id, SessionHandle(row), now)

    async def _resume(self, session_id: str, flight: Flight, dialect: str) -> LiveSession | None:
        """The session, if it is the flight's and may be gone on with."""
        session = self.live.get(session_id)
        if session is None:
            state = await self._load(session_id)
            # Another socket may have come first while this one waited.
            session = self.live.get(session_id)
            if session is None and state is not None:
                session = _awake(state)
        if session is None or session.flight_id != flight.id or session.handle.row.dialect != dialect:
            return None
        if session.end_reason is EndReason.SHUTDOWN_CLIENT:
            return None
        idle = self._intake.now() - session.last_activity
        if session.sockets == 0 and idle > self._limits.resume_window * 1000:
            return None
        return session

    def _load(self, session_id: str) -> Deferred[SessionState | None]:
        """How a session rests. Who asks while another waits for the answer gets the same, in the same turn: a
        later one could be from before what the other did with the session."""
        answer: Deferred[SessionState | None] = Deferred()
        waiting = self._looking.setdefault(session_id, [])
        waiting.append(answer)
        if len(waiting) == 1:
            Deferred.fromCoroutine(self._look_up(session_id)).addBoth(self._found, session_id)
        return answer

    async def _look_up(self, session_id: str) -> SessionState | None:
        kept = await self._store.load(session_id)
        found = await self._find(session_id)
        if kept is None or found is None:
            # Not kept any more; or erased from the journal since, which the store is not told.
            return found
        return _decode_state(kept)

    def _found(self, outcome: Any, session_id: str) -> None:
        for answer in self._looking.pop(session_id):
            answer.callback(outcome)

    # --- ending

    def _end(self, session: LiveSession, reason: EndReason, at: int) -> None:
        ended = self._intake.end(session, reason, at)
        ended.addCallbacks(
            lambda _receipt: Deferred.fromCoroutine(self._put_to_rest(session)),
            lambda failure: self._end_later(session, at, failure),
        )
        ended.addErrback(lambda failure: log.failure("a session's end", failure=failure))

    def _end_later(self, session: LiveSession, at: int, failure: Any) -> None:
        failure.trap(NotStored)
        earlier = self._retries.pop(session.id, None)
        if earlier is not None:
            earlier.cancel()
        self._retries[session.id] = self._clock.callLater(RETRY_END, self._end_again, session, at)

    def _end_again(self, session: LiveSession, at: int) -> None:
        del self._retries[session.id]
        # Resumed meanwhile, it ends another time; what is in flight then is that end.
        if session.sockets == 0 and not session.in_flight and self.live.get(session.id) is session:
            assert session.end_reason is not None
            self._end(session, session.end_reason, at)

    async def _put_to_rest(self, session: LiveSession) -> None:
        """Kept before it is forgotten here: nobody may wake up an older state meanwhile."""
        if _is_busy(session):
            return
        await self._store.save(session.id, _encode_state(_at_rest(session)), self._limits.resume_window)
        if not _is_busy(session):
            self.live.pop(session.id, None)


def _is_busy(session: LiveSession) -> bool:
    return bool(session.sockets or session.in_flight)


def _too_much(text: str) -> HandshakeRefused:
    return HandshakeRefused(Refusal.FIELD, text)


def _at_rest(session: LiveSession) -> SessionState:
    handle, stands = session.handle, session.committed
    assert handle.number is not None
    return SessionState(
        row=asdict(handle.row),
        number=handle.number,
        version=handle.version,
        last_activity=session.last_activity,
        last_seq=stands.last_seq,
        app_data=stands.app_data.encoded,
        payload_ids=stands.payload_ids,
        end_reason=session.end_reason.value if session.end_reason else None,
        refused={instance: ids for instance, ids in session.refused.items() if ids},
    )


def _awake(state: SessionState) -> LiveSession:
    row = SessionRow(**state.row)
    app_data = AppData.decode(state.app_data)
    handle = SessionHandle(row, state.number, app_data=app_data.encoded, version=state.version)
    return LiveSession(
        row.id,
        row.flight_id,
        handle,
        state.last_activity,
        now=Standing(state.last_seq, app_data, dict(state.payload_ids)),
        committed=Standing(state.last_seq, app_data, dict(state.payload_ids)),
        refused={instance: list(ids) for instance, ids in state.refused.items()},
        end_reason=EndReason(state.end_reason) if state.end_reason else None,
    )
