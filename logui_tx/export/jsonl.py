"""JSON Lines: one record a line, the event's bytes as the client sent them.

Made for speed: what a message's records have in common is put together once, and the client's own text is
spliced in, never read and written anew.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import count
from typing import BinaryIO

import msgspec
from attrs import evolve

from logui_tx.dialects.times import to_iso_8601
from logui_tx.export.records import Selection, Tally, events_of
from logui_tx.export.text import one_line
from logui_tx.journal.reader import StoredMessage

_encode = msgspec.json.encode


def write(selection: Selection, file: BinaryIO, tally: Tally) -> None:
    """Write the selection's records. Raises :class:`JournalError`, and OSError from the file."""
    identity = selection.reader.identity
    for message in selection.messages():
        file.write(lines(message, identity.at(message.segment)))
        tally.wrote(message)


def lines(message: StoredMessage, journal_id: str) -> bytes:
    """A message's records, each on a line of its own with its end."""
    events = events_of(message)
    templates = {
        own: _templates(message if own is None else evolve(message, app_data=own), journal_id)
        for own in {event.app_data for event in events}
    }
    places = zip(count(message.first_event), count(message.first_seq), events, strict=False)
    return b"".join(
        [
            templates[event.app_data][1] % (place, seq, event.raw)
            if event.client_time is None
            else templates[event.app_data][0] % (place, seq, event.client_time, event.raw)
            for place, seq, event in places
        ]
    )


def _templates(message: StoredMessage, journal_id: str) -> tuple[bytes, bytes]:
    """Records with a client time and without, still to be given place, seq, the time, and the event."""
    session = message.session
    ids = _ids(session.application_id, session.flight_id, session.id)
    rest = _rest(message.clock_offset, session.dialect, message.app_data)
    received = to_iso_8601(message.received).encode()
    head = b'{"recordID":"%b-%d-%%d%b%%d,"receivedAt":"%b","clientTime":' % (
        journal_id.encode(),
        message.segment,
        ids,
        received,
    )
    return head + b"%d" + rest, head + b"null" + rest


# What the messages of a session have in common, one behind the other: nearly always the same as before.


@lru_cache(1)
def _ids(application_id: str, flight_id: str, session_id: str) -> bytes:
    texts = (_encode(application_id), _encode(flight_id), _encode(session_id))
    return _literal(b'","applicationID":%b,"flightID":%b,"sessionID":%b,"seq":' % texts)


@lru_cache(1)
def _rest(clock_offset: int | None, dialect: str, app_data: bytes) -> bytes:
    values = (_encode(clock_offset), _encode(dialect), one_line(app_data))
    return _literal(b',"clockOffset":%b,"dialect":%b,"appSpecificLogData":%b,"event":' % values) + b"%b}\n"


def _literal(text: bytes) -> bytes:
    """For a template: as it is."""
    return text.replace(b"%", b"%%")
