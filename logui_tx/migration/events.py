"""An event of a download: what the client sent, with ``applicationID`` and ``flightID`` added. Pure."""

from __future__ import annotations

from functools import lru_cache
from uuid import UUID

from attrs import frozen

from logui_tx.dialects import json_text, values
from logui_tx.dialects.json_text import BadJSON
from logui_tx.dialects.logui05 import LogUI05
from logui_tx.errors import BadEvent, BadRequest
from logui_tx.model import Batch

DIALECT = LogUI05(max_events=1_000_000)
"""What reads an event here will read it at every export."""

_NULL = b"null"
_UUID = 36


@frozen
class PastEvent:
    """``text`` is the event as the file has it, without the ``_id`` of mongoexport; ``time`` in UNIX ms.

    ``session_id`` is None where it names none that can be one. ``borne`` is the application-specific data
    that it bears, encoded, and ``updated`` says that this was changed just then. ``status`` is the type of a
    ``statusEvent``, as ``started``, else nothing.
    """

    text: bytes
    flight_id: str | None
    session_id: str | None
    time: int
    borne: bytes | None
    updated: bool
    status: str


def message(items: list[bytes]) -> bytes:
    """The items as a client's message, which is what a journal holds."""
    return b'{"sender":"logUIClient","type":"logEvents","payload":{"length":%d,"items":[%b]}}' % (
        len(items),
        b",".join(items),
    )


def read_event(text: bytes) -> PastEvent:
    """Raises :class:`BadRequest` for what is no event of LogUI 0.5; the text says why."""
    sent = message([text])
    try:
        text.decode()  # a socket's messages are UTF-8 before the dialect sees them
        batch = DIALECT.read(sent, False)
        (event,) = DIALECT.events(sent)
        found = json_text.members(text)
    except BadEvent as why:
        raise BadRequest(str(why).replace("The item at position 0", "it")) from None
    except (BadRequest, BadJSON, ValueError):
        raise BadRequest("it is not JSON") from None
    assert isinstance(batch, Batch)
    assert event.client_time is not None
    kind = values.text(found["eventType"]) or ""
    details = found.get("eventDetails", _NULL)
    return PastEvent(
        text=_without_id(found) if "_id" in found else text,
        flight_id=_id(found.get("flightID", _NULL)),
        session_id=_id(found.get("sessionID", _NULL)),
        time=event.client_time,
        borne=batch.app_data,
        updated=batch.app_data_updated,
        status=_type(details) if kind == "statusEvent" else "",
    )


@lru_cache(4096)
def _id(written: bytes) -> str | None:
    """An id as this server writes it, None where it is none; nearly always the same as before."""
    told = values.text(written)
    if told is None or len(told) != _UUID:
        return None
    try:
        return str(UUID(told))
    except ValueError:
        return None


def _type(details: bytes) -> str:
    try:
        return values.text(json_text.members(details).get("type", _NULL)) or ""
    except BadJSON:
        return ""


def _without_id(found: dict[str, bytes]) -> bytes:
    return json_text.joined((key, value) for key, value in found.items() if key != "_id")
