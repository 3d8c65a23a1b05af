"""What a session's servers share of it: how it is gone on with elsewhere, and what they tell each other.

Each server writes its view of a session to the session store before it acknowledges anything (see views.py)
and holds blocks of the session's sequence numbers (see numbers.py). A store that is not shared keeps only the
sessions at rest.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from attrs import asdict, define
from msgspec.structs import replace
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from logui_tx.app_data import AppData
from logui_tx.errors import NotStored, StoreAway
from logui_tx.intake import Intake
from logui_tx.interfaces import ISessionStore
from logui_tx.journal.entry import SessionHandle, SessionRow
from logui_tx.journal.state import SessionState
from logui_tx.live_session import LiveSession, Standing
from logui_tx.model import EndReason, Kept, Limits
from logui_tx.neighbours import Neighbours
from logui_tx.numbers import BLOCK, Numbers
from logui_tx.views import View, Whole, decode_views, encode_view, put_together

log = Logger()

FindSession = Callable[[str], "Deferred[SessionState | None]"]
"""Looks a session up in this server's journal."""

REFRESHES = 3
"""How often a live session is saved in the time that the store would keep it, though nothing happens."""


@define(eq=False)
class Woken:
    """A session that goes on here, and where its sequence jumps to: 0 where it does not.

    ``asked`` are the servers that have just been asked to let go of the page load.
    """

    session: LiveSession
    jump: int = 0
    asked: frozenset[str] = frozenset()


class Sharing:
    """One for all sessions of the process. ``server`` is its name among those that share the store."""

    def __init__(
        self,
        clock: IReactorTime,
        intake: Intake,
        store: ISessionStore,
        find: FindSession,
        limits: Limits,
        server: str,
    ) -> None:
        self._clock = clock
        self._intake = intake
        self._store = store
        self._find = find
        self._ttl = limits.resume_window
        self.server = server
        self._refresh: Any = None
        self.live = intake.live
        self.flight_changed: Callable[[str], None] = lambda _flight_id: None
        self.evict: Callable[[LiveSession, str, str], Awaitable[None]]
        self._neighbours = Neighbours(
            clock, store, server, self._release, self._hear_data, lambda flight: self.flight_changed(flight)
        )

    def start(self) -> None:
        """Begin to share. ``evict(session, instance, asker)`` must be set: it ends a page load."""
        self._store.start(self.server, self._neighbours.hear, self._save_live)
        if self._store.shared:
            self._intake.publish = self._publish
            self._intake.more_numbers = self._more_numbers
            self._intake.look_again = self._look_again
            self._schedule_refresh()

    def stop(self) -> None:
        """Save nothing more by itself."""
        if self._refresh is not None:
            self._refresh.cancel()
            self._refresh = None

    @property
    def cut_off(self) -> bool:
        """Whether what other servers know cannot be told at the moment."""
        return self._store.away is not None

    # --- beginning and going on

    def new_numbers(self) -> Numbers:
        """Of a session that begins here: nobody else knows it, so its first block needs no asking."""
        return Numbers([(1, BLOCK)]) if self._store.shared else Numbers.any()

    async def wake(self, session_id: str, instance: str, may_resume: Callable[[Whole], bool]) -> Woken | None:
        """The session as all servers and the journal know it; None where nobody does, or it may not go on.

        Others that have it open have released the page load ``instance`` by then. Fails with what
        ``may_resume`` raises.
        """
        whole = await self._whole(session_id)
        if whole is None or not may_resume(whole):
            return None
        asked = whole.others
        if asked:
            still_open = await self._neighbours.ask_release(session_id, instance, asked)
            whole = await self._whole(session_id, asked - still_open)
            if whole is None or not may_resume(whole):
                return None
        numbers = await self._numbers(session_id, whole)
        session = _awake(whole, numbers)
        first = numbers.first(whole.state.last_seq, 0)
        assert first is not None
        if first == whole.state.last_seq + 1:
            return Woken(session, 0, asked)
        session.now.last_seq = session.committed.last_seq = first - 1
        return Woken(session, first, asked)

    async def claim(self, session: LiveSession, instance: str, asked_before: AbstractSet[str]) -> None:
        """A page load that came to a session that is live here: other servers let go of it."""
        if not self._store.shared:
            return
        asked = (session.neighbours | await self._open_elsewhere(session.id)) - asked_before
        if not asked:
            return
        still_open = await self._neighbours.ask_release(session.id, instance, asked)
        # Who asked here meanwhile stays.
        session.neighbours = still_open | (session.neighbours - asked)
        await self._learn(session)

    async def _learn(self, session: LiveSession) -> None:
        """What others have written down of the session."""
        whole = await self._whole(session.id)
        if whole is None:
            return
        session.learn(whole.state.payload_ids, whole.state.refused)
        self._take_over(session, whole.state.app_data, whole.app_data_version, whole.app_data_server)

    def _look_again(self, session: LiveSession) -> None:
        """A payload is owed here: another server may have stored it while one of us was cut off."""
        if session.looking or self._store.away is not None:
            return

        def done(_outcome: Any) -> None:
            session.looking = False

        session.looking = True
        Deferred.fromCoroutine(self._learn(session)).addErrback(
            lambda failure: log.failure("a session", failure=failure)
        ).addBoth(done)

    async def _open_elsewhere(self, session_id: str) -> set[str]:
        """Also those that could not say so, because the store was away."""
        known = await self._store.load(session_id)
        views = decode_views(known.views)
        return {server for server, view in views.items() if view.open and server != self.server}

    async def _whole(self, session_id: str, closed: AbstractSet[str] = frozenset()) -> Whole | None:
        """``closed`` are servers that have it open no more, whatever they wrote last."""
        known = await self._store.load(session_id)
        found = await self._find(session_id)
        views = {
            server: replace(view, open=view.open and server not in closed)
            for server, view in decode_views(known.views).items()
        }
        return put_together(views, known.reserved, found, self.server)

    async def _numbers(self, session_id: str, whole: Whole) -> Numbers:
        if not self._store.shared:
            return Numbers.any()
        if whole.numbers:
            return Numbers(list(whole.numbers))
        last = whole.state.last_seq
        if not whole.kept:
            # The store has forgotten it: others may have gone on with it, and nobody knows how far.
            return Numbers.blind(last, self.server)
        try:
            end = await self._store.reserve(session_id, BLOCK, last, self._ttl)
        except StoreAway:
            return Numbers.blind(last, self.server)
        return Numbers([(end - BLOCK + 1, end)])

    def _more_numbers(self, session: LiveSession) -> None:
        if session.reserving or self._store.away is not None:
            return
        session.reserving = True
        asked = self._store.reserve(session.id, BLOCK, session.numbers.end, self._ttl)

        def add(end: int) -> None:
            session.numbers.add(end - BLOCK + 1, end, session.committed.last_seq)

        def done(_outcome: Any) -> None:
            session.reserving = False

        asked.addCallback(add)
        asked.addErrback(lambda failure: failure.trap(StoreAway))
        asked.addCallback(done)

    # --- how it stands here

    def rest(self, session: LiveSession) -> Deferred[None]:
        """Keep a session that has ended here, for whoever goes on with it."""
        return self._store.save({session.id: self._kept(session, at_rest=True)}, self._ttl)

    def _publish(self, sessions: Sequence[LiveSession]) -> Deferred[None]:
        saved = self._store.save({each.id: self._kept(each) for each in sessions}, self._ttl)
        for session in sessions:
            data = session.committed.app_data
            if session.neighbours and data.version > session.told and not data.server:
                session.told = data.version
                self._tell_data(session)
        return saved

    def _tell_data(self, session: LiveSession) -> None:
        data = session.committed.app_data
        self._neighbours.tell_data(
            session.id, data.encoded, data.version, data.server or self.server, session.neighbours
        )

    def _kept(self, session: LiveSession, at_rest: bool = False) -> Kept:
        stands = session.committed
        view = View(
            row=asdict(session.handle.row),
            last_activity=session.last_activity,
            last_seq=stands.last_seq,
            numbers=session.numbers.blocks,
            app_data=stands.app_data.encoded,
            app_data_version=stands.app_data.version,
            app_data_server=stands.app_data.server or self.server,
            payload_ids=stands.payload_ids,
            refused={instance: ids for instance, ids in session.refused.items() if ids},
            end_reason=session.end_reason.value if session.end_reason else None,
            # Though its last socket is gone, something may be on its way to the disk.
            open=not at_rest,
        )
        unused_above = session.numbers.unused_above(stands.last_seq, self.server) if at_rest else None
        return Kept(encode_view(view), session.numbers.end, unused_above)

    def _save_live(self) -> None:
        """Though nothing happened to them: the store would forget them, or has."""
        # One that could not be stored yet would be taken for erased by who looks for it in the journal.
        live = [each for each in self.live.values() if each.sockets and each.handle.number is not None]
        if live:
            self._publish(live)
            for session in live:
                # Who was cut off did not hear of the last change.
                self._tell_data(session)

    def _schedule_refresh(self) -> None:
        def refresh() -> None:
            self._save_live()
            self._schedule_refresh()

        self._refresh = self._clock.callLater(max(1.0, self._ttl / REFRESHES), refresh)

    # --- what other servers ask and tell

    def _release(self, session_id: str, instance: str, asker: str) -> Deferred[bool]:
        session = self.live.get(session_id)
        if session is None:
            return succeed(False)
        session.neighbours.add(asker)
        return Deferred.fromCoroutine(self._let_go(session, instance, asker))

    async def _let_go(self, session: LiveSession, instance: str, asker: str) -> bool:
        await self.evict(session, instance, asker)
        if self.live.get(session.id) is session:
            await _whatever(self._intake.barrier(session))
        return bool(session.sockets)

    def _hear_data(self, session_id: str, app_data: bytes, version: int, server: str) -> None:
        session = self.live.get(session_id)
        if session is None or not session.sockets:
            return
        self._take_over(session, app_data, version, server)
        if (version, server) < self._version(session.committed.app_data):
            # Who tells of an older change was cut off.
            self._tell_data(session)

    def _take_over(self, session: LiveSession, app_data: bytes, version: int, server: str) -> None:
        if (version, server) > self._version(session.now.app_data):
            taken = self._intake.take_over(session, AppData.decode(app_data, version, server))
            taken.addErrback(lambda failure: failure.trap(NotStored))

    def _version(self, app_data: AppData) -> tuple[int, str]:
        return app_data.version, app_data.server or self.server


async def _whatever(outcome: Deferred[Any]) -> None:
    """Done when it has fired, however."""
    done: Deferred[None] = Deferred()
    outcome.addBoth(lambda _: done.callback(None))
    await done


def _awake(whole: Whole, numbers: Numbers) -> LiveSession:
    state = whole.state
    row = SessionRow(**state.row)
    app_data = AppData.decode(state.app_data, whole.app_data_version, whole.app_data_server)
    handle = SessionHandle(row)
    if state.number:
        handle = SessionHandle(row, state.number, app_data=whole.journal_data, version=state.version)
    return LiveSession(
        row.id,
        row.flight_id,
        handle,
        state.last_activity,
        now=Standing(state.last_seq, app_data, dict(state.payload_ids)),
        committed=Standing(state.last_seq, app_data, dict(state.payload_ids)),
        refused={instance: list(ids) for instance, ids in state.refused.items()},
        end_reason=EndReason(state.end_reason) if state.end_reason else None,
        numbers=numbers,
        neighbours=set(whole.others),
    )
