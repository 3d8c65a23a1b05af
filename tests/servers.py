"""Several servers in memory that share one session store and one clock, each with a journal of its own."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from typing import Any

from attrs import asdict, define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.errors import BadRequest, HandshakeRefused, NotStored
from logui_tx.intake import Intake, LiveSession
from logui_tx.journal.entry import Entry
from logui_tx.journal.segment import Kind
from logui_tx.journal.state import SessionState
from logui_tx.model import AppDataChange, Batch, Connection, EndReason, Flight, Hello, Limits, Receipt
from logui_tx.sessions import LiveSessions, Opened
from logui_tx.sharing import Sharing
from logui_tx.testing import FakeSessionStore, FakeStores
from logui_tx.views import View, decode_views
from tests.taking import take

FULL = NotStored("disk full")
FLIGHT = Flight("flight", "application", "F", ("*",), True, "0.4.0", 0)
OTHER_FLIGHT = Flight("other", "application", "O", ("*",), True, "0.4.0", 0)
CONNECTION = Connection("192.0.2.1", "https://origin", "agent", "https://before")


def stands(entries: list[Entry]) -> SessionState:
    """What a journal that holds these entries of a session knows."""
    events = [entry for entry in entries if entry.kind is Kind.EVENTS]
    refused = [json.loads(entry.refused) for entry in entries if entry.refused is not None]
    return SessionState(
        row=asdict(entries[0].handle.row),
        number=entries[0].handle.number or 0,
        version=entries[0].handle.version,
        last_activity=max(entry.received for entry in entries),
        last_seq=max((entry.first_seq + entry.count - 1 for entry in events), default=0),
        app_data=entries[-1].app_data,
        payload_ids={e.instance: e.payload_id for e in events if e.payload_id is not None},
        end_reason=entries[-1].end_reason,
        refused=refused[-1] if refused else {},
    )


@define(eq=False)
class MemoryJournal:
    """Commits what waits when it is told to, by the writer's rule about epochs; outlives its server."""

    settled: Callable[[list[Entry], NotStored | None], None] = lambda _entries, _error: None
    entries: list[Entry] = field(factory=list)
    waiting: deque[Entry] = field(factory=deque)
    failed_epoch: int = -1
    looked_up: list[str] = field(factory=list)
    stuck: bool = False

    def commit(self, count: int = 0, error: NotStored | None = None, tell: bool = True) -> None:
        """What waits, or the first of it; without ``tell`` the server hears nothing of it."""
        if self.stuck:
            return
        group = [self.waiting.popleft() for _ in range(min(count or len(self.waiting), len(self.waiting)))]
        stale = [entry for entry in group if entry.epoch <= self.failed_epoch]
        fresh = [entry for entry in group if entry.epoch > self.failed_epoch]
        if error is not None and fresh:
            self.failed_epoch = fresh[-1].epoch
        elif fresh:
            for entry in fresh:
                self.write(entry)
        for entries, why in ((stale, NotStored("an earlier write failed")), (fresh, error)):
            if entries and tell:
                self.settled(entries, why)

    def write(self, entry: Entry) -> None:
        if entry.kind is None:
            return
        numbers = {each.handle.row.id: each.handle.number for each in self.entries}
        if entry.handle.number is None:
            entry.handle.number = numbers.get(entry.handle.row.id, len(numbers) + 1)
        self.entries.append(entry)

    def of(self, session_id: str) -> list[Entry]:
        return [entry for entry in self.entries if entry.handle.row.id == session_id]

    def find(self, session_id: str) -> Deferred[SessionState | None]:
        self.looked_up.append(session_id)
        entries = self.of(session_id)
        return succeed(stands(entries) if entries else None)


class Server:
    """One of the servers. ``sockets`` are those that a client has here; an evicted one is gone from it."""

    def __init__(
        self,
        stores: FakeStores,
        name: str,
        journal: MemoryJournal | None = None,
        limits: Limits | None = None,
        end: FakeSessionStore | None = None,
    ) -> None:
        self.name = name
        self.clock = stores.clock
        self.store = stores.new() if end is None else end
        self.journal = MemoryJournal() if journal is None else journal
        limits = limits or Limits(max_app_data=100)
        self.intake = Intake(self.clock, self.journal.waiting.append, limits)
        self.journal.settled, self.journal.failed_epoch = self.intake.settled, -1
        self.sharing = Sharing(self.clock, self.intake, self.store, self.journal.find, limits, name)
        self.sessions = LiveSessions(self.clock, self.intake, self.sharing, limits)
        self.sharing.start()
        self.evicted: list[Opened] = []
        self.alive = True

    @property
    def live(self) -> dict[str, LiveSession]:
        return self.intake.live

    def ask(
        self, session_id: str | None = None, instance: str = "tab", flight: Flight = FLIGHT, **app_data: bytes
    ) -> Deferred[Opened]:
        """A handshake; the socket can be evicted as soon as it is answered."""
        hello = Hello("token", None, app_data, session_id=session_id, instance=instance)
        asked = Deferred.fromCoroutine(self.sessions.open(flight, "logui-0.4", hello, CONNECTION))
        return asked.addCallback(self._welcome)

    def _welcome(self, opened: Opened) -> Opened:
        opened.evict = lambda: self._evict(opened)
        return opened

    def _evict(self, opened: Opened) -> None:
        self.evicted.append(opened)
        self.leave(opened, EndReason.LOST)

    def leave(self, opened: Opened, reason: EndReason = EndReason.CLOSED) -> None:
        """The socket is gone, if it is not already."""
        if opened in opened.session.sockets and self.alive:
            self.sessions.leave(opened, reason)

    def log(self, opened: Opened, payload_id: int | None = None, events: int = 1) -> Deferred[Receipt]:
        message = f"{opened.instance}/{payload_id}".encode()
        try:
            return take(self.intake, opened.session, Batch(events, payload_id), message, opened.instance, 0)
        except BadRequest as error:
            return fail(error)

    def change(self, opened: Opened, **app_data: bytes) -> Deferred[Receipt]:
        return self.intake.change(opened.session, AppDataChange(app_data))

    def stop(self) -> None:
        self.sharing.stop()
        self.sessions.stop()
        self.store.close()

    def kill(self, commit: int = 0) -> None:
        """Its process is gone; of what it had on the way to the disk, ``commit`` entries arrived."""
        self.alive = False
        if commit:
            self.journal.commit(commit, tell=False)
        self.journal.waiting = deque()
        self.stop()
        self.store.go()


def pump(clock: Clock, servers: list[Server], turns: int = 12) -> None:
    """Let everything that is on its way arrive, without time passing."""
    for _ in range(turns):
        clock.advance(0)
        for server in servers:
            if server.alive:
                server.journal.commit()


def numbers_given(servers: list[Server], session_id: str) -> list[int]:
    """All sequence numbers of a session, server by server, each in the order of its journal."""
    return [
        number
        for server in servers
        for entry in server.journal.of(session_id)
        if entry.kind is Kind.EVENTS
        for number in range(entry.first_seq, entry.first_seq + entry.count)
    ]


def ignore(failure: Failure) -> Any:
    """For Deferreds whose failure is the expected one."""
    failure.trap(NotStored, BadRequest, HandshakeRefused)


WINDOW = Limits().resume_window


class SharingTestCase(SynchronousTestCase):
    """Three servers, a, b and c; more can be started."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.stores = FakeStores(self.clock)
        self.servers: list[Server] = []
        self.a, self.b, self.c = (self.start(name) for name in "abc")

    def tearDown(self) -> None:
        self.pump()
        for server in self.servers:
            server.stop()
        self.clock.advance(2 * WINDOW)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def start(self, name: str, journal: MemoryJournal | None = None, **more: Any) -> Server:
        self.servers.append(Server(self.stores, name, journal, **more))
        return self.servers[-1]

    def restart(self, server: Server) -> Server:
        """On its journal."""
        self.servers.remove(server)
        return self.start(server.name, server.journal)

    def pump(self) -> None:
        pump(self.clock, self.servers)

    def open(self, server: Server, session_id: str | None = None, *args: Any, **app_data: bytes) -> Opened:
        asked = server.ask(session_id, *args, **app_data)
        self.pump()
        return self.successResultOf(asked)

    def log(self, server: Server, opened: Opened, *payload_ids: int) -> None:
        """Stored, acknowledged."""
        stored = [server.log(opened, payload_id) for payload_id in payload_ids]
        self.pump()
        for each in stored:
            self.successResultOf(each)

    def end(self, server: Server, opened: Opened, reason: EndReason = EndReason.CLOSED) -> None:
        server.leave(opened, reason)
        self.pump()

    def away(self, *servers: Server) -> None:
        for server in servers or self.servers:
            server.store.go()

    def back(self, *servers: Server) -> None:
        for server in servers or self.servers:
            server.store.come_back()
        self.pump()

    def view(self, server: Server, session_id: str) -> View:
        return decode_views(self.stores.sessions[session_id][0])[server.name]

    def jumps(self, server: Server, session_id: str) -> list[int]:
        return [entry.first_seq for entry in server.journal.of(session_id) if entry.kind is Kind.RESUMED]

    def numbers(self, session_id: str) -> list[int]:
        given = numbers_given(self.servers, session_id)
        self.assertEqual(len(given), len(set(given)), "a number is given once")
        return sorted(given)
