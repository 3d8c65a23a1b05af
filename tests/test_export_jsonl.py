"""JSON Lines: exactly what the clients sent."""

import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from logui_tx.export import jsonl
from logui_tx.export.records import Selection, Tally
from logui_tx.records import FIELDS, record_json
from tests.journals import NOW, made_journal, reading
from tests.logui05 import ITEM, MARKER
from tests.logui05 import events as told
from tests.test_export_records import ExportTestCase, texts, unhurried, values


def write(selection: Selection, tally: Tally | None = None) -> bytes:
    file = io.BytesIO()
    jsonl.write(selection, file, tally or Tally())
    return file.getvalue()


def read(text: bytes) -> list[dict[str, Any]]:
    assert not text or text.endswith(b"\n")
    return [json.loads(line) for line in text.split(b"\n")[:-1]]


class JSONLinesTests(ExportTestCase):
    def test_a_line(self) -> None:
        """Byte for byte as DESIGN has it."""
        self.journal.session("s", app_data=b'{"100%":"%d"}').send(b'{"clientDateTime":1.76e9, "p":"%b%%"}')
        self.journal.commit()
        selection = self.select()
        expected = (
            '{"recordID":"ID-1-0","applicationID":"application","flightID":"flight","sessionID":"s","seq":1,'
            '"receivedAt":"2025-10-09T08:53:22.000Z","clientTime":1760000000000,"clockOffset":7,'
            '"dialect":"logui-0.4","appSpecificLogData":{"100%":"%d"},'
            '"event":{"clientDateTime":1.76e9, "p":"%b%%"}}\n'
        )
        self.assertEqual(
            write(selection).decode(), expected.replace("ID-", selection.reader.identity.current + "-")
        )
        self.assertEqual(tuple(json.loads(expected)), FIELDS)

    def test_agrees_with_the_records(self) -> None:
        """The quick way says the same as :func:`records`."""
        a, b = self.journal.session("a"), self.journal.session("b", app_data=b'{"x":1}')
        for n in range(5):
            a.send(n, n + 1)
            b.change(b'{"x":%d}' % n).send(b'{"clientDateTime":"2025-10-09 08:53:20"}', n)
            b.clock_offset = n if n % 2 else None
            if n % 2:
                self.journal.commit()
        self.journal.commit()
        expected = [record_json(record) + b"\n" for record in self.records()]
        self.assertEqual(len(expected), 5 * 4)
        self.assertEqual(write(self.select()), b"".join(expected))

    def test_large_application_data(self) -> None:
        """As it is with every event, it is not put together for all of them at once."""
        for size in (10, jsonl._AT_ONCE // 2):
            self.journal.session(f"s{size}", app_data=b'{"x":"%b"}' % (b"%" * size)).send(1, 2, 3)
        self.journal.commit()
        expected = [record_json(record) + b"\n" for record in self.records()]
        self.assertEqual(write(self.select()), b"".join(expected))

    def test_data_that_events_tell_themselves(self) -> None:
        """In LogUI 0.5: under the data of the message until a marker, under their own from there on."""
        sent = [{**each, "applicationSpecificData": {"n": "2%d"}} for each in (ITEM, MARKER, ITEM)]
        session = self.journal.session("s", dialect="logui-0.5", app_data=b'{"n":1}')
        session.send(*sent, message=json.dumps(told(*sent)).encode())
        self.journal.commit()
        lines = read(write(self.select()))
        self.assertEqual([line["appSpecificLogData"]["n"] for line in lines], [1, "2%d", "2%d"])
        self.assertEqual([line["event"] for line in lines], sent)
        self.assertEqual([json.loads(record.app_data)["n"] for record in self.records()], [1, "2%d", "2%d"])

    def test_line_breaks_and_ids_that_need_escapes(self) -> None:
        self.journal.session('"s"\n%d', app_data=b'{"a":\n1}').send(b'{\n"clientDateTime":\r1760000000}')
        self.journal.commit()
        (line,) = read(write(self.select()))
        self.assertEqual(line["sessionID"], '"s"\n%d')
        self.assertEqual(line["event"], {"clientDateTime": 1760000000})

    def test_nothing(self) -> None:
        self.journal.session("s").send()
        self.journal.commit()
        tally = Tally()
        self.assertEqual(write(self.select(), tally), b"")
        self.assertEqual((tally.events, tally.sessions), (0, 0))

    @unhurried
    @given(
        st.lists(st.lists(st.dictionaries(texts, values, max_size=4), max_size=3), max_size=4),
        st.sampled_from([None, 0, "\r\n"]),
        st.booleans(),
    )
    def test_the_events_are_what_was_sent(self, payloads: Any, indent: Any, ascii_only: bool) -> None:
        sent: list[dict[str, Any]] = []
        with TemporaryDirectory() as folder, made_journal(Path(folder)) as journal:
            session = journal.session("s")
            for payload in payloads:
                events = [{**event, "clientDateTime": NOW} for event in payload]
                texts = [json.dumps(event, indent=indent, ensure_ascii=ascii_only) for event in events]
                session.send(*(text.encode("utf-8", "backslashreplace") for text in texts))
                sent.extend(events)
            journal.commit()
            with reading(Path(folder)) as reader:
                lines = read(write(Selection(reader, "flight", reader.snapshot())))
        self.assertEqual([line["event"] for line in lines], sent)
        self.assertEqual([line["seq"] for line in lines], list(range(1, len(sent) + 1)))
        self.assertEqual([line["clientTime"] for line in lines], [NOW] * len(sent))
