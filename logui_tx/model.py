"""What the parts of the server speak of: frozen values without behaviour.

Times are UNIX milliseconds in UTC unless a name says otherwise; ids are UUID4 strings.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

import msgspec
from attrs import field, frozen


@frozen
class Application:
    """A product or study that is logged; holds flights."""

    id: str
    name: str
    created_at: int


LISTENERS = (
    "mouseclick",
    "mousemove",
    "scroll",
    "keyboard",
    "focus",
    "resize",
    "navigation",
    "submit",
    "custom",
)
"""What a page of the dialect kraken may listen to (PROTOCOL, section 3)."""


@frozen
class Flight:
    """One experiment or deployment of an application: who may log, from where.

    ``domains`` holds entries as :mod:`logui_tx.registry.domains` reads them. The rest is for the dialect
    kraken: ``listeners`` are those of :data:`LISTENERS` that are allowed, ``sample_moves`` the least time in
    ms between two mouse moves (0: every move), ``metadata`` a JSON object of the flight's own for its page;
    and for LogUI 0.5: ``strict_sessions`` refuses who names a session that cannot be gone on with.
    """

    id: str
    application_id: str
    name: str
    domains: tuple[str, ...]
    active: bool
    client_version: str
    created_at: int
    listeners: tuple[str, ...] = LISTENERS
    sample_moves: int = 0
    metadata: str = "{}"
    strict_sessions: bool = False
    application_name: str = ""


@frozen
class Connection:
    """What the HTTP upgrade told of a client, before it said a word; the visitor by cookie or ticket."""

    address: str
    origin: str | None = None
    user_agent: str | None = None
    referrer: str | None = None
    visitor_id: str | None = None


@frozen
class Hello:
    """A handshake, read but not yet believed.

    ``app_data`` is the encoded value of every key; ``client_time`` is the client's clock in ms, None where
    the dialect does not tell it; ``device`` a JSON object of what the client runs on, encoded.
    ``bad_session`` says why the session that it names cannot be one, in a dialect that refuses that; in its
    place ``session_id`` is None. ``refusable``: the dialect can also say that there is no such session, where
    the flight is strict about it.
    ``keeps``: the client keeps what it sent until that is acknowledged. One that does not is let in only when
    its session stands in the journal: until then it keeps what it has.
    """

    token: str
    client_time: int | None
    app_data: dict[str, bytes]
    domain: str | None = None
    session_id: str | None = None
    instance: str = ""
    referrer: str | None = None
    device: str | None = None
    user_agent: str | None = None
    bad_session: str | None = None
    refusable: bool = False
    keeps: bool = True


@frozen
class Welcome:
    """What an accepted handshake led to: the session, whether it was there before, and the last payloadID of
    this page load.

    ``started_at`` is the session's start by the client's own clock (the server's, where no client told it).
    """

    session_id: str
    now: int
    last_payload_id: int
    resumed: bool
    started_at: int


class Leave(Enum):
    """The words by which a client says that it goes (PROTOCOL, sections 1, *Leaving*, and 3, *CLOSING*)."""

    PAGE = "leavingPage"
    CLIENT = "shutdownClient"
    CLOSE = "close"

    @property
    def end_reason(self) -> EndReason:
        """Why the session of who said it ends."""
        return EndReason.CLOSED if self is Leave.CLOSE else EndReason(self.value)


class EndReason(Enum):
    """Why a session ended (PROTOCOL, *Names*)."""

    LEAVING_PAGE = "leavingPage"
    SHUTDOWN_CLIENT = "shutdownClient"
    CLOSED = "closed"
    LOST = "lost"
    BAD_REQUESTS = "badRequests"
    SERVER_SHUTDOWN = "serverShutdown"


class Batch(msgspec.Struct, frozen=True, gc=False):
    """Events that arrived in one message: how many, not what; the message itself is what gets stored.

    ``instance`` is None where the payload does not name one: the connection's then counts.
    ``app_data`` is the application-specific data that the events bear, encoded, in a dialect in which they
    do; ``app_data_updated``: it changed among them, and those before that were made under what was in force
    before.
    """

    events: int
    payload_id: int | None = None
    instance: str | None = None
    leave: Leave | None = None
    app_data: bytes | None = None
    app_data_updated: bool = False


@frozen
class AppDataChange:
    """New application-specific data: the encoded value of each key; ``null`` deletes."""

    changes: dict[str, bytes]


class Event(msgspec.Struct, frozen=True, gc=False):
    """One stored event: the bytes that the client sent, and its time in ms (None where it gave none).

    ``app_data`` is the application-specific data in force, encoded, where the event itself tells it; None:
    that of its message.
    """

    raw: bytes
    client_time: int | None
    app_data: bytes | None = None


class EventColumns(msgspec.Struct, frozen=True, gc=False):
    """The events of a message side by side: as many each of what :class:`Event` tells of one.

    ``raw`` are pieces of the message that can be joined with bytes; ``app_data`` is None where no event
    tells any.
    """

    raw: Sequence[bytes | msgspec.Raw]
    times: Sequence[int | None]
    app_data: Sequence[bytes | None] | None = None


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """What was promised: the events with these sequence numbers are on disk.

    ``repeated`` is True where the payload had been stored before and was not stored again.
    """

    payload_id: int | None = None
    first_seq: int = 0
    events: int = 0
    repeated: bool = False


@frozen
class Close:
    """How to end a connection; ``code`` None means: hang up without a close frame."""

    code: int | None
    reason: str = ""


class Reply(msgspec.Struct, frozen=True, gc=False):
    """What a client is answered: a message, the end of the connection, or both in this order.

    ``cumulative``: it says all that the cumulative ones before it said.
    """

    message: bytes | None = None
    close: Close | None = None
    cumulative: bool = False


@frozen
class Kept:
    """A server's view of a session, for the session store.

    The server holds sequence numbers up to ``numbers_to``; those above ``unused_above``, where that is given,
    it gives back (unless others were reserved since).
    """

    view: bytes
    numbers_to: int = 0
    unused_above: int | None = None


@frozen
class Known:
    """What a session store keeps of a session: the views by server, and the last number that is reserved.

    ``reserved`` is None where that cannot be told, because the store is away.
    """

    views: dict[str, bytes]
    reserved: int | None = None


@frozen
class Session:
    """One visit as the journal knows it. ``duration`` is in seconds, None while the session is open."""

    number: int
    id: str
    flight_id: str
    application_id: str
    dialect: str
    started_at: int
    last_activity: int
    events: int
    size: int
    ended_at: int | None = None
    end_reason: str | None = None
    first_segment: int | None = None
    last_segment: int | None = None
    last_seq: int = 0
    app_data: bytes = b"{}"
    user_agent: str | None = None
    origin: str | None = None
    referrer: str | None = None
    device: str | None = None
    visitor_id: str | None = None
    client_started_at: int | None = None

    @property
    def duration(self) -> float | None:
        return None if self.ended_at is None else (self.ended_at - self.started_at) / 1000


class Position(msgspec.Struct, frozen=True, order=True, gc=False):
    """A place in the journal: behind all earlier segments, and behind ``event`` events of this one.

    A segment's sessions are behind its last event, in the order of their numbers in the journal: where
    ``event`` is more than there are events, the rest is the number of the one that follows.
    """

    segment: int = 0
    event: int = 0


class Record(msgspec.Struct, frozen=True, gc=False):
    """One logged event and what the server knows of it (DESIGN, *The faces*).

    ``received_at`` is ISO 8601; ``client_time`` and ``clock_offset`` are in ms, None where the client told
    no time. ``app_data`` and ``event`` are JSON objects on one line, otherwise as the client wrote them.
    ``record_id`` is the same wherever and whenever the record is given away; ``position`` is before it.
    A changed one is made with :func:`msgspec.structs.replace`.
    """

    record_id: str
    application_id: str
    flight_id: str
    session_id: str
    seq: int
    received_at: str
    client_time: int | None
    clock_offset: int | None
    dialect: str
    app_data: bytes
    event: bytes
    position: Position = Position()


@frozen
class SinkBatch:
    """What a sink is given at once: the journal's events from ``first`` to ``after``, in their order.

    ``sessions`` are those that began, went on or ended meanwhile, each once, as they stand by now; a session
    with the same ``id`` that was given earlier is replaced.
    """

    journal_id: str
    first: Position
    after: Position
    records: tuple[Record, ...] = ()
    sessions: tuple[Session, ...] = ()

    @property
    def id(self) -> str:
        """The same for the same events, offered again, and for no others.

        Sessions do not count, because they may be others the next time; of a batch without events that was
        halved they are all that tells which half it is.
        """
        first, after, sessions = self.first, self.after, self.sessions
        bounds = f"{self.journal_id}-{first.segment}-{first.event}-{after.segment}-{after.event}"
        return bounds if self.records or not sessions else f"{bounds}-{sessions[0].id}-{len(sessions)}"


@frozen
class SinkURI:
    """A sink's URI, read: ``scheme://user:password@host/path?parameters``.

    ``host`` is everything between the credentials and the path, maybe several hosts with ports; user,
    password and path are decoded. ``parameters`` are the sink's own, as its maker's table reads them;
    ``name`` is that by which its progress is kept, and no other sink's of this server.
    """

    scheme: str
    host: str = ""
    path: str = ""
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    parameters: dict[str, Any] = field(factory=dict)
    name: str = ""


@frozen
class Limits:
    """Every limit and time of the protocol page; sizes in bytes, times in seconds."""

    max_message_size: int = 4 * 1024 * 1024
    max_events: int = 5_000
    max_app_data: int = 64 * 1024
    max_unacknowledged: int = 1024 * 1024
    max_in_flight: int = 64 * 1024 * 1024
    max_instances: int = 1_000
    max_connections: int = 0
    max_connections_per_address: int = 1_000
    handshake_timeout: float = 10.0
    resume_window: float = 1_800.0
    drain_timeout: float = 5.0
    ping_interval: float = 30.0
    ping_timeout: float = 15.0
    ticket_ttl: float = 15.0
    init_rate: int = 600
    max_init_size: int = 16 * 1024
