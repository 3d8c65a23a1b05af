import json

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.model import Position
from logui_tx.sinks.jsonb import as_jsonb, as_string
from logui_tx.sinks.postgresql_rows import copy_rows, escaped
from logui_tx.testing.sink_contract import HOSTILE, JOURNAL, make_batch, make_record

_MEANT = {"t": "\t", "n": "\n", "r": "\r", "\\": "\\"}


def columns(row: bytes) -> list[str | None]:
    """A row's values, as PostgreSQL reads them."""
    return [None if value == b"\\N" else unescaped(value.decode()) for value in row.split(b"\t")]


def unescaped(value: str) -> str:
    pieces = iter(value.split("\\"))
    found = next(pieces)
    for piece in pieces:
        # Two backslashes have nothing between them.
        found += "\\" + next(pieces) if not piece else _MEANT[piece[0]] + piece[1:]
    return found


class RowTests(SynchronousTestCase):
    def test_every_column(self) -> None:
        record = replace(
            make_record(7, "s\t7", event=b'{"a":"\\n\\\\",\t"b":"\xc3\xa9"}', position=Position(3, 9)),
            application_id="a\\N",
            client_time=-5,
            clock_offset=None,
        )
        (row,) = copy_rows(make_batch([record]), as_jsonb).splitlines()
        text = record.event.decode()
        self.assertEqual(
            columns(row),
            [
                *(JOURNAL, "3", "9", "a\\N", record.flight_id, "s\t7", "7", record.received_at),
                *("-5", None, record.dialect, record.app_data.decode(), text, text),
            ],
        )

    def test_neighbours_keep_their_own(self) -> None:
        first = make_record(1)
        others = {
            "session_id": "other",
            "received_at": "2026-11-23T00:00:00.000Z",
            "client_time": None,
            "clock_offset": -1,
            "dialect": "other",
            "app_data": b'{"other":1}',
            "event": b'{"other":2}',
        }
        records = [first, *(replace(first, **{name: value}) for name, value in others.items()), first]
        rows = copy_rows(make_batch(records), as_jsonb).splitlines()
        alone = [copy_rows(make_batch([record]), as_jsonb).strip() for record in records]
        self.assertEqual(rows, alone)
        self.assertEqual(len(set(rows)), len(others) + 1)

    def test_hostile_events(self) -> None:
        records = [make_record(n, event=event) for n, event in enumerate(HOSTILE, 1)]
        for jsonb in (as_jsonb, as_string):
            rows = copy_rows(make_batch(records), jsonb).splitlines()
            for record, row in zip(records, rows, strict=True):
                text = record.event.decode("utf-8", "replace")
                self.assertEqual(columns(row)[-2:], [jsonb(record.event), text])
                json.loads(columns(row)[-2] or "")

    @given(st.text(st.characters(exclude_categories=["Cs"])))
    def test_any_text(self, text: str) -> None:
        written = escaped(text)
        self.assertEqual(unescaped(written.decode()), text)
        for special in b"\t\n\r":
            self.assertNotIn(special, written)
