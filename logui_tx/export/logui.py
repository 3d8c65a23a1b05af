"""The array that the released LogUI server lets people download: one object an event, an entry a line.

An entry is the event as it was sent, with the ids under which the server keeps it. Where the event does not
bring them, it gets ``timestamps`` and, in LogUI 0.4, ``applicationSpecificData``: what was in force. An item
of LogUI 0.5 says what the page's data was when it was sent; where something else was in force, that stands
beside it as ``appSpecificLogData``. Every value stays as the client wrote it, numbers to the last digit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO, cast

import msgspec
from attrs import define

from logui_tx.dialects import json_text
from logui_tx.dialects.times import to_iso_8601
from logui_tx.export.records import Selection, Tally, records
from logui_tx.model import Record

_BETWEEN = b",\n"


def write(selection: Selection, file: BinaryIO, tally: Tally) -> None:
    """Write the selection as one JSON array. Raises :class:`JournalError`, and OSError from the file."""
    write_array(selection, file, tally, entries)


def write_array(
    selection: Selection,
    file: BinaryIO,
    tally: Tally,
    write_entries: Callable[[Selection, BinaryIO, Tally], None],
) -> None:
    """As :func:`write`, the entries written by a function that does as :func:`entries` does."""
    array = _Array(file)
    write_entries(selection, cast(BinaryIO, array), tally)
    file.write(b"[]\n" if array.empty else b"]\n")


def entries(selection: Selection, file: BinaryIO, tally: Tally) -> None:
    """Write the selection's entries, each behind a comma. Raises as :func:`write`."""
    identity = selection.reader.identity
    for message in selection.messages():
        began = message.session.client_started_at
        found = records(message, identity.at(message.segment))
        file.write(b"".join(_BETWEEN + entry(record, began) for record in found))
        tally.wrote(message)


@define
class _Array:
    """A file in which the first comma is the array's bracket."""

    _file: BinaryIO
    empty: bool = True

    def write(self, text: bytes) -> None:
        if self.empty and text:
            self.empty = False
            text = b"[" + text.removeprefix(_BETWEEN)
        self._file.write(text)


def entry(record: Record, began: int | None = None) -> bytes:
    """One record as the array holds it. The server's ids win over what the event calls so.

    ``began`` is the session's start by the client's clock, in UNIX ms, where that is known.
    """
    members = json_text.members(record.event)
    if record.dialect == "logui-0.4":
        members.setdefault("applicationSpecificData", record.app_data)
    elif record.app_data != members.get("applicationSpecificData") and record.dialect == "logui-0.5":
        members["appSpecificLogData"] = record.app_data
    if record.client_time is not None and "timestamps" not in members:
        members["timestamps"] = _timestamps(record.client_time, began)
    members["sessionID"] = json_text.string(record.session_id)
    members["applicationID"] = json_text.string(record.application_id)
    members["flightID"] = json_text.string(record.flight_id)
    return json_text.joined(members.items())


def _timestamps(time: int, began: int | None) -> bytes:
    stamps: dict[str, str | int] = {"eventTimestamp": to_iso_8601(time)}
    if began is not None:
        stamps["sinceSessionStartMillis"] = time - began
    return msgspec.json.encode(stamps)
