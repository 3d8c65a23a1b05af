import json
import struct
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.errors import RecordsRefused
from logui_tx.model import Position, SinkBatch
from logui_tx.sinks.jsonb import as_jsonb, as_string, holdable
from logui_tx.sinks.postgresql_rows import copy_rows
from logui_tx.testing.sink_contract import HOSTILE, JOURNAL, make_batch, make_record

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_2000 = 946_684_800_000


def rows_of(batch: SinkBatch, jsonb=as_jsonb) -> list[list[bytes | None]]:
    """The columns of each row, read as the manual has it."""
    text = b"".join(copy_rows(batch, jsonb))
    assert text.startswith(_HEADER)
    at = len(_HEADER)
    rows = []
    while True:
        (columns,) = struct.unpack_from(">h", text, at)
        at += 2
        if columns == -1:
            assert at == len(text)
            return rows
        row: list[bytes | None] = []
        for _ in range(columns):
            (length,) = struct.unpack_from(">i", text, at)
            at += 4
            row.append(None if length == -1 else text[at : at + length])
            at += max(0, length)
        rows.append(row)


def number(column: bytes | None) -> int:
    assert column is not None
    return int.from_bytes(column, signed=True)


class RowTests(SynchronousTestCase):
    def test_every_column(self) -> None:
        record = replace(
            make_record(7, "s\t7é", event=b'{"a":"\\n\\\\",\t"b":"\xc3\xa9"}', position=Position(3, 9)),
            application_id="a\\N",
            client_time=-5,
            clock_offset=None,
            received_at="2026-11-22T10:00:00.250Z",
        )
        (row,) = rows_of(make_batch([record]))
        self.assertEqual(
            row[:6],
            [
                *(UUID(JOURNAL).bytes, (3).to_bytes(8), (9).to_bytes(4)),
                *(b"a\\N", record.flight_id.encode(), "s\t7é".encode()),
            ],
        )
        self.assertEqual(number(row[6]), 7)
        self.assertEqual(number(row[7]), (1_795_341_600_250 - _2000) * 1000)
        self.assertEqual(number(row[8]), (-5 - _2000) * 1000)
        self.assertEqual([len(column or b"") for column in row[6:9]], [8, 8, 8])
        self.assertEqual(
            row[9:],
            [None, *(record.dialect.encode(), b"\1" + record.app_data), b"\1" + record.event, record.event],
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
        rows = rows_of(make_batch(records))
        self.assertEqual(rows, [rows_of(make_batch([record]))[0] for record in records])
        self.assertEqual(len({tuple(row) for row in rows}), len(others) + 1)

    def test_hostile_events(self) -> None:
        records = [make_record(n, event=event) for n, event in enumerate([*HOSTILE, b'"\xff"'], 1)]
        for jsonb in (as_jsonb, as_string):
            for record, row in zip(records, rows_of(make_batch(records), jsonb), strict=True):
                text = record.event.decode("utf-8", "replace").encode()
                self.assertEqual(row[-2:], [b"\1" + jsonb(record.event).encode(), text])
                json.loads((row[-2] or b"")[1:])

    def test_what_is_no_number_or_time(self) -> None:
        for name, value in (("seq", 1 << 63), ("clock_offset", -1 << 70), ("received_at", "yesterday")):
            with self.assertRaises(RecordsRefused) as caught:
                list(copy_rows(make_batch([replace(make_record(1), **{name: value})]), as_jsonb))
            self.assertIn(name.replace("_offset", "Offset").replace("_at", "At"), str(caught.exception))

    def test_without_a_zone_it_is_utc(self) -> None:
        times = ["2026-11-22T10:00:00Z", "2026-11-22T10:00:00", "2026-11-22T11:00:00+01:00"]
        rows = [rows_of(make_batch([replace(make_record(1), received_at=time)]))[0] for time in times]
        self.assertEqual({row[7] for row in rows}, {rows[0][7]})

    def test_times_beyond_its_calendar(self) -> None:
        for time in (None, -1 << 63, -210_000_000_000_001, 9_000_000_000_000_001, 1 << 80):
            (row,) = rows_of(make_batch([replace(make_record(1), client_time=time)]))
            self.assertIsNone(row[8])
        for time in (-210_000_000_000_000, 9_000_000_000_000_000):
            (row,) = rows_of(make_batch([replace(make_record(1), client_time=time)]))
            self.assertEqual(number(row[8]), (time - _2000) * 1000)

    @given(st.text(st.characters()), st.binary())
    def test_any_text(self, text: str, event: bytes) -> None:
        record = replace(make_record(1, text, event=event), dialect=text, flight_id=text)
        (row,) = rows_of(make_batch([record]), as_string)
        self.assertEqual([row[4], row[5], row[10]], [holdable(text).encode()] * 3)
        self.assertEqual(row[13], event.decode("utf-8", "replace").encode())
