"""CSV (RFC 4180, UTF-8) for spreadsheets and statistics: a row an event, a column a member of it.

Columns are the fields of a record, with ``appSpecificLogData`` and ``event`` as JSON, then a column
``event.<path>`` for each member of the events: nested objects with dots (a dot or a backslash within a name
is written behind a backslash), arrays as JSON. Which members there are is found in a first pass.

A text that a spreadsheet would run as a formula gets a ``'`` in front; JSON numbers stay as they are written.
NUL and lone surrogates, which a CSV file cannot hold, stay as their JSON escapes; ``null`` is an empty cell.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import BinaryIO

import msgspec

from logui_tx.dialects import json_text
from logui_tx.dialects.json_text import BadJSON
from logui_tx.export.records import Selection, Tally, columns_of, records
from logui_tx.model import Record
from logui_tx.records import FIELDS

MAX_COLUMNS = 500
MAX_DEPTH = 16
"""Objects nested deeper than this stay JSON."""
MAX_NAME = 200
"""A member with a longer path gets no column."""

# As OWASP's "CSV Injection" lists them; spaces in front do not stop every spreadsheet.
_FORMULA = re.compile(r"\s*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_UNWRITABLE = re.compile("[\0\ud800-\udfff]")
_SPECIAL = re.compile(r"[.\\]")


def write(selection: Selection, file: BinaryIO, tally: Tally, max_columns: int = MAX_COLUMNS) -> None:
    """Write the selection, which is read twice. Raises :class:`JournalError`, and OSError from the file.

    Of the events' members ``max_columns`` at most get a column; a note in the tally tells where there are
    more.
    """
    columns, complete = _columns(selection, tally, max_columns)
    if not complete:
        tally.notes.append(
            f"not every member of the events has a column of its own (at most {max_columns} have, "
            f"with names of at most {MAX_NAME} characters): the rest stands in the column event"
        )
    rows = csv.writer(_Encoded(file), lineterminator="\r\n")
    rows.writerow([*FIELDS, *columns])
    identity = selection.reader.identity
    for message in selection.messages():
        found = records(message, identity.at(message.segment))
        rows.writerows(_row(record, columns) for record in found)
        tally.wrote(message)


def flatten(event: bytes) -> dict[str, bytes]:
    """An event's members as they were written, by the names of their columns."""
    found: dict[str, bytes] = {}
    _flatten(event, "event", 0, found)
    return found


def cell(written: bytes) -> str:
    """A JSON value as a cell shows it."""
    if written[:1] == b'"':
        return safe(_string(written))
    if written == b"null":
        return ""
    # Neither a number nor a JSON text between brackets is ever a formula, and JSON holds no raw NUL.
    return written.decode("utf-8", "backslashreplace")


def safe(text: str) -> str:
    """A text that no spreadsheet runs."""
    return plain(f"'{text}" if _FORMULA.match(text) else text)


def plain(text: str) -> str:
    """A text that UTF-8 and CSV can hold."""
    return _UNWRITABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


class _Encoded:
    """What the csv module writes to: text in, UTF-8 out."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        self._file.write(text.encode())


def _columns(selection: Selection, tally: Tally, most: int) -> tuple[list[str], bool]:
    """The members' columns in the order in which they turn up; False with it where some are left out."""
    columns: dict[str, None] = {}
    complete = True
    for message in selection.messages():
        for raw in columns_of(message).raw:
            for name in flatten(bytes(raw)):
                if name in columns:
                    continue
                if len(columns) < most and len(name) <= MAX_NAME:
                    columns[name] = None
                else:
                    complete = False
        tally.read(message)
    return list(columns), complete


def _row(record: Record, columns: Iterable[str]) -> list[object]:
    members = flatten(record.event)
    return [
        record.record_id,
        safe(record.application_id),
        safe(record.flight_id),
        safe(record.session_id),
        record.seq,
        record.received_at,
        record.client_time,
        record.clock_offset,
        safe(record.dialect),
        cell(record.app_data),
        cell(record.event),
        *(cell(members[name]) if name in members else "" for name in columns),
    ]


def _flatten(written: bytes, path: str, depth: int, found: dict[str, bytes]) -> None:
    try:
        members = json_text.members(written)
    except BadJSON:  # never of an event that was stored
        members = {}
    if depth > MAX_DEPTH or (depth and not members):
        found[path] = written
        return
    for key, value in members.items():
        name = _known_name(path, key) if len(path) + len(key) <= MAX_NAME else _name(path, key)
        # Under a name too long for a column all others would be, too: a million of them, if someone likes.
        if value[:1] == b"{" and len(name) <= MAX_NAME:
            _flatten(value, name, depth + 1, found)
        else:
            found[name] = value


def _name(path: str, key: str) -> str:
    return f"{path}.{plain(_SPECIAL.sub(_escape, key))}"


_known_name = lru_cache(4096)(_name)


def _escape(match: re.Match[str]) -> str:
    return f"\\{match[0]}"


def _string(written: bytes) -> str:
    try:
        return msgspec.json.decode(written, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text: str = json.loads(written.decode("utf-8", "backslashreplace"))  # lone surrogates
        return text
