"""Records and sessions as JSON, one object on one line: as exports and sinks give them away.

What a client wrote is spliced in as it is, every digit of it.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from logui_tx.dialects.times import to_iso_8601
from logui_tx.model import Record, Session

_encode = msgspec.json.encode
_encode_lines = msgspec.json.Encoder().encode_lines


class _Line(msgspec.Struct, gc=False):
    """A record as it is written."""

    recordID: str
    applicationID: str
    flightID: str
    sessionID: str
    seq: int
    receivedAt: str
    clientTime: int | None
    clockOffset: int | None
    dialect: str
    appSpecificLogData: msgspec.Raw
    event: msgspec.Raw


FIELDS = tuple(field.name for field in msgspec.structs.fields(_Line))
"""A record's members, in the order of DESIGN, *The faces*."""


def record_json(record: Record) -> bytes:
    """A record with the members :data:`FIELDS`."""
    return _encode(_line(record))


def record_lines(records: Iterable[Record]) -> bytes:
    """Records as :func:`record_json` writes them, each on a line with its end."""
    return _encode_lines(map(_line, records))


def _line(record: Record) -> _Line:
    return _Line(
        record.record_id,
        record.application_id,
        record.flight_id,
        record.session_id,
        record.seq,
        record.received_at,
        record.client_time,
        record.clock_offset,
        record.dialect,
        msgspec.Raw(record.app_data),
        msgspec.Raw(record.event),
    )


def session_json(session: Session) -> bytes:
    """A session as ``logui session list --json`` shows it."""
    return _encode(
        {
            "id": session.id,
            "flightID": session.flight_id,
            "applicationID": session.application_id,
            "dialect": session.dialect,
            "startedAt": to_iso_8601(session.started_at),
            "endedAt": None if session.ended_at is None else to_iso_8601(session.ended_at),
            "duration": session.duration,
            "endReason": session.end_reason,
            "events": session.events,
            "userAgent": plain(session.user_agent),
            "origin": plain(session.origin),
            "referrer": plain(session.referrer),
            "device": device(plain(session.device)),
            "visitorID": session.visitor_id,
            "appSpecificLogData": msgspec.Raw(session.app_data),
        }
    )


def plain(told: str | None) -> str | None:
    """A text that UTF-8 can hold: half a surrogate pair becomes a question mark."""
    return None if told is None else told.encode("utf-8", "replace").decode()


def device(told: str | None) -> object:
    """What a client told of its device: an object where it told one, otherwise a text."""
    if told is None or not told.startswith("{"):
        return told
    try:
        return msgspec.json.decode(told, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        return told
