"""Events as the rows of a COPY: its text format, in which a tab ends a column, a line feed a row, and what
would be one of these stands behind a backslash (PostgreSQL's manual, COPY, *Text Format*)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from logui_tx.model import SinkBatch

_NULL = b"\\N"
_ESCAPES = ((b"\\", b"\\\\"), (b"\t", b"\\t"), (b"\n", b"\\n"), (b"\r", b"\\r"))


def copy_rows(batch: SinkBatch, jsonb: Callable[[bytes], str]) -> bytes:
    """The batch's events, in the order of the stage's columns; ``jsonb`` makes what a jsonb takes."""
    journal_id = escaped(batch.journal_id)
    # Most records of a batch share what is in force.
    app_data = {one: escaped(jsonb(one)) for one in {record.app_data for record in batch.records}}
    pieces: list[bytes] = []
    for record in batch.records:
        at = record.position
        head = b"%b\t%d\t%d\t%b\t%d\t%b\t%b\t%b\t%b\t" % (
            journal_id,
            at.segment,
            at.event,
            _ids(record.application_id, record.flight_id, record.session_id),
            record.seq,
            _received(record.received_at),
            _NULL if record.client_time is None else b"%d" % record.client_time,
            _told(record.clock_offset, record.dialect),
            app_data[record.app_data],
        )
        written, text = jsonb(record.event), record.event.decode("utf-8", "replace")
        event_text = escaped(text)
        # Nearly always the two are the same.
        pieces += (head, event_text if written == text else escaped(written), b"\t", event_text, b"\n")
    return b"".join(pieces)


def escaped(text: str) -> bytes:
    """A column's value."""
    written = text.encode()
    for special, instead in _ESCAPES:
        if special in written:
            written = written.replace(special, instead)
    return written


# What records have in common, one behind the other.

_received = lru_cache(1)(escaped)


@lru_cache(1)
def _ids(*ids: str) -> bytes:
    return b"\t".join(map(escaped, ids))


@lru_cache(1)
def _told(clock_offset: int | None, dialect: str) -> bytes:
    return b"%b\t%b" % (_NULL if clock_offset is None else b"%d" % clock_offset, escaped(dialect))
