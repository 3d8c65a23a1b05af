"""CSV: what a spreadsheet and pandas read is what was sent."""

import csv
import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas
from hypothesis import given
from hypothesis import strategies as st

from logui_tx.export import csv_file
from logui_tx.export.csv_file import cell, flatten
from logui_tx.export.records import Selection, Tally
from logui_tx.records import FIELDS
from tests.journals import NOW, made_journal, reading
from tests.test_export_records import ExportTestCase, names, unhurried, values


def write(selection: Selection, max_columns: int = csv_file.MAX_COLUMNS, tally: Tally | None = None) -> bytes:
    file = io.BytesIO()
    csv_file.write(selection, file, tally or Tally(), max_columns)
    return file.getvalue()


def read(text: bytes) -> list[dict[str, str]]:
    rows = list(csv.reader(io.StringIO(text.decode(), newline=""), strict=True))
    return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]


def written(value: object) -> bytes:
    return json.dumps(value).encode()


class FlattenTests(ExportTestCase):
    def test_paths(self) -> None:
        event = b'{"a":1.50,"b":{"c":"x","d":{"e":null}},"f":[1, {"g":2}],"h":{},"":0}'
        self.assertEqual(
            flatten(event),
            {
                "event.a": b"1.50",
                "event.b.c": b'"x"',
                "event.b.d.e": b"null",
                "event.f": b'[1, {"g":2}]',
                "event.h": b"{}",
                "event.": b"0",
            },
        )

    def test_dots_in_names_are_no_paths(self) -> None:
        names = list(flatten(b'{"a.b":1,"a":{"b":2},"a\\\\.b":3,"a\\\\":{"b":4}}'))
        self.assertEqual(names, ["event.a\\.b", "event.a.b", "event.a\\\\\\.b", "event.a\\\\.b"])

    def test_deep_nesting_stays_json(self) -> None:
        found = flatten(b'{"x":' * 400 + b"1" + b"}" * 400)
        ((name, value),) = found.items()
        self.assertEqual(name, "event" + ".x" * (csv_file.MAX_DEPTH + 1))
        self.assertEqual(value.count(b"{"), 399 - csv_file.MAX_DEPTH)
        self.assertEqual(value.count(b"}"), value.count(b"{"))

    def test_long_names_do_not_multiply(self) -> None:
        """Many members under one long name must not each hold it."""
        event = {"k" * 100_000: {str(n): {"a": n} for n in range(1000)}}
        found = flatten(written(event))
        self.assertLess(sum(map(len, found)), 200_000)


class CellTests(ExportTestCase):
    def test_formulas_are_defused(self) -> None:
        for text in [
            "=1+1",
            "+1",
            "-1",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            "\n=1",
            " =1",
            "\u3000-1",
            "\uff1d1",
            "-",
        ]:
            self.assertEqual(cell(written(text)), "'" + text)

    def test_what_is_no_formula_stays(self) -> None:
        for text in ["", "a=1", "x-1", "1-2", "'", " a", "é", '"=1"']:
            self.assertEqual(cell(written(text)), text)

    def test_numbers_stay_as_they_are_written(self) -> None:
        for number in [b"-1", b"-4.50", b"-0", b"1e400", b"-1E-7", b"12345678901234567890"]:
            self.assertEqual(cell(number), number.decode())

    def test_others(self) -> None:
        self.assertEqual([cell(value) for value in (b"null", b"true", b"false")], ["", "true", "false"])
        self.assertEqual(cell(b'[1, "\\ud83d"]'), '[1, "\\ud83d"]')

    def test_what_no_file_can_hold(self) -> None:
        self.assertEqual(cell(b'"a\\u0000b\\ud83d"'), "a\\u0000b\\ud83d")
        self.assertEqual(cell(b'"\\ud83d\\ude00"'), "\U0001f600")


class FileTests(ExportTestCase):
    def test_a_file(self) -> None:
        session = self.journal.session("s", app_data=b'{"user":"u"}')
        session.send(b'{"clientDateTime":1760000000,"pos":{"x":-1.50},"say":"a \\"b\\",\\nc"}')
        session.clock_offset = None
        session.send(b'{"clientDateTime":1760000000,"say":"=1"}')
        self.journal.commit()
        selection = self.select()
        head, *lines = write(selection).split(b"\r\n")
        self.assertEqual(
            head.decode().split(","), [*FIELDS, "event.clientDateTime", "event.pos.x", "event.say"]
        )
        self.assertEqual(
            lines[0].decode(),
            f"{selection.reader.identity.current}-1-0,application,flight,s,1,2025-10-09T08:53:22.000Z,1760000000000,"
            '7,logui-0.4,"{""user"":""u""}","{""clientDateTime"":1760000000,""pos"":{""x"":-1.50},'
            '""say"":""a \\""b\\"",\\nc""}",1760000000,-1.50,"a ""b"",\nc"',
        )
        self.assertTrue(lines[1].endswith(b",1760000000,,'=1"), lines[1])
        self.assertEqual(read(write(selection))[1]["clockOffset"], "")
        self.assertEqual(lines[2:], [b""], "the last line ends, too")

    def test_no_more_columns_than_allowed(self) -> None:
        session = self.journal.session("s")
        for n in range(5):
            session.send({"clientDateTime": NOW, f"k{n}": n})
        self.journal.commit()
        for most, left in [(0, True), (3, True), (5, True), (6, False)]:
            tally = Tally()
            rows = read(write(self.select(), most, tally))
            self.assertEqual(len(rows[0]), len(FIELDS) + most)
            self.assertEqual(bool(tally.notes), left, most)
            self.assertEqual(
                [json.loads(row["event"])[f"k{n}"] for n, row in enumerate(rows)], list(range(5))
            )
            if left:
                self.assertIn(f"at most {most}", tally.notes[0])

    def test_long_names_get_no_column(self) -> None:
        self.journal.session("s").send({"clientDateTime": NOW, "k" * 1000: 1})
        self.journal.commit()
        tally = Tally()
        (row,) = read(write(self.select(), tally=tally))
        self.assertEqual(list(row), [*FIELDS, "event.clientDateTime"])
        self.assertEqual(len(tally.notes), 1)

    def test_the_second_pass_sees_what_the_first_saw(self) -> None:
        session = self.journal.session("s").send(1)
        self.journal.commit()
        told: list[int] = []

        def between(events: int) -> None:
            if not told:
                session.send({"clientDateTime": NOW, "new": 1})
                self.journal.commit()
            told.append(events)

        tally = Tally(between)
        (row,) = read(write(self.select(), tally=tally))
        self.assertEqual(list(row), [*FIELDS, "event.clientDateTime", "event.n"])
        self.assertEqual(told, [1, 1])
        self.assertEqual((tally.events, tally.sessions), (1, 1))

    def test_nothing(self) -> None:
        self.assertEqual(write(self.select()), ",".join(FIELDS).encode() + b"\r\n")

    @unhurried
    @given(st.lists(st.dictionaries(names, values, max_size=4), max_size=5))
    def test_round_trip(self, events: list[dict[str, Any]]) -> None:
        events = [{**event, "clientDateTime": NOW} for event in events]
        with TemporaryDirectory() as folder, made_journal(Path(folder)) as journal:
            journal.session("s").send(*events)
            journal.commit()
            with reading(Path(folder)) as reader:
                text = write(Selection(reader, "flight", reader.snapshot()))
        rows = read(text)
        self.assertEqual([json.loads(row["event"]) for row in rows], events)
        for row, event in zip(rows, events, strict=True):
            flat = {name: cell(value) for name, value in flatten(written(event)).items()}
            self.assertEqual({name: row[name] for name in flat}, flat)
            for name in row.keys() - flat.keys() - set(FIELDS):
                self.assertEqual(row[name], "")
            for name, value in event.items():
                if isinstance(value, str) and name.isalnum() and value.isascii() and "\0" not in value:
                    self.assertEqual(row[f"event.{name}"].removeprefix("'"), value.removeprefix("'"))
        frame = pandas.read_csv(io.BytesIO(text), dtype=str, keep_default_na=False, na_filter=False)
        self.assertEqual([list(row.values()) for row in rows], frame.to_numpy().tolist())
