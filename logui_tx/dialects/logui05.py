"""LogUI 0.5 (``/ws/endpoint/``), as the released client 0.5.1 to 0.5.4 speaks it: PROTOCOL, section 2.

The wire grammar, all messages being JSON objects in text frames::

    client: {"sender": "logUIClient", "type": T, "payload": P}

    T          P                                        server
    handshake  clientVersion, authorisationToken,   ->  {"sender": "logUIServer", "type": "handshakeSuccess",
               pageOrigin, userAgent,                    "payload": {"sessionID", "clientStartTimestamp",
               clientTimestamp [, sessionID]                         "newSessionCreated"}}
    logEvents  length, items                        ->  (nothing)
    closedown                                       ->  close 1000
    anything else, or a handshake that is refused   ->  close 4001 to 4007, see CODES

    item = {"eventType", "timestamps": {"eventTimestamp", …} [, "eventDetails", "applicationSpecificData", …]}

The client comes back after an end without a close frame and after no other. So that is how the connection
ends wherever the client has done nothing wrong.

A page keeps one object of application-specific data, and items bear it as it is when they are sent. Where it
was updated among them, there is a marker: the items before were made under the data of the last message.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Literal, NamedTuple

import msgspec
from attrs import frozen
from msgspec import Raw
from zope.interface import implementer

from logui_tx.dialects import json_text, values
from logui_tx.dialects.json_text import BadJSON, TooMany
from logui_tx.dialects.times import to_iso_8601
from logui_tx.dialects.values import MAX_EXACT, MAX_REFERRER, UNREADABLE
from logui_tx.errors import BadEvent, BadRequest, HandshakeRefused, Refusal, TooManyEvents
from logui_tx.interfaces import IDialect
from logui_tx.model import (
    AppDataChange,
    Batch,
    Close,
    Event,
    EventColumns,
    Hello,
    Leave,
    Receipt,
    Reply,
    Welcome,
)

CODES = {
    Refusal.MALFORMED: 4001,
    Refusal.FIELD: 4002,
    Refusal.VERSION: 4003,
    Refusal.TOKEN: 4004,
    Refusal.DOMAIN: 4005,
    Refusal.SESSION: 4006,
    Refusal.INACTIVE: 4007,
}
"""The close code of each cause of a refusal; where there is none, the client may come back."""
VERSIONS = ("0.5.1", "0.5.2", "0.5.3", "0.5.4")
"""What a client's version may begin with."""
MAX_SESSION = 128
"""Characters of a session's identifier: a longer one is not one of ours."""

_FIELDS = ("clientVersion", "authorisationToken", "pageOrigin", "userAgent", "clientTimestamp")
_EVENT_TYPES = ("interactionEvent", "browserEvent", "statusEvent", "customEvent")
_NULL = b"null"
_END = Close(None)
_HANG_UP = Reply(close=_END)

_encode = msgspec.json.encode


class _Timestamps(msgspec.Struct, gc=False):
    eventTimestamp: values.Time


class _Item(msgspec.Struct, gc=False):
    """As much of an item as must be looked at."""

    eventType: Literal["interactionEvent", "browserEvent", "statusEvent", "customEvent"]
    timestamps: _Timestamps
    eventDetails: Raw = Raw(_NULL)
    applicationSpecificData: Raw = Raw(_NULL)


class _Items(msgspec.Struct, gc=False):
    items: list[_Item]


class _LogEvents(msgspec.Struct, gc=False):
    """A whole, well-formed message of events in one typed pass; whatever does not fit is read carefully."""

    sender: Literal["logUIClient"]
    type: Literal["logEvents"]
    payload: _Items


class _RawItems(msgspec.Struct, gc=False):
    items: list[Raw]


class _RawEvents(msgspec.Struct, gc=False):
    payload: _RawItems


_read_log_events = msgspec.json.Decoder(_LogEvents).decode
_read_raw_events = msgspec.json.Decoder(_RawEvents).decode
_time_of = attrgetter("timestamps.eventTimestamp")


class _Borne(NamedTuple):
    """Of an item: the application-specific data that it bears, ``null`` for none; whether it tells that this
    was updated just then."""

    app_data: bytes
    marks: bool


@implementer(IDialect)
@frozen
class LogUI05:
    """One instance serves all connections. ``max_events`` is the most items a message may hold."""

    max_events: int = 5_000
    name: str = "logui-0.5"
    client_version: str | None = None
    cumulative: bool = False
    too_large: Close = _END

    # --- client to server

    def read_hello(self, message: bytes, binary: bool) -> Hello:
        """See :meth:`IDialect.read_hello`."""
        try:
            kind, payload = _envelope(message, binary)
        except BadRequest as why:
            raise HandshakeRefused(Refusal.MALFORMED, str(why)) from None
        if kind != "handshake":
            raise HandshakeRefused(Refusal.MALFORMED, "The first message must be a handshake.")
        for key in _FIELDS:
            if key not in payload:
                raise HandshakeRefused(Refusal.FIELD, f"The handshake lacks '{key}'.")
        return _hello(payload)

    def read(self, message: bytes, binary: bool) -> Batch | AppDataChange:
        """See :meth:`IDialect.read`; this dialect has no AppDataChange."""
        if binary:
            return self._read_carefully(message, binary)
        return self._accept(message) or self._read_again(message)

    def _accept(self, message: bytes) -> Batch | None:
        """The quick way: a message of events without fault; None for everything else."""
        try:
            items = _read_log_events(message).payload.items
        except UNREADABLE:
            return None
        if len(items) > self.max_events or json_text.nests_too_deep(message):
            return None
        if not values.are_times(map(_time_of, items)):
            return None
        app_data = [bytes(item.applicationSpecificData) for item in items]
        # Nearly always all bear the same.
        if not all(map(_is_app_data, set(app_data))):
            return None
        marks = any(_marks(item) for item in items if item.eventType == "statusEvent")
        return _batch(app_data, marks)

    def _read_again(self, message: bytes) -> Batch:
        """A message with lone surrogates, or what is no message of events without fault."""
        repaired = json_text.repaired(message)
        if repaired is not None:
            batch = self._accept(repaired)
            if batch is not None and b"\\ufffd" not in (batch.app_data or b""):
                return batch
            if len(message) > MAX_EXACT:
                message = repaired
        return self._read_carefully(message)

    def _read_carefully(self, message: bytes, binary: bool = False) -> Batch:
        """The same answer as the quick way, or precisely what is wrong."""
        kind, payload = _envelope(message, binary)
        if kind == "closedown":
            return Batch(0, leave=Leave.CLOSE)
        if kind == "handshake":
            raise BadRequest("The handshake was made already.")
        try:
            items = json_text.elements(payload.get("items", _NULL), self.max_events)
        except BadJSON:
            raise BadRequest("'items' must be an array.") from None
        except TooMany as many:
            raise TooManyEvents(
                f"The message holds {many.count} items; at most {self.max_events} are allowed."
            ) from None
        borne = [_checked(position, item) for position, item in enumerate(items)]
        return _batch([one.app_data for one in borne], any(one.marks for one in borne))

    def events(self, message: bytes) -> list[Event]:
        """See :meth:`IDialect.events`."""
        return values.events(self.columns(message))

    def columns(self, message: bytes) -> EventColumns:
        """See :meth:`IDialect.columns`."""
        try:
            items = _read_log_events(message).payload.items
            raw = _read_raw_events(message).payload.items
        except UNREADABLE:
            return _columns_carefully(message)
        times = values.milliseconds([item.timestamps.eventTimestamp for item in items])
        return EventColumns(raw, times, _in_force([_borne(item) for item in items]))

    # --- server to client

    def welcome(self, to: Welcome) -> bytes:
        """See :meth:`IDialect.welcome`."""
        payload = {
            "sessionID": to.session_id,
            "clientStartTimestamp": to_iso_8601(to.started_at),
            "newSessionCreated": not to.resumed,
        }
        return _encode({"sender": "logUIServer", "type": "handshakeSuccess", "payload": payload})

    def refuse(self, why: HandshakeRefused) -> Reply:
        """See :meth:`IDialect.refuse`."""
        code = CODES.get(why.cause)
        return _HANG_UP if code is None else Reply(close=Close(code, str(why)))

    def stored(self, receipt: Receipt) -> None:  # noqa: ARG002
        """See :meth:`IDialect.stored`: the client has forgotten what it sent, and asks for no answer."""
        return

    def changed(self) -> None:
        """See :meth:`IDialect.changed`: there is no such message."""
        return

    def bad(self, why: BadRequest, hits: int) -> Reply:  # noqa: ARG002
        """See :meth:`IDialect.bad`: the first is the last. A backlog too long is not the client's fault."""
        return _HANG_UP if isinstance(why, TooManyEvents) else Reply(close=Close(4001, str(why)))

    def unstored(self, payload_id: int | None, why: str) -> Reply:  # noqa: ARG002
        """See :meth:`IDialect.unstored`: while it is away the client keeps its events, and comes back."""
        return _HANG_UP

    def failed(self, why: str) -> Reply:  # noqa: ARG002
        """See :meth:`IDialect.failed`."""
        return _HANG_UP

    def farewell(self, leave: Leave) -> Reply:  # noqa: ARG002
        """See :meth:`IDialect.farewell`."""
        return Reply(close=Close(1000))

    def shutdown(self) -> Reply:
        """See :meth:`IDialect.shutdown`: there is no word for it that the client knows."""
        return _HANG_UP

    def gone(self) -> Close:
        """See :meth:`IDialect.gone`."""
        return _END


def _envelope(message: bytes, binary: bool) -> tuple[str, dict[str, bytes]]:
    """A message's type and the members of its payload."""
    if binary:
        raise BadRequest("Binary messages are not part of the protocol.")
    try:
        found = json_text.message(message)
    except BadJSON as error:
        raise BadRequest(f"The message could not be read: {error}.") from None
    if values.text(found.get("sender", _NULL)) != "logUIClient":
        raise BadRequest("The message's 'sender' must be 'logUIClient'.")
    kind = values.text(found.get("type", _NULL))
    if kind not in ("handshake", "logEvents", "closedown"):
        raise BadRequest("The message's 'type' is not known.")
    if kind == "closedown":
        return kind, {}
    try:
        return kind, json_text.members(found.get("payload", _NULL))
    except BadJSON:
        raise BadRequest("The message's 'payload' must be an object.") from None


def _hello(payload: dict[str, bytes]) -> Hello:
    def text(key: str) -> str:
        found = values.text(payload[key])
        if found is None:
            raise HandshakeRefused(Refusal.FIELD, f"'{key}' must be a string.")
        return found

    version, token, origin, user_agent = (text(key) for key in _FIELDS[:-1])
    time = values.time(payload["clientTimestamp"])
    if time is None:
        raise HandshakeRefused(Refusal.FIELD, "'clientTimestamp' must be an ISO 8601 date and time.")
    if not version.startswith(VERSIONS):
        raise HandshakeRefused(Refusal.VERSION, f"The client's version must be of {', '.join(VERSIONS)}.")
    session_id, bad_session = None, None
    if payload.get("sessionID", _NULL) != _NULL:
        session_id = values.text(payload["sessionID"])
        if session_id is None:
            bad_session = "'sessionID' must be a string."
        elif len(session_id) > MAX_SESSION:
            session_id = ""
    return Hello(
        token=token,
        client_time=time,
        app_data={},
        domain=origin,
        session_id=session_id,
        user_agent=user_agent[:MAX_REFERRER] or None,
        bad_session=bad_session,
        refusable=True,
        keeps=False,
    )


def _checked(position: int, item: bytes) -> _Borne:
    """What an item bears. Raises :class:`BadEvent` where the item is not one."""

    def bad(fault: str) -> BadEvent:
        return BadEvent(position, item, f"The item at position {position} {fault}.")

    try:
        found = json_text.members(item)
    except BadJSON:
        raise bad("is not an object") from None
    kind = values.text(found.get("eventType", _NULL))
    if kind not in _EVENT_TYPES:
        raise bad(f"must have an 'eventType' of {', '.join(_EVENT_TYPES)}")
    if values.event_time(found.get("timestamps", _NULL), "eventTimestamp") is None:
        raise bad("must have a valid 'eventTimestamp' in its 'timestamps'")
    app_data = found.get("applicationSpecificData", _NULL)
    if not _is_app_data(app_data):
        raise bad("must have an object of 'applicationSpecificData'")
    return _Borne(app_data, kind == "statusEvent" and _is_marker(found.get("eventDetails", _NULL)))


def _borne(item: _Item) -> _Borne:
    return _Borne(bytes(item.applicationSpecificData), _marks(item))


def _marks(item: _Item) -> bool:
    return item.eventType == "statusEvent" and _is_marker(bytes(item.eventDetails))


def _is_marker(details: bytes) -> bool:
    try:
        return values.text(json_text.members(details).get("type", _NULL)) == "applicationSpecificDataUpdated"
    except BadJSON:
        return False


def _is_app_data(written: bytes) -> bool:
    return written == _NULL or written[:1] == b"{"


def _batch(app_data: Sequence[bytes], marks: bool) -> Batch:
    """``app_data``: what each item bears; ``marks``: whether one of them tells that it was updated."""
    told = next((borne for borne in reversed(app_data) if borne != _NULL), None)
    return Batch(len(app_data), app_data=told, app_data_updated=marks)


def _in_force(borne: Sequence[_Borne]) -> list[bytes | None] | None:
    """The data under which each item was made, as far as the items tell; None: that of the whole message.

    One that bears none was made under what was told before it.
    """
    told: list[bytes | None] = []
    for one in borne:
        told.append((told[-1] if told else None) if one.app_data == _NULL else one.app_data)
    updated = next((at for at, one in enumerate(borne) if one.marks), None)
    if updated is None:
        # Nearly always all bear the same, which is the message's.
        return told if len(set(told)) > 1 else None
    # Before it, those that bear the same were overwritten by the update.
    return [None if data == told[updated] else data for data in told[:updated]] + told[updated:]


def _columns_carefully(message: bytes) -> EventColumns:
    kind, payload = _envelope(message, False)
    if kind != "logEvents":
        return EventColumns([], [])
    items = json_text.elements(payload["items"])
    borne = [_checked(position, item) for position, item in enumerate(items)]
    stamps = [json_text.members(item)["timestamps"] for item in items]
    times = [values.event_time(timestamps, "eventTimestamp") for timestamps in stamps]
    return EventColumns(items, times, _in_force(borne))
