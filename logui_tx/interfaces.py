"""The seams between the parts, as promises.

A Deferred named here fires in the reactor's thread, and never after the part was stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from logui_tx.errors import BadRequest, HandshakeRefused
    from logui_tx.model import (
        AppDataChange,
        Batch,
        Close,
        Event,
        EventColumns,
        Flight,
        Hello,
        Kept,
        Known,
        Leave,
        Receipt,
        Record,
        Reply,
        Session,
        SinkBatch,
        SinkURI,
        Welcome,
    )


class IPeer(Interface):
    """What a conversation may do to the other end. Every call is harmless once the connection is gone."""

    def send(message: bytes) -> None:
        """Send one text message."""

    def close(how: Close) -> None:
        """End the connection after what was sent.

        ``Close(None)`` hangs up without a close frame; what the client sends until it notices still arrives.
        """

    def pause() -> None:
        """Stop reading from the client until :meth:`resume`; a message or two may still arrive."""

    def resume() -> None:
        """Read from the client again."""


class IDialect(Interface):
    """Bytes and meaning, one verb a direction; pure: no clock, no I/O, one instance for all connections.

    Where dialects differ in manners (codes, texts, who closes), the dialect says so, the conversation obeys.
    """

    name = Attribute("str: as the session list shows it")
    client_version = Attribute("str | None: the clientVersion that a token must bear; None: any")
    cumulative = Attribute("bool: an acknowledgement of a Batch says all that those before it said")
    too_large = Attribute("Close: how the connection ends on which a message past the size limit came")

    def read_hello(message: bytes, binary: bool) -> Hello:
        """The first message.

        Raises :class:`HandshakeRefused`, which ends the connection, or :class:`BadRequest`: then it counts as
        one, and the next message is the first.
        """

    def read(message: bytes, binary: bool) -> Batch | AppDataChange:
        """Any later message. Raises :class:`BadRequest`, or :class:`BadEvent` with position and copy."""

    def events(message: bytes) -> Iterable[Event]:
        """The events of a message that :meth:`read` took for a Batch, in order, as the client sent them."""

    def columns(message: bytes) -> EventColumns:
        """The same as columns: there may be millions of events, and who reads all makes nothing of each."""

    def welcome(to: Welcome) -> bytes | None:
        """The handshake's answer, None where the dialect has none."""

    def refuse(why: HandshakeRefused) -> Reply:
        """The answer to a handshake that is refused."""

    def stored(receipt: Receipt) -> bytes | None:
        """The acknowledgement of a Batch; None where the dialect has none."""

    def changed() -> bytes | None:
        """The acknowledgement of an AppDataChange."""

    def bad(why: BadRequest, hits: int) -> Reply:
        """The answer to the connection's ``hits``-th bad message; closes when that was one too many."""

    def unstored(payload_id: int | None, why: str) -> Reply:
        """Events could not be written; the client may try again on this connection."""

    def failed(why: str) -> Reply:
        """The server cannot go on with this connection, for a cause of its own."""

    def farewell(leave: Leave) -> Reply:
        """What a client that said it leaves is answered once its events are stored."""

    def shutdown() -> Reply:
        """The announcement that the server stops soon; what the client sends then is still taken.

        Where the client would not know what to make of it, the connection is closed instead.
        """

    def gone() -> Close:
        """How the server ends a connection when it stops."""


class IRegistry(Interface):
    """Who may log."""

    def find_flight(flight_id: str) -> Deferred[Flight]:
        """Fires with the flight, at most half a second old; as last seen while the database is away.

        Fails with :class:`UnknownFlight`, or :class:`RegistryError` where it was not seen lately.
        """

    def accepts(origin: str | None) -> Deferred[bool]:
        """Fires with whether any active flight accepts pages of this origin, at most half a second old."""

    def check() -> Deferred[None]:
        """Fires with None while the registry answers; fails with any exception when it does not."""


class ISessionStore(Interface):
    """What a session must share beyond one conversation, and beyond one process.

    Each server keeps a view of a session, opaque to the store, and writes no other server's. A session is
    kept for ``ttl`` seconds from the last :meth:`save` of any server. A shared store that does not answer is
    *away*: then it knows what it could not write, writes it when it is back, and nobody waits for it.
    """

    name = Attribute("str: the URI's scheme, for the health page")
    shared = Attribute("bool: whether other servers may use it too")
    servers = Attribute("int: how many servers use it, this one included, as far as is known")
    trouble = Attribute("str | None: as away, or what else operators should know of; None while all is well")
    away = Attribute("str | None: why a shared store does not answer, for operators; None while it does")

    def start(server: str, heard: Callable[[bytes], None], back: Callable[[], None]) -> None:
        """Begin, under the name of this server; "" is none, for who only has something to tell.

        ``heard`` is called with what other servers :meth:`tell`, ``back`` each time that the store has
        answered again after it was away.
        """

    def when_ready() -> Deferred[None]:
        """Fires when the store answers and this server hears the others; not before it was started."""

    def load(session_id: str) -> Deferred[Known]:
        """Fires with what is kept of the session; while the store is away, with what this server kept."""

    def save(sessions: Mapping[str, Kept], ttl: float) -> Deferred[None]:
        """Fires with None when this server's views are kept, or will be when the store is back; never fails.

        Saving again replaces this server's view and starts the session's time anew.
        """

    def reserve(session_id: str, count: int, above: int, ttl: float) -> Deferred[int]:
        """Fires with the last of ``count`` sequence numbers in a row that nobody else is given.

        They are above ``above`` and above all that any server has reserved or saved as its own. Fails with
        :class:`StoreAway`.
        """

    def forget(session_id: str) -> Deferred[None]:
        """Fires with None when nothing is kept of this session; idempotent. Fails with :class:`StoreAway`."""

    def tell(server: str | None, message: bytes) -> Deferred[int]:
        """Tell another server something, or all others; fires with how many heard it, 0 while away."""

    def keep_ticket(ticket_id: str, ttl: float) -> Deferred[bool]:
        """A ticket was issued: it may be used once within ``ttl`` seconds, on any server of this store.

        Fires with whether the store keeps it: False while a shared store does not answer.
        """

    def take_ticket(ticket_id: str, kept: bool, ttl: float) -> Deferred[bool]:
        """Fires with whether the ticket may be used, now and never again; ``kept`` is how it was issued.

        A ticket that was not kept (or that cannot be looked up) may be used once too, as far as is known
        here: its signature and its time are the caller's to check.
        """

    def check() -> Deferred[None]:
        """Fires with None while the store answers; fails with any exception when it does not."""

    def close() -> Deferred[None]:
        """Lets go of everything; fires with None. Idempotent."""


class ISink(Interface):
    """Where stored events go. Batches come one at a time, each in the journal's order.

    What a sink has taken may be offered again: after a crash, or after a failure of which nobody knows how
    far it went. It must be there once nevertheless; ``record_id`` tells, and so does the batch's ``id`` where
    :meth:`prepare` keeps batches as they are.
    """

    def open(state: bytes) -> Deferred[None]:
        """Get ready. ``state`` is what the last :meth:`write` or :meth:`prepare` fired with, b"" at first.

        Fails with :class:`SinkAway`; it is then called again. So it is where what the sink fired with could
        not be saved: ``state`` is then an older one.
        """

    def prepare(batch: SinkBatch) -> Deferred[bytes] | None:
        """Called before each :meth:`write`; None where there is nothing to prepare.

        What it fires with is saved with the batch's bounds before the batch is written; after a crash,
        :meth:`open` is given it and the same batch is offered first. Fails as :meth:`write`. Where it is
        b"", or nothing was prepared, a dead letter of which nobody knows how far it went is offered again
        after other batches; otherwise before.
        """

    def write(batch: SinkBatch) -> Deferred[bytes]:
        """Keep the batch: fires when all of it will outlast a crash of either end, with the sink's own state
        (bytes, 1 MiB at most). It must end: whatever it waits for has a time limit of the sink's own.

        Fails with :class:`SinkAway` where the batch may be offered again later, and with
        :class:`RecordsRefused` where that would be in vain, having kept nothing of it: it is then offered in
        halves, until what cannot be taken is found. Any other failure counts as :class:`SinkAway`, and is a
        fault of the sink's.
        """

    def close() -> Deferred[None]:
        """Let go of everything; fires with None. Nothing is written meanwhile. Idempotent."""


class ISinkToldOfSaves(ISink):
    """A sink that must know from when on it is not offered again what it has written."""

    def saved() -> None:
        """What the last :meth:`write` fired with is saved, with the batch's end. Not called where it is not
        known: then :meth:`open` or :meth:`write` is what comes next."""


class ISinkMaker(Interface):
    """A kind of sink: a plugin in ``logui_tx.plugins``, or an entry point in the group ``logui_tx.sinks``."""

    schemes = Attribute("tuple[str, ...]: of the URIs that name it")
    summary = Attribute("str: what it does, in a line")
    form = Attribute("str: how its URI is written, as an example")
    parameters = Attribute("tuple[Parameter, ...]: of the URI's query, besides those that every sink has")

    def make(uri: SinkURI, reactor: Any) -> ISink:
        """Raises :class:`BadOption` with what would be right, also where an extra is not installed."""


class IStep(Interface):
    """Something done to each record and session on its way to a sink; in a thread, one thing at a time."""

    def record(record: Record) -> Record | None:
        """The record as it goes on, or None where it does not; pure but for what earlier records told.

        Where it fails, the record is set apart as if the sink had refused it.
        """

    def session(session: Session) -> Session:
        """The session as it goes on."""


class IStepMaker(Interface):
    """A kind of step: a plugin as :class:`ISinkMaker`, or an entry point in the group ``logui_tx.steps``."""

    name = Attribute("str: as it is written before the colon")
    summary = Attribute("str: what it does, in a line")
    form = Attribute("str: how it is written, as an example")

    def make(argument: str) -> IStep:
        """Raises ValueError with what would be right."""
