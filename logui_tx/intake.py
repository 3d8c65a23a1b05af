"""Stamp, journal, publish, receipt: the one way by which anything about a session becomes durable.

A live session's numbers run ahead of the journal: a payload is stamped when it arrives and committed a
moment later. When a write fails, everything in flight was stamped on top of what did not get stored; all of
it is refused, the sessions go back to what is committed, and a new epoch begins.

Where other servers share the sessions, a receipt waits until they can know of what is committed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from attrs import define
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from logui_tx.app_data import AppData
from logui_tx.errors import BadRequest, NotStored
from logui_tx.flow import messages
from logui_tx.journal.entry import Entry
from logui_tx.journal.segment import Kind
from logui_tx.live_session import LiveSession
from logui_tx.model import AppDataChange, Batch, EndReason, Limits, Receipt
from logui_tx.numbers import LOW

log = Logger()


@define(eq=False)
class _Commit:
    """What was committed together, until other servers can know of it."""

    entries: Sequence[_Stamped]
    published: bool = False


class Waiting(Protocol):
    """Is told once what became of something; a Deferred is one."""

    def callback(self, receipt: Receipt, /) -> object:
        """It is durable."""

    def errback(self, why: NotStored, /) -> object:
        """It is not stored."""


class _Stamped(Entry, eq=False, kw_only=True):
    """An entry with its way back. ``size`` is that of an :class:`Entry`, found once."""

    session: LiveSession
    data: AppData
    done: Waiting
    size: int


Publish = Callable[[Sequence[LiveSession]], Deferred[None]]
"""Lets other servers know how these sessions stand on disk; fires when they can."""


class Intake:
    """Between the conversations and the journal; lives in the reactor's thread.

    ``append`` hands an entry to the journal, which answers through :meth:`settled`. ``publish`` (None where
    there are no others), ``more_numbers`` (a session will soon have no sequence numbers left) and
    ``look_again`` (a payload is owed before others are stored) are set by who shares.
    """

    def __init__(self, clock: IReactorTime, append: Callable[[Entry], None], limits: Limits) -> None:
        self.publish: Publish | None = None
        self.more_numbers: Callable[[LiveSession], None] = lambda _session: None
        self.look_again: Callable[[LiveSession], None] = lambda _session: None
        self._most_entries = messages(limits.max_in_flight)
        self._seconds = clock.seconds
        self._append = append
        self._limits = limits
        self._epoch = 0
        self._in_flight: deque[_Stamped] = deque()
        self.in_flight_bytes = 0
        self._unpublished: deque[_Commit] = deque()
        self._when_idle: list[Deferred[None]] = []
        self._when_clear: dict[Callable[[], None], None] = {}
        self.stored_events = 0
        self.live: dict[str, LiveSession] = {}

    def now(self) -> int:
        """The server's time in UNIX ms."""
        return int(self._seconds() * 1000)

    # --- what may happen to a session; each fires when it is durable, or fails with NotStored

    def open(
        self, session: LiveSession, *, resumed: bool, clock_offset: int | None, jump: int = 0
    ) -> Deferred[Receipt]:
        """The session begins or goes on; its sequence goes on at ``jump``, where that is not 0."""
        kind = Kind.RESUMED if resumed else Kind.OPENED
        return self._promise(session, kind, clock_offset=clock_offset, first_seq=jump)

    def take_over(self, session: LiveSession, app_data: AppData) -> Deferred[Receipt]:
        """The application-specific data is another, whoever changed it."""
        session.now.app_data = app_data
        return self._promise(session, Kind.CHANGED)

    def barrier(self, session: LiveSession) -> Deferred[Receipt]:
        """Fires when all that the session has in flight is settled and published."""
        return self._promise(session, None)

    def take(
        self,
        session: LiveSession,
        batch: Batch,
        message: bytes,
        instance: str,
        clock_offset: int | None,
        done: Waiting,
    ) -> None:
        """Store a payload of the page load ``instance``, unless it was stored before.

        ``done`` is told what becomes of it, perhaps at once.

        Raises :class:`BadRequest` where the payload is refused for good.
        """
        now = session.now
        payload_id = batch.payload_id
        if payload_id is not None:
            if batch.instance is not None:
                instance = batch.instance
            last = now.payload_ids.get(instance, 0)
            if payload_id <= last:
                self._repeat(session, payload_id, instance, done)
                return
            refused = session.refused.get(instance)
            if refused and payload_id > refused[0]:
                session.refuse(instance, payload_id)
                self.look_again(session)
                done.errback(
                    NotStored(f"payload {refused[0]} could not be stored and has to be sent again first")
                )
                return
            if last == 0 and len({instance, *now.payload_ids, *session.refused}) > self._limits.max_instances:
                raise BadRequest(f"a session may have at most {self._limits.max_instances} client instances")
        first_seq = session.numbers.first(now.last_seq, batch.events)
        if first_seq is None:
            self._without_number(session, payload_id, instance, done)
            return
        if payload_id is not None:
            refused = session.refused.get(instance)
            if refused and payload_id == refused[0]:
                del refused[0]
            now.payload_ids[instance] = payload_id
        if first_seq > now.last_seq + 1:
            self._jump(session, first_seq)
        now.last_seq = first_seq + batch.events - 1
        if session.numbers.end - now.last_seq < LOW:
            self.more_numbers(session)
        self._submit(
            session,
            Kind.EVENTS,
            None,
            done,
            message,
            first_seq,
            batch.events,
            clock_offset,
            payload_id,
            instance,
        )

    def change(self, session: LiveSession, change: AppDataChange) -> Deferred[Receipt]:
        """New application-specific data for all that comes after; raises :class:`BadRequest` if too much."""
        app_data = session.now.app_data.changed(change.changes)
        self.check_size(app_data, BadRequest)
        session.now.app_data = app_data
        return self._promise(session, Kind.CHANGED)

    def replace(self, session: LiveSession, app_data: bytes) -> None:
        """Other data, encoded, for all that comes after; where it cannot be stored, that cannot be either."""
        replaced = session.now.app_data.replaced(app_data)
        if replaced is not session.now.app_data:
            self.take_over(session, replaced).addErrback(lambda failure: failure.trap(NotStored))

    def put_in_force(
        self, session: LiveSession, borne: bytes, *, before: bytes | None, updated: bool
    ) -> None:
        """The data under which the first of the events were made that bear ``borne``.

        Where it was ``updated`` among them, that is what this page's events bore ``before``; else the
        session's. Raises :class:`BadRequest` if too much.
        """
        self.check_size(session.now.app_data.replaced(borne), BadRequest)
        if not updated or not session.now.last_seq:
            self.replace(session, borne)
        elif before is not None:
            self.replace(session, before)

    def end(self, session: LiveSession, reason: EndReason, at: int) -> Deferred[Receipt]:
        """The session's last socket went ``at`` this time, in UNIX ms."""
        session.end_reason = reason
        # The clock may have been set back meanwhile.
        at = max(at, session.handle.row.started_at)
        return self._promise(session, Kind.ENDED, at, end_reason=reason.value)

    def check_size(self, app_data: AppData, error: Callable[[str], Exception]) -> None:
        """Raise ``error`` where the data is larger than allowed."""
        if len(app_data.encoded) > self._limits.max_app_data:
            raise error(
                f"The application-specific data would take {len(app_data.encoded)} bytes; "
                f"at most {self._limits.max_app_data} are allowed."
            )

    # --- flow

    @property
    def congested(self) -> bool:
        """Whether so much waits for the journal that nothing more should be read."""
        return self.in_flight_bytes > self._limits.max_in_flight or len(self._in_flight) > self._most_entries

    def when_clear(self, call: Callable[[], None]) -> None:
        """Call once the congestion is over; once also for who asks again before."""
        self._when_clear[call] = None

    def when_idle(self) -> Deferred[None]:
        """Fires when nothing is in flight."""
        if not self._in_flight and not self._unpublished:
            return succeed(None)
        idle: Deferred[None] = Deferred()
        self._when_idle.append(idle)
        return idle

    # --- the journal's answers

    def settled(self, entries: Sequence[Entry], error: NotStored | None) -> None:
        """The journal committed these entries, or could not; called in the reactor's thread, in order."""
        if error is None:
            landed = self._land(entries, committed=True)
            self._publish(landed)
        else:
            if entries and entries[-1].epoch == self._epoch:
                self._begin_anew()
            for entry in self._land(entries, committed=False):
                try:
                    entry.done.errback(error)
                except Exception:  # noqa: BLE001 - as in _give_receipts
                    log.failure("somebody failed on what became of an entry")
        if self._when_clear and not self.congested:
            calls, self._when_clear = self._when_clear, {}
            for call in calls:
                call()
        self._tell_if_idle()

    def _tell_if_idle(self) -> None:
        if not self._in_flight and not self._unpublished and self._when_idle:
            waiting, self._when_idle = self._when_idle, []
            for idle in waiting:
                idle.callback(None)

    def _land(self, entries: Sequence[Entry], *, committed: bool) -> list[_Stamped]:
        """They are not in flight any more."""
        landed = []
        for entry in entries:
            mine = self._in_flight.popleft()
            assert mine is entry, "the journal answers in order"
            landed.append(mine)
            session = mine.session
            session.in_flight -= 1
            self.in_flight_bytes -= mine.size
            if committed and mine.kind is not None:
                now = session.committed
                now.app_data = mine.data
                if mine.kind is Kind.EVENTS:
                    now.last_seq = mine.first_seq + mine.count - 1
                    self.stored_events += mine.count
                    if mine.payload_id is not None:
                        now.payload_ids[mine.instance] = mine.payload_id
        return landed

    def _publish(self, entries: Sequence[_Stamped]) -> None:
        """Receipts leave when other servers can know what they say, and in order."""
        if self.publish is None:
            _give_receipts(entries)
            return
        commit = _Commit(entries)
        self._unpublished.append(commit)
        published = self.publish([*dict.fromkeys(entry.session for entry in entries)])
        published.addBoth(self._published, commit)

    def _published(self, _outcome: Any, commit: _Commit) -> None:
        commit.published = True
        while self._unpublished and self._unpublished[0].published:
            _give_receipts(self._unpublished.popleft().entries)
        self._tell_if_idle()

    def _begin_anew(self) -> None:
        """A write failed: all that is in flight will be refused, and counts as refused from now on.

        The notice of it may be some turns away, and what arrives before that must not overtake it.
        """
        self._epoch += 1
        for session in {entry.session for entry in self._in_flight}:
            session.roll_back()
            session.refused_on_disk = b""
        for entry in self._in_flight:
            if entry.kind is Kind.EVENTS and entry.payload_id is not None:
                entry.session.refuse(entry.instance, entry.payload_id)

    # --- the way there

    def _without_number(
        self, session: LiveSession, payload_id: int | None, instance: str, done: Waiting
    ) -> None:
        self.more_numbers(session)
        if payload_id is not None:
            session.refuse(instance, payload_id)
        done.errback(NotStored("the session store has to answer before this session can go on"))

    def _jump(self, session: LiveSession, first_seq: int) -> None:
        """Mark that the numbers between are given elsewhere, or were not used."""
        marked = self._promise(session, Kind.RESUMED, first_seq=first_seq)
        marked.addErrback(lambda failure: failure.trap(NotStored))

    def _repeat(self, session: LiveSession, payload_id: int, instance: str, done: Waiting) -> None:
        """The payload is stored, or on its way: then the answer must wait for it."""
        if payload_id <= session.committed.payload_ids.get(instance, 0) and not self._unpublished:
            done.callback(Receipt(payload_id, repeated=True))
        else:
            self._submit(session, None, None, done, payload_id=payload_id, instance=instance)

    def _promise(
        self, session: LiveSession, kind: Kind | None, at: int | None = None, **details: Any
    ) -> Deferred[Receipt]:
        done: Deferred[Receipt] = Deferred()
        self._submit(session, kind, at, done, **details)
        return done

    def _submit(
        self,
        session: LiveSession,
        kind: Kind | None,
        at: int | None,
        done: Waiting,
        message: bytes = b"",
        first_seq: int = 0,
        count: int = 0,
        clock_offset: int | None = None,
        payload_id: int | None = None,
        instance: str = "",
        end_reason: str | None = None,
    ) -> None:
        received = int(self._seconds() * 1000) if at is None else at
        session.last_activity = received
        data = session.now.app_data
        encoded = data.encoded
        refused = None
        if kind is not None and (session.refused or session.refused_on_disk is not None):
            refused = session.refused_to_write()
        size = len(message) if kind is Kind.EVENTS else len(encoded)
        entry = _Stamped(
            kind,
            session.handle,
            received,
            encoded,
            self._epoch,
            message,
            first_seq,
            count,
            clock_offset,
            payload_id,
            instance,
            end_reason,
            refused,
            session=session,
            data=data,
            done=done,
            size=size,
        )
        session.in_flight += 1
        self._in_flight.append(entry)
        self.in_flight_bytes += size
        self._append(entry)


def _give_receipts(entries: Sequence[_Stamped]) -> None:
    for entry in entries:
        try:
            # What is not written itself waits for what was written before.
            entry.done.callback(Receipt(entry.payload_id, entry.first_seq, entry.count, entry.kind is None))
        except Exception:  # noqa: BLE001 - whatever it is, it must not keep theirs from the others of the commit
            log.failure("somebody failed on what became of an entry")
