"""Events as the rows of a COPY in its binary format, which neither end has to search for what is special
(PostgreSQL's manual, COPY, *Binary Format*; a column's value is what its type's ``_recv`` takes)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from uuid import UUID

from logui_tx.errors import RecordsRefused
from logui_tx.model import Record, SinkBatch
from logui_tx.sinks.jsonb import holdable

_START = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END = struct.pack(">h", -1)

_ROWS = 100
_COLUMNS = 14
# A column is its length and its value; what has none is the length -1.
_PLACE = struct.Struct(">h i16s iq ii").pack
_BIGINT = struct.Struct(">iq").pack
_LENGTH = struct.Struct(">i").pack
_JSONB = struct.Struct(">iB").pack
_NULL = _LENGTH(-1)
_JSONB_VERSION = 1

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_EPOCH_MS = 946_684_800_000
# What is far from any calendar of PostgreSQL's has no time.
_FIRST_MS, _LAST_MS = -210_000_000_000_000, 9_000_000_000_000_000


def copy_rows(batch: SinkBatch, jsonb: Callable[[bytes], str]) -> Iterator[bytes]:
    """The batch's events, in the order of the stage's columns; ``jsonb`` makes what a jsonb takes.

    In pieces, so that the server reads one while the next is made. Raises :class:`RecordsRefused` where a
    step has made of a number or a time what is none.
    """
    yield _START
    journal_id = UUID(batch.journal_id).bytes
    # Most records of a batch share what is in force.
    app_data = {one: _jsonb(jsonb(one)) for one in {record.app_data for record in batch.records}}
    try:
        for at in range(0, len(batch.records), _ROWS):
            yield _rows(batch.records[at : at + _ROWS], journal_id, app_data, jsonb)
    except struct.error:
        raise RecordsRefused("seq or clockOffset is no whole number of 64 bits") from None
    yield _END


def _rows(
    records: Sequence[Record],
    journal_id: bytes,
    app_data: Mapping[bytes, bytes],
    jsonb: Callable[[bytes], str],
) -> bytes:
    pieces: list[bytes] = []
    for record in records:
        at = record.position
        event = record.event
        text = event if event.isascii() else event.decode("utf-8", "replace").encode()
        pieces += (
            _PLACE(_COLUMNS, 16, journal_id, 8, at.segment, 4, at.event),
            _ids(record.application_id, record.flight_id, record.session_id),
            _BIGINT(8, record.seq),
            _received(record.received_at),
            _client_time(record.client_time),
            _told(record.clock_offset, record.dialect),
            app_data[record.app_data],
            _jsonb(jsonb(event)),
            _LENGTH(len(text)),
            text,
        )
    return b"".join(pieces)


def _text(text: str) -> bytes:
    written = holdable(text).encode()
    return _LENGTH(len(written)) + written


def _jsonb(text: str) -> bytes:
    written = text.encode()
    return _JSONB(len(written) + 1, _JSONB_VERSION) + written


def _client_time(ms: int | None) -> bytes:
    """UNIX ms as microseconds from 2000 on."""
    if ms is None or not _FIRST_MS <= ms <= _LAST_MS:
        return _NULL
    return _BIGINT(8, (ms - _EPOCH_MS) * 1000)


# What records have in common, one behind the other.


@lru_cache(1)
def _received(iso_8601: str) -> bytes:
    try:
        received = datetime.fromisoformat(iso_8601)
    except ValueError:
        raise RecordsRefused("receivedAt is no time in ISO 8601") from None
    if received.tzinfo is None:
        received = received.replace(tzinfo=UTC)
    return _BIGINT(8, (received - _EPOCH) // timedelta(microseconds=1))


@lru_cache(1)
def _ids(*ids: str) -> bytes:
    return b"".join(map(_text, ids))


@lru_cache(1)
def _told(clock_offset: int | None, dialect: str) -> bytes:
    offset = _NULL if clock_offset is None else _BIGINT(8, clock_offset)
    return offset + _text(dialect)
