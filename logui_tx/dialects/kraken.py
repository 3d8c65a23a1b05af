"""DataKraken (``ws /kraken/socket``): PROTOCOL, section 3.

The wire grammar, all messages being text frames of JSON::

    client                                              server
    {"type": "start" [, "meta": {"device":          ->  (nothing)
      {"os", "browser"}, "referrer"}]}
    event, or an array of events                    ->  {"type": "ack", "stored": N}
                                                        {"type": "error", "code": 401 | 403 | 500,
                                                         "message" [, "position"]}, or the fifth time 401
                                                         or 403: code 402, close 1008
    {"type": "close"}                               ->  close 1000
                                                    <-  {"type": "shutdown"}, later close 1001

    event = {"type": 0, "timestamp", "event": {"X", "Y", "target"}}         click
          | {"type": 1, "timestamp", "event": {"X", "Y", "ellapsed"}}       move
          | {"type": 2..7 or 9, "timestamp", …}                             see TYPES

Who may come, and from where, its ticket has decided before (``web/kraken.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import isfinite
from operator import attrgetter
from typing import Any, Literal, Union

import msgspec
from attrs import field, frozen
from msgspec import Raw
from zope.interface import implementer

from logui_tx.dialects import json_text, values
from logui_tx.dialects.json_text import BadJSON, TooMany
from logui_tx.dialects.values import HITS, MAX_EXACT, MAX_REFERRER, TOO_LARGE, UNREADABLE
from logui_tx.errors import BadEvent, BadRequest, HandshakeRefused, Refusal, TooManyEvents
from logui_tx.interfaces import IDialect
from logui_tx.model import (
    LISTENERS,
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

TYPES = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 9), LISTENERS, strict=True))
"""An event's type on the wire, and what a page must be allowed to listen to for it."""
MAX_DEVICE = 128
"""Characters kept of what a client says of its operating system or browser."""

_POINTED = (0, 1)
"""The types that tell a place on the page."""
_AXES = ("X", "Y")

_encode = msgspec.json.encode
_SHUTDOWN = _encode({"type": "shutdown"})
_ACK = b'{"type":"ack","stored":%d}'


class _Point(msgspec.Struct, gc=False):
    X: float
    Y: float


class _Stamp(msgspec.Struct, gc=False):
    """As much of a stored event as must be looked at."""

    timestamp: values.Time


_read_events = msgspec.json.Decoder(list[Raw]).decode
_read_stamps = msgspec.json.Decoder(list[_Stamp]).decode
_read_float = msgspec.json.Decoder(float).decode
_read_int = msgspec.json.Decoder(int).decode
_time_of = attrgetter("timestamp")


@cache
def _quick_reader(allowed: tuple[str, ...]) -> Callable[[bytes], Any]:
    """Reads one event, or an array of them, in one typed pass; ``allowed`` names at least one listener."""
    numbers = [number for number, name in TYPES.items() if name in allowed]
    kind = Union[tuple(map(_event_kind, numbers))] if len(numbers) > 1 else _only_event_kind(numbers[0])  # noqa: UP007 - there are no types before it runs
    return msgspec.json.Decoder(kind | list[kind]).decode  # type: ignore[valid-type]


def _event_kind(number: int) -> Any:
    return msgspec.defstruct(f"_{TYPES[number]}", _fields(number), tag_field="type", tag=number, gc=False)


def _only_event_kind(number: int) -> Any:
    """Where there are no others to tell it from, msgspec would do without the tag."""
    fields = [("type", Literal[number]), *_fields(number)]
    return msgspec.defstruct(f"_{TYPES[number]}", fields, gc=False)


def _fields(number: int) -> list[tuple[str, Any]]:
    fields: list[tuple[str, Any]] = [("timestamp", values.Time)]
    return [*fields, ("event", _Point)] if number in _POINTED else fields


def _in_order(listeners: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in LISTENERS if name in listeners)


@implementer(IDialect)
@frozen
class Kraken:
    """One instance serves all connections of flights that allow the same listeners.

    ``max_events`` is the most events a message may hold; ``listeners`` are of :data:`LISTENERS`.
    """

    max_events: int = 5_000
    listeners: tuple[str, ...] = field(default=LISTENERS, converter=_in_order)
    name: str = "kraken"
    client_version: str | None = None
    cumulative: bool = True
    too_large: Close = TOO_LARGE

    # --- client to server

    def read_hello(self, message: bytes, binary: bool) -> Hello:
        """See :meth:`IDialect.read_hello`: the session record; anything else is a bad request."""
        if _first_mark(message, binary) == b"[":
            raise BadRequest("Events came before the session record (type 'start').")
        found = _object(message)
        if values.text(found.get("type", b"null")) != "start":
            raise BadRequest("The first message must be the session record (type 'start').")
        return _hello(found)

    def read(self, message: bytes, binary: bool) -> Batch | AppDataChange:
        """See :meth:`IDialect.read`; this dialect has no AppDataChange."""
        if not binary:
            count = self._accept(message)
            if count is None and (repaired := json_text.repaired(message)) is not None:
                count = self._accept(repaired)
                if len(message) > MAX_EXACT:
                    message = repaired
            if count is not None:
                return Batch(count)
        return self._read_carefully(message, _first_mark(message, binary))

    def _accept(self, message: bytes) -> int | None:
        """The quick way: how many events, where they are without fault; None for everything else."""
        if not self.listeners:
            return None
        try:
            found = _quick_reader(self.listeners)(message)
        except UNREADABLE:
            return None
        events = found if type(found) is list else [found]
        if len(events) > self.max_events or json_text.nests_too_deep(message):
            return None
        return len(events) if values.are_times(map(_time_of, events)) else None

    def _read_carefully(self, message: bytes, mark: bytes) -> Batch:
        """The same answer as the quick way, or precisely what is wrong."""
        if mark == b"[":
            return self._array(message)
        found = _object(message)
        word = values.text(found.get("type", b"null"))
        if word == "close":
            return Batch(0, leave=Leave.CLOSE)
        if word == "start":
            raise BadRequest("The session has started already.")
        if word is not None:
            raise BadRequest("The type of the message is not known.")
        fault = self._fault(message)
        if fault is not None:
            raise BadEvent(None, message, f"The event {fault}.")
        return Batch(1)

    def _array(self, message: bytes) -> Batch:
        if json_text.nests_too_deep(message):
            raise BadRequest("The message could not be read: it nests too deep.")
        try:
            events = json_text.elements(message, self.max_events)
        except BadJSON as error:
            raise BadRequest(f"The message could not be read: {error}.") from None
        except TooMany as many:
            raise TooManyEvents(
                f"The message holds {many.count} events; at most {self.max_events} are allowed."
            ) from None
        for position, event in enumerate(events):
            fault = self._fault(event)
            if fault is not None:
                raise BadEvent(position, event, f"The event at position {position} {fault}.")
        return Batch(len(events))

    def _fault(self, event: bytes) -> str | None:
        """What is wrong with an event, to be said after its name; None where nothing is."""
        try:
            found = json_text.members(event)
        except BadJSON:
            return "is not an object"
        number = _number(found.get("type", b"null"))
        name = None if number is None else TYPES.get(number)
        if name is None:
            return f"must have a 'type' of {', '.join(map(str, TYPES))}"
        if name not in self.listeners:
            return f"is of a type that the flight does not log ({name})"
        if values.time(found.get("timestamp", b"null")) is None:
            return "must have a 'timestamp': UNIX seconds or milliseconds, or an ISO 8601 date and time"
        if number in _POINTED and not _is_point(found.get("event", b"null")):
            return "must have an 'event' with the numbers 'X' and 'Y'"
        return None

    def events(self, message: bytes) -> list[Event]:
        """See :meth:`IDialect.events`."""
        return values.events(self.columns(message))

    def columns(self, message: bytes) -> EventColumns:
        """See :meth:`IDialect.columns`."""
        if message.lstrip()[:1] != b"[":
            found = json_text.members(message)
            if values.text(found["type"]) is not None:
                return EventColumns([], [])  # the word of leaving
            return EventColumns([message.strip()], [values.time(found["timestamp"])])
        try:
            raw, stamps = _read_events(message), _read_stamps(message)
        except UNREADABLE:
            written = json_text.elements(message)
            return EventColumns(written, [values.event_time(event, "timestamp") for event in written])
        return EventColumns(raw, values.milliseconds([stamp.timestamp for stamp in stamps]))

    # --- server to client

    def welcome(self, to: Welcome) -> None:  # noqa: ARG002
        """See :meth:`IDialect.welcome`: the start of a session is not acknowledged."""
        return

    def refuse(self, why: HandshakeRefused) -> Reply:
        """See :meth:`IDialect.refuse`."""
        if why.cause is Refusal.SHUTDOWN:
            return Reply(_SHUTDOWN, self.gone())
        code = 401 if why.cause in (Refusal.TIMEOUT, Refusal.MALFORMED, Refusal.FIELD) else 403
        return Reply(_error(code, str(why)), Close(1008, "refused"))

    def stored(self, receipt: Receipt) -> bytes:
        """See :meth:`IDialect.stored`: sequence numbers have no gaps, so the last one is the count."""
        return _ACK % (receipt.first_seq + receipt.events - 1)

    def changed(self) -> None:
        """See :meth:`IDialect.changed`: there is no such message."""
        return

    def bad(self, why: BadRequest, hits: int) -> Reply:
        """See :meth:`IDialect.bad`: the fifth hit is the last."""
        if hits >= HITS:
            text = _error(402, "The number of bad requests has been exceeded.")
            return Reply(text, Close(1008, "too many bad requests"))
        if isinstance(why, BadEvent):
            return Reply(_error(403, str(why), why.position))
        return Reply(_error(401, str(why)))

    def unstored(self, payload_id: int | None, why: str) -> Reply:  # noqa: ARG002
        """See :meth:`IDialect.unstored`."""
        return Reply(_error(500, why))

    def failed(self, why: str) -> Reply:
        """See :meth:`IDialect.failed`."""
        return Reply(_error(500, why), Close(1011, "server error"))

    def farewell(self, leave: Leave) -> Reply:  # noqa: ARG002
        """See :meth:`IDialect.farewell`."""
        return Reply(close=Close(1000))

    def shutdown(self) -> Reply:
        """See :meth:`IDialect.shutdown`."""
        return Reply(_SHUTDOWN)

    def gone(self) -> Close:
        """See :meth:`IDialect.gone`."""
        return Close(1001, "server shutdown")


def _error(code: int, text: str, position: int | None = None) -> bytes:
    message: dict[str, Any] = {"type": "error", "code": code, "message": text}
    if position is not None:
        message["position"] = position
    return _encode(message)


def _first_mark(message: bytes, binary: bool) -> bytes:
    if binary:
        raise BadRequest("Binary messages are not part of the protocol.")
    return message.lstrip()[:1]


def _object(message: bytes) -> dict[str, bytes]:
    try:
        return json_text.message(message)
    except BadJSON as error:
        raise BadRequest(f"The message could not be read: {error}.") from None


def _hello(found: dict[str, bytes]) -> Hello:
    meta = _optional_object(found, "meta")
    device = _optional_object(meta, "device")
    told = {key: text[:MAX_DEVICE] for key in ("os", "browser") if (text := _optional_text(device, key))}
    referrer = _optional_text(meta, "referrer")
    return Hello(
        token="",
        client_time=None,
        app_data={},
        referrer=referrer[:MAX_REFERRER] if referrer else None,
        device=_encode(told).decode() if told else None,
    )


def _optional_object(found: dict[str, bytes], key: str) -> dict[str, bytes]:
    if found.get(key, b"null") == b"null":
        return {}
    try:
        return json_text.members(found[key])
    except BadJSON:
        raise BadRequest(f"'{key}' must be an object.") from None


def _optional_text(found: dict[str, bytes], key: str) -> str | None:
    if found.get(key, b"null") == b"null":
        return None
    text = values.text(found[key])
    if text is None:
        raise BadRequest(f"'{key}' must be a string.")
    return text


def _number(written: bytes) -> int | None:
    try:
        return _read_int(written)
    except UNREADABLE:
        return None


def _is_point(written: bytes) -> bool:
    try:
        found = json_text.members(written)
        return all(isfinite(_read_float(found.get(axis, b"null"))) for axis in _AXES)
    except (BadJSON, *UNREADABLE):
        return False
