"""The server: its parts put together, started and stopped in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import IO, Any

from attrs import define, evolve
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, ensureDeferred, maybeDeferred, succeed
from twisted.internet.interfaces import IListeningPort
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.web.server import Request

from logui_tx import data_folder
from logui_tx.conversation import Conversation
from logui_tx.delivery.deliveries import Deliveries
from logui_tx.dialects.kraken import Kraken
from logui_tx.dialects.logui04 import LogUI04
from logui_tx.dialects.logui05 import LogUI05
from logui_tx.errors import HandshakeRefused, NotStored, Refusal, RegistryError
from logui_tx.intake import Intake
from logui_tx.interfaces import IDialect, IPeer, ISessionStore
from logui_tx.journal.entry import Entry
from logui_tx.journal.gatherer import TurnGatherer
from logui_tx.journal.lookup import SessionLookup
from logui_tx.journal.writer import JournalWriter
from logui_tx.listening import listen, url
from logui_tx.model import Close, Connection, Flight, Hello, Position
from logui_tx.options import Settings
from logui_tx.registry.admission import Admission
from logui_tx.registry.database import migrate, open_engine
from logui_tx.registry.legacy import read_legacy
from logui_tx.registry.live import LiveRegistry
from logui_tx.registry.registry import Registry
from logui_tx.registry.tokens import SigningKeys, TokenSigner
from logui_tx.sessions import Admit, LiveSessions, Opened
from logui_tx.sharing import Sharing
from logui_tx.stores import open_store
from logui_tx.web.device import device_of
from logui_tx.web.gate import RESERVED_DESCRIPTORS, Gate, descriptors
from logui_tx.web.health import Health, HealthPage, State
from logui_tx.web.kraken import InitPage, TicketDesk, allow_if_any
from logui_tx.web.metrics import Figures, MetricsPage
from logui_tx.web.pages import demo_page, index_page
from logui_tx.web.rate import Rate
from logui_tx.web.site import Folder, Page, Root, client_files, make_site, static_files
from logui_tx.web.tickets import Tickets
from logui_tx.web.visitors import Visitors
from logui_tx.web.websocket import Converse, Endpoint, EndpointFactory, Enter, Socket

log = Logger()

GOODBYE_TIMEOUT = 2.0
"""Seconds for the clients' half of the closing handshake at the end."""


@define(eq=False)
class _Parts:
    """What exists while the server runs."""

    lock: IO[str]
    keys: SigningKeys
    journal: JournalWriter
    lookup: SessionLookup
    registry: LiveRegistry
    admission: Admission
    store: ISessionStore
    intake: Intake
    sharing: Sharing
    sessions: LiveSessions
    deliveries: Deliveries


class LoguiService(Service):
    """Listens with privileges, opens everything else without; stops without losing anything.

    ``reactor`` is any that can listen, time and run threads.
    """

    name = "logui"

    def __init__(self, reactor: Any, settings: Settings) -> None:
        self._reactor = reactor
        self._settings = settings
        self.ports: list[IListeningPort] = []
        self._sockets: set[Socket] = set()
        self._stopping = False
        self._told_to_stop = False
        self._enough: Deferred[None] | None = None
        self._parts: _Parts
        most = settings.limits.max_connections or max(16, descriptors() - RESERVED_DESCRIPTORS)
        self._gate = Gate(most, settings.limits.max_connections_per_address)
        self._root = Root({})
        self._site = make_site(self._root, reactor, settings.limits.max_init_size)

    # --- start

    def privilegedStartService(self) -> None:
        """Take the ports; raises :class:`CannotListen`."""
        Service.privilegedStartService(self)
        for description in self._settings.listen:
            self.ports.append(listen(self._reactor, description, self._site))

    def startService(self) -> None:
        """Open the parts; raises :class:`CannotStart`."""
        try:
            self._parts = self._open()
        except BaseException:
            for port in self.ports:
                port.stopListening()
            raise
        Service.startService(self)
        self._lay_out()
        self._reactor.callWhenRunning(self._say_where)

    def _say_where(self) -> None:
        for address in self.addresses():
            log.info("listening on {address}", address=address)
            if self._settings.demo and address.startswith("http"):
                log.info("demo page {address}demo/", address=address)
        log.info("data folder {folder}", folder=str(self._settings.data_dir))

    def addresses(self) -> list[str]:
        """Where it listens, as URLs where that is possible."""
        return [url(port) for port in self.ports]

    def _open(self) -> _Parts:
        settings, limits = self._settings, self._settings.limits
        folder = data_folder.make(settings.data_dir)
        lock = data_folder.lock(folder)
        engine = open_engine(settings.database, folder)
        migrate(engine)
        keys = SigningKeys(folder, file=settings.secret_key_file)
        keys.keys()  # a server without keys could admit nobody
        signer = TokenSigner(keys, read_legacy(settings.legacy_secret_key_file))
        registry = Registry(engine, signer)
        if settings.demo:
            self._root.putChild(b"demo", Page(demo_page(signer.issue(registry.ensure_demo()))))
        store = open_store(settings.session_store, self._reactor)

        def settled(entries: Sequence[Entry], error: NotStored | None) -> None:
            self._reactor.callFromThread(settle, entries, error)

        def settle(entries: Sequence[Entry], error: NotStored | None) -> None:
            intake.settled(deliveries.settled(entries, error), error)

        journal = JournalWriter(
            folder, settled, compression=settings.compression, commit_delay=settings.commit_delay
        )
        deliveries = Deliveries(self._reactor, folder, settings.sink, journal.append)
        intake = Intake(self._reactor, TurnGatherer(self._reactor, journal.append_all).append, limits)
        lost = journal.start(intake.now())
        if lost:
            log.warn("{lost} sessions were left open by a crash and are closed as lost", lost=lost)
        deliveries.start(Position(journal.next_segment), intake.now)
        lookup = SessionLookup(self._reactor, folder)
        sharing = Sharing(self._reactor, intake, store, lookup.find, limits, journal.journal_id)
        sessions = LiveSessions(self._reactor, intake, sharing, limits)
        live = LiveRegistry(self._reactor, registry, stale=settings.registry_stale)
        live.start()
        sharing.flight_changed = live.forget
        sharing.start()
        admission = Admission(live, signer)
        return _Parts(
            lock, keys, journal, lookup, live, admission, store, intake, sharing, sessions, deliveries
        )

    def _lay_out(self) -> None:
        """Fill the site; nothing was answered before, because the reactor had no turn since the start."""
        limits = self._settings.limits
        checks = {
            "journal": self._journal_health,
            "registry": self._registry_health,
            "store": self._store_health,
            "listeners": self._listeners_health,
        }
        if self._settings.sink:
            checks["sinks"] = self._sinks_health
        self._root.putChild(b"", Page(index_page(self._settings.demo)))
        self._root.putChild(b"healthz", HealthPage(self._reactor, checks))
        self._root.putChild(b"readyz", HealthPage(self._reactor, checks))
        allowed, trusted = self._settings.metrics_from, self._settings.trusted_proxy
        self._root.putChild(b"metrics", MetricsPage(self._figures, allowed, trusted))
        self._root.putChild(b"static", static_files())
        self._root.putChild(b"client", client_files())
        logui04, logui05 = LogUI04(limits.max_events), LogUI05(limits.max_events)
        self._root.putChild(
            b"logui", Folder({"endpoint": Folder({"0.4.0": Folder({"": self._logui(logui04)})})})
        )
        self._root.putChild(b"ws", Folder({"endpoint": Folder({"": self._logui(logui05)})}))
        self._root.putChild(b"kraken", self._kraken())

    def _logui(self, dialect: IDialect) -> Endpoint:
        """An endpoint where everything is said on the socket."""

        converse = self._converse(dialect, self._admit)

        def enter(_request: Request, connection: Connection) -> Deferred[tuple[Connection, Converse]]:
            return succeed((connection, converse))

        return self._endpoint(enter, dialect.too_large)

    def _kraken(self) -> Folder:
        parts, settings, limits = self._parts, self._settings, self._settings.limits
        tickets = Tickets(parts.keys.keys, parts.store, self._reactor, limits.ticket_ttl)
        rate = Rate(self._reactor, limits.init_rate)
        visitors = Visitors(parts.keys.keys)
        desk = TicketDesk(
            parts.registry,
            parts.admission,
            tickets,
            visitors,
            rate,
            settings.trusted_proxy,
            lambda: self._stopping,
        )
        # The first takes its time to prepare.
        device_of("")

        async def entrance(request: Request, connection: Connection) -> tuple[Connection, Converse]:
            connection, flight = await desk.enter(request, connection)
            dialect = Kraken(limits.max_events, flight.listeners)
            return connection, self._converse(dialect, partial(self._admit_visitor, flight))

        def enter(request: Request, connection: Connection) -> Deferred[tuple[Connection, Converse]]:
            return Deferred.fromCoroutine(entrance(request, connection))

        self._site.allow_reading = partial(allow_if_any, parts.registry)
        return Folder({"init": InitPage(desk), "socket": self._endpoint(enter, Kraken().too_large)})

    def _endpoint(self, enter: Enter, too_large: Close) -> Endpoint:
        factory = EndpointFactory(self._reactor, self._gate, self._sockets, self._settings.limits, too_large)
        return Endpoint(factory, enter, self._settings.trusted_proxy, lambda: self._stopping)

    def _converse(self, dialect: IDialect, admit: Admit) -> Converse:
        def converse(peer: IPeer, connection: Connection) -> Conversation:
            return Conversation(
                peer,
                dialect,
                connection,
                admit=admit,
                sessions=self._parts.sessions,
                intake=self._parts.intake,
                clock=self._reactor,
                limits=self._settings.limits,
            )

        return converse

    def _admit(self, hello: Hello, connection: Connection, dialect: IDialect) -> Deferred[Opened]:
        async def admit() -> Opened:
            flight = await self._parts.admission.admit(hello, connection.origin, dialect.client_version)
            return await self._open_session(flight, hello, connection, dialect)

        return ensureDeferred(admit())

    def _admit_visitor(
        self, flight: Flight, hello: Hello, connection: Connection, dialect: IDialect
    ) -> Deferred[Opened]:
        """Who came with a ticket is believed; its browser tells what it runs on, if the page does not."""
        if hello.device is None:
            hello = evolve(hello, device=device_of(connection.user_agent or ""))
        return ensureDeferred(self._open_session(flight, hello, connection, dialect))

    async def _open_session(
        self, flight: Flight, hello: Hello, connection: Connection, dialect: IDialect
    ) -> Opened:
        if self._stopping:
            # Opened now, its end might not reach the journal any more.
            raise HandshakeRefused(Refusal.SHUTDOWN, "The server is shutting down.")
        return await self._parts.sessions.open(flight, dialect.name, hello, connection)

    # --- health

    async def _journal_health(self) -> Health:
        trouble = self._parts.journal.trouble()
        return Health(State.FAILING, trouble) if trouble else Health()

    async def _registry_health(self) -> Health:
        try:
            await self._parts.registry.check()
        except RegistryError:
            if not self._parts.registry.stands_in():
                raise
            return Health(State.DEGRADED, "no answer: flights are admitted as last seen")
        return Health()

    async def _store_health(self) -> Health:
        store = self._parts.store
        if store.trouble is not None:
            return Health(State.DEGRADED, f"{store.name}: {store.trouble}")
        await store.check()
        return Health(detail=f"{store.name}, {store.servers} servers" if store.shared else store.name)

    async def _sinks_health(self) -> Health:
        late = self._parts.deliveries.late(self._settings.sink_alarm)
        return Health(State.DEGRADED, "; ".join(late)) if late else Health()

    async def _listeners_health(self) -> Health:
        return Health(State.FAILING, "the server is shutting down") if self._stopping else Health()

    def _figures(self) -> Figures:
        parts = self._parts
        return Figures(
            now=parts.intake.now(),
            events=parts.intake.stored_events,
            connections=len(self._sockets),
            sessions=sum(1 for session in parts.intake.live.values() if session.sockets),
            in_flight=parts.intake.in_flight_bytes,
            journal_failing=parts.journal.trouble() is not None,
            store_away=parts.store.away is not None,
            sinks=parts.deliveries.progress(),
        )

    # --- stop

    def stop_or_hurry(self, stop: Callable[[], None]) -> None:
        """The first time ``stop``; from the second time on, do not wait for clients."""
        if not self._told_to_stop and not self._stopping:
            self._told_to_stop = True
            stop()
        elif self._enough is not None:
            log.info("not waiting any longer")
            self._stop_waiting()
        elif self._stopping:
            self._parts.deliveries.hurry()

    def stopService(self) -> Deferred[None]:
        """Announce, drain, end, flush, close; fires when all is on disk. A second call changes nothing."""
        if self._stopping or not self.running:
            return succeed(None)
        Service.stopService(self)
        self._stopping = True
        return ensureDeferred(self._stop())

    async def _stop(self) -> None:
        parts = self._parts
        await DeferredList([maybeDeferred(port.stopListening) for port in self.ports], consumeErrors=True)
        self._tell(Conversation.announce)
        await self._wait_for_clients(self._settings.limits.drain_timeout)
        self._tell(Conversation.drain)
        await parts.intake.when_idle()
        await self._wait_for_clients(GOODBYE_TIMEOUT)
        for each in list(self._sockets):
            each.dropConnection(abort=True)
        await parts.intake.when_idle()
        parts.sessions.stop()
        parts.sharing.stop()
        await parts.deliveries.stop(self._settings.limits.drain_timeout)
        await deferToThread(parts.journal.stop)
        await parts.registry.stop()
        await parts.lookup.stop()
        await parts.store.close()
        parts.lock.close()
        log.info("stopped; {events} events stored", events=parts.intake.stored_events)

    def _tell(self, what: Callable[[Conversation], None]) -> None:
        for each in list(self._sockets):
            if each.conversation is not None:
                what(each.conversation)

    async def _wait_for_clients(self, timeout: float) -> None:
        """Until no client is left, time is over, or the operator will not wait."""
        if not self._sockets:
            return
        self._enough = Deferred()
        timer = self._reactor.callLater(timeout, self._stop_waiting)
        for each in self._sockets:
            each.gone.addCallback(self._maybe_last)
        await self._enough
        if timer.active():
            timer.cancel()

    def _maybe_last(self, result: Any) -> Any:
        self._reactor.callLater(0, self._stop_waiting_if_alone)
        return result

    def _stop_waiting_if_alone(self) -> None:
        if not self._sockets:
            self._stop_waiting()

    def _stop_waiting(self) -> None:
        if self._enough is not None:
            enough, self._enough = self._enough, None
            enough.callback(None)
