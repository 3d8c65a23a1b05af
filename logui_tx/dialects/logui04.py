"""LogUI 0.4 (``/logui/endpoint/0.4.0/``): PROTOCOL, section 1.

The wire grammar, all messages being JSON objects in text frames::

    client                                              server
    LogUIHandshake                                  ->  LogUIHandshakeSuccess 200
      payloadType, clientDateTime, appIdentifier,       LogUIHandshakeError 400 (terminate: true), close 1008
      appSpecificLogData [, domain, sessionIdentifier,
      clientInstance, referrer]
    LogUIEventPayload                               ->  LogUIEventPayloadSuccess 201 [payloadID]
      eventsToBeLogged [, payloadID, clientInstance]    LogUIBadEventPayloadRequest 403
                                                        LogUIServerError 500 [payloadID]
      … with session: leavingPage | shutdownClient  ->  close 1000
    LogUIAppSpecificLogDataChange                   ->  LogUIAppSpecificLogDataChangeSuccess 201
      appSpecificLogData
    anything else                                   ->  LogUIBadRequest 401, the fifth time
                                                        LogUIBadRequestCountExceeded 402, close 1008
                                                    <-  LogUIServerShutdown 501, later close 1001
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from operator import attrgetter
from typing import Annotated, Any, Literal

import msgspec
from attrs import frozen
from msgspec import UNSET, Meta, Raw, UnsetType
from zope.interface import implementer

from logui_tx.dialects import json_text, values
from logui_tx.dialects.json_text import BadJSON, TooMany
from logui_tx.dialects.times import to_iso_8601
from logui_tx.dialects.values import HITS, MAX_EXACT, MAX_REFERRER, TOO_LARGE, UNREADABLE, Time
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

MAX_PAYLOAD_ID = 2**53 - 1
MAX_INSTANCE = 128

_encode = msgspec.json.encode
_STORED = _encode({"responseType": "LogUIEventPayloadSuccess", "statusCode": "201"})
_STORED_ID = b'{"responseType":"LogUIEventPayloadSuccess","statusCode":"201","payloadID":%d}'
_CHANGED = _encode({"responseType": "LogUIAppSpecificLogDataChangeSuccess", "statusCode": "201"})
_SHUTDOWN = _encode({"responseType": "LogUIServerShutdown", "statusCode": "501"})


class _Stamp(msgspec.Struct, gc=False):
    """As much of an event as must be looked at."""

    clientDateTime: Time


class _Payload(msgspec.Struct, gc=False):
    """A whole, well-formed event payload in one typed pass; whatever does not fit is read carefully."""

    payloadType: Literal["LogUIEventPayload"]
    eventsToBeLogged: list[_Stamp]
    payloadID: Annotated[int, Meta(ge=1, le=MAX_PAYLOAD_ID)] | UnsetType = UNSET
    session: Literal["leavingPage", "shutdownClient"] | UnsetType = UNSET
    clientInstance: Annotated[str, Meta(max_length=MAX_INSTANCE)] | UnsetType = UNSET


class _RawEvents(msgspec.Struct, gc=False):
    eventsToBeLogged: list[Raw]


class _Stamps(msgspec.Struct, gc=False):
    eventsToBeLogged: list[_Stamp]


_read_payload = msgspec.json.Decoder(_Payload).decode
_read_raw_events = msgspec.json.Decoder(_RawEvents).decode
_read_stamps = msgspec.json.Decoder(_Stamps).decode
_time_of = attrgetter("clientDateTime")
_LEAVE = {word.value: word for word in (Leave.PAGE, Leave.CLIENT)}


@implementer(IDialect)
@frozen
class LogUI04:
    """One instance serves all connections. ``max_events`` is the most events a payload may hold."""

    max_events: int = 5_000
    name: str = "logui-0.4"
    client_version: str | None = "0.4.0"
    cumulative: bool = False
    too_large: Close = TOO_LARGE

    # --- client to server

    def read_hello(self, message: bytes, binary: bool) -> Hello:
        """See :meth:`IDialect.read_hello`."""
        if binary:
            raise HandshakeRefused(Refusal.MALFORMED, "The handshake must be a text message.")
        try:
            found = json_text.message(message)
        except BadJSON as error:
            raise HandshakeRefused(
                Refusal.MALFORMED, f"The handshake is not a valid JSON object: {error}."
            ) from None
        kind = found.get("payloadType")
        if kind is None:
            raise HandshakeRefused(Refusal.FIELD, "The handshake lacks the key 'payloadType'.")
        if values.text(kind) != "LogUIHandshake":
            raise HandshakeRefused(Refusal.MALFORMED, "The first message must be a LogUIHandshake.")
        for key in ("clientDateTime", "appIdentifier", "appSpecificLogData"):
            if key not in found:
                raise HandshakeRefused(Refusal.FIELD, f"The handshake lacks the key '{key}'.")
        return _hello(found)

    def read(self, message: bytes, binary: bool) -> Batch | AppDataChange:
        """See :meth:`IDialect.read`."""
        if binary:
            raise BadRequest("The server did not understand the request: binary messages are not part of it.")
        return self._accept(message) or self._read_again(message)

    def _accept(self, message: bytes) -> Batch | None:
        """The quick way: a payload without fault; None for everything else."""
        try:
            payload = _read_payload(message)
        except UNREADABLE:
            return None
        events = len(payload.eventsToBeLogged)
        if events > self.max_events or json_text.nests_too_deep(message):
            return None
        if not values.are_times(map(_time_of, payload.eventsToBeLogged)):
            return None
        return Batch(
            events,
            None if payload.payloadID is UNSET else payload.payloadID,
            None if payload.clientInstance is UNSET else payload.clientInstance,
            None if payload.session is UNSET else _LEAVE[payload.session],
        )

    def _read_again(self, message: bytes) -> Batch | AppDataChange:
        """A payload with lone surrogates, or what is no payload without fault."""
        repaired = json_text.repaired(message)
        if repaired is not None:
            batch = self._accept(repaired)
            if batch is not None and "\ufffd" not in (batch.instance or ""):
                return batch
            if len(message) > MAX_EXACT:
                message = repaired
        return self._read_carefully(message)

    def _read_carefully(self, message: bytes) -> Batch | AppDataChange:
        """The same answer as the quick way, or precisely what is wrong."""
        try:
            found = json_text.message(message)
        except BadJSON as error:
            raise BadRequest(
                f"The server did not understand the request: not a valid JSON object: {error}."
            ) from None
        kind = values.text(found.get("payloadType", b"null"))
        if kind == "LogUIEventPayload":
            return self._batch(found)
        if kind == "LogUIAppSpecificLogDataChange":
            return _change(found)
        if kind == "LogUIHandshake":
            raise BadRequest("The server did not understand the request: the handshake was made already.")
        raise BadRequest("The server did not understand the request: its payloadType is not known.")

    def _batch(self, found: dict[str, bytes]) -> Batch:
        payload_id = _number(found["payloadID"]) if "payloadID" in found else None
        if "payloadID" in found and payload_id is None:
            raise BadRequest(f"'payloadID' must be an integer from 1 to {MAX_PAYLOAD_ID}.")
        word = values.text(found["session"]) if "session" in found else None
        if "session" in found and word not in _LEAVE:
            raise BadRequest("'session' must be 'leavingPage' or 'shutdownClient'.")
        instance = None
        if "clientInstance" in found:
            instance = values.short_text(found["clientInstance"], "clientInstance", MAX_INSTANCE, BadRequest)
        if "eventsToBeLogged" not in found:
            raise BadRequest("The event payload lacks 'eventsToBeLogged'.")
        try:
            events = json_text.elements(found["eventsToBeLogged"], self.max_events)
        except BadJSON:
            raise BadRequest("'eventsToBeLogged' must be an array.") from None
        except TooMany as many:
            raise TooManyEvents(
                f"The event payload holds {many.count} events; at most {self.max_events} are allowed."
            ) from None
        for position, event in enumerate(events):
            if values.event_time(event, "clientDateTime") is None:
                raise BadEvent(
                    position, event, f"The event payload was badly formed at position [{position}]."
                )
        return Batch(len(events), payload_id, instance, _LEAVE[word] if word is not None else None)

    def events(self, message: bytes) -> list[Event]:
        """See :meth:`IDialect.events`."""
        return values.events(self.columns(message))

    def columns(self, message: bytes) -> EventColumns:
        """See :meth:`IDialect.columns`."""
        try:
            raw = _read_raw_events(message).eventsToBeLogged
            stamps = _read_stamps(message).eventsToBeLogged
        except UNREADABLE:
            written = json_text.elements(json_text.members(message)["eventsToBeLogged"])
            return EventColumns(written, [values.event_time(event, "clientDateTime") for event in written])
        return EventColumns(raw, values.milliseconds([stamp.clientDateTime for stamp in stamps]))

    # --- server to client

    def welcome(self, to: Welcome) -> bytes:
        """See :meth:`IDialect.welcome`; the identifier tells the client whether it resumed."""
        return _encode(
            {
                "responseType": "LogUIHandshakeSuccess",
                "statusCode": "200",
                "sessionIdentifier": to.session_id,
                "serverDateTime": to_iso_8601(to.now),
                "lastPayloadID": to.last_payload_id,
            }
        )

    def refuse(self, why: HandshakeRefused) -> Reply:
        """See :meth:`IDialect.refuse`."""
        text = _error("LogUIHandshakeError", "400", str(why), terminate=True)
        return Reply(text, Close(1008, "handshake refused"))

    def stored(self, receipt: Receipt) -> bytes:
        """See :meth:`IDialect.stored`."""
        return _STORED if receipt.payload_id is None else _STORED_ID % receipt.payload_id

    def changed(self) -> bytes:
        """See :meth:`IDialect.changed`."""
        return _CHANGED

    def bad(self, why: BadRequest, hits: int) -> Reply:
        """See :meth:`IDialect.bad`: the fifth hit is the last."""
        if hits >= HITS:
            text = _error(
                "LogUIBadRequestCountExceeded",
                "402",
                "The number of bad requests has been exceeded.",
                terminate=True,
            )
            return Reply(text, Close(1008, "too many bad requests"))
        if isinstance(why, BadEvent):
            copy = Raw(why.copy)
            return Reply(
                _error("LogUIBadEventPayloadRequest", "403", str(why), terminate=False, badEventData=copy)
            )
        return Reply(_error("LogUIBadRequest", "401", str(why), terminate=False))

    def unstored(self, payload_id: int | None, why: str) -> Reply:
        """See :meth:`IDialect.unstored`."""
        return Reply(_error("LogUIServerError", "500", why, terminate=False, payload_id=payload_id))

    def failed(self, why: str) -> Reply:
        """See :meth:`IDialect.failed`."""
        return Reply(_error("LogUIServerError", "500", why, terminate=True), Close(1011, "server error"))

    def farewell(self, leave: Leave) -> Reply:  # noqa: ARG002
        """See :meth:`IDialect.farewell`: no answer, the connection just ends."""
        return Reply(close=Close(1000))

    def shutdown(self) -> Reply:
        """See :meth:`IDialect.shutdown`."""
        return Reply(_SHUTDOWN)

    def gone(self) -> Close:
        """See :meth:`IDialect.gone`."""
        return Close(1001, "server shutdown")


def _error(
    kind: str, status: str, text: str, *, terminate: bool, payload_id: int | None = None, **details: Any
) -> bytes:
    message: dict[str, Any] = {"responseType": kind, "statusCode": status}
    if payload_id is not None:
        message["payloadID"] = payload_id
    message["errorDetails"] = {"errorString": text, **details, "terminate": terminate}
    return _encode(message)


def _hello(found: dict[str, bytes]) -> Hello:
    def refused(text: str) -> HandshakeRefused:
        return HandshakeRefused(Refusal.FIELD, text)

    time = values.time(found["clientDateTime"])
    if time is None:
        raise refused("'clientDateTime' must be UNIX seconds or milliseconds, or an ISO 8601 date and time.")
    token = values.text(found["appIdentifier"])
    if token is None:
        raise refused("'appIdentifier' must be a string: the flight's token.")

    def optional(key: str, longest: int) -> str | None:
        if found.get(key, b"null") == b"null":
            return None
        return values.short_text(found[key], key, longest, refused)

    referrer = optional("referrer", sys.maxsize)
    return Hello(
        token=token,
        client_time=time,
        app_data=_app_data(found["appSpecificLogData"], refused),
        domain=optional("domain", MAX_REFERRER),
        session_id=optional("sessionIdentifier", MAX_REFERRER),
        instance=optional("clientInstance", MAX_INSTANCE) or "",
        referrer=referrer[:MAX_REFERRER] if referrer else None,
    )


def _change(found: dict[str, bytes]) -> AppDataChange:
    if "appSpecificLogData" not in found:
        raise BadRequest("The change lacks 'appSpecificLogData'.")
    return AppDataChange(_app_data(found["appSpecificLogData"], BadRequest))


def _app_data(written: bytes, error: Callable[[str], Exception]) -> dict[str, bytes]:
    try:
        data = json_text.members(written)
    except BadJSON:
        raise error("'appSpecificLogData' must be an object.") from None
    if any(not _is_unicode(key) for key in data):
        raise error("The keys of 'appSpecificLogData' must be valid Unicode.")
    return data


def _number(written: bytes) -> int | None:
    try:
        number: int = msgspec.json.decode(written, type=Annotated[int, Meta(ge=1, le=MAX_PAYLOAD_ID)])
    except UNREADABLE:
        return None
    return number


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
