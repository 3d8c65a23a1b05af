"""JSON Lines: one record a line, the event's bytes as the client sent them.

Made for speed: what a message's records have in common is put together once, and the client's own text is
spliced in, never read and written anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import chain, count
from typing import BinaryIO

import msgspec

from logui_tx.dialects.times import to_iso_8601
from logui_tx.export.records import Selection, Tally, columns_of
from logui_tx.export.text import one_line
from logui_tx.journal.reader import StoredMessage
from logui_tx.model import EventColumns

_encode = msgspec.json.encode
_END = b"}\n"
_AT_ONCE = 256 * 1024
"""About the bytes that are written together: a message alone would be a call to the system."""


def write(selection: Selection, file: BinaryIO, tally: Tally) -> None:
    """Write the selection's records. Raises :class:`JournalError`, and OSError from the file."""
    identity = selection.reader.identity
    waiting: list[bytes | msgspec.Raw] = []
    messages: list[StoredMessage] = []

    def write_waiting() -> None:
        file.write(b"".join(waiting))
        for message in messages:
            tally.wrote(message)
        waiting.clear()
        messages.clear()

    size = 0
    for message in selection.messages():
        waiting += lines(message, identity.at(message.segment))
        messages.append(message)
        size += len(message.message) + message.count * len(message.app_data)
        if size >= _AT_ONCE:
            write_waiting()
            size = 0
    write_waiting()


def lines(message: StoredMessage, journal_id: str) -> list[bytes | msgspec.Raw]:
    """What, joined, is a message's records, each on a line of its own with its end."""
    events = columns_of(message)
    alike = events.app_data is None and None not in events.times
    if alike and message.count * len(message.app_data) < _AT_ONCE:
        template, _ = _templates(message, message.app_data, journal_id)
        values = zip(_places(message), count(message.first_seq), events.times, events.raw, strict=False)
        # All at once takes a third less than one by one.
        return [(template + b"%b}\n") * message.count % tuple(chain.from_iterable(values))]
    heads = _different_heads(message, events, journal_id)
    return [piece for head, raw in zip(heads, events.raw, strict=True) for piece in (head, raw, _END)]


def _different_heads(message: StoredMessage, events: EventColumns, journal_id: str) -> Iterator[bytes]:
    """What stands before each event, where not all have a time and the message's application data."""
    told = events.app_data or [None] * message.count
    templates = {
        own: _templates(message, message.app_data if own is None else own, journal_id) for own in set(told)
    }
    for place, seq, time, own in zip(_places(message), count(message.first_seq), events.times, told):
        timed, timeless = templates[own]
        yield timeless % (place, seq) if time is None else timed % (place, seq, time)


def _places(message: StoredMessage) -> range:
    return range(message.first_event, message.first_event + message.count)


def _templates(message: StoredMessage, app_data: bytes, journal_id: str) -> tuple[bytes, bytes]:
    """What stands before a record's event, where it has a client time and where not: still to be given place,
    seq and the time."""
    session = message.session
    ids = _ids(session.application_id, session.flight_id, session.id)
    rest = _rest(message.clock_offset, session.dialect, app_data)
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
    return _literal(b',"clockOffset":%b,"dialect":%b,"appSpecificLogData":%b,"event":' % values)


def _literal(text: bytes) -> bytes:
    """For a template: as it is."""
    return text.replace(b"%", b"%%")
