"""The array of the released LogUI server."""

import io
import json
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from logui_tx.export import logui
from logui_tx.export.records import Tally
from logui_tx.model import Record
from tests.journals import NOW
from tests.test_export_records import ExportTestCase, texts, unhurried, values


def record(event: bytes, **more: Any) -> Record:
    known = {
        "record_id": "r",
        "application_id": "a",
        "flight_id": "f",
        "session_id": "s",
        "seq": 1,
        "received_at": "",
        "client_time": NOW,
        "clock_offset": None,
        "dialect": "logui-0.4",
        "app_data": b'{"k":1.50}',
    }
    return Record(**{**known, **more}, event=event)


TIMES = '{"eventTimestamp":"2025-10-09T08:53:20.000Z"}'


class EntryTests(ExportTestCase):
    def test_logui_04(self) -> None:
        self.assertEqual(
            logui.entry(record(b'{"clientDateTime":1760000000.000, "x" : [1.10, -0, 1e400]}')).decode(),
            '{"clientDateTime":1760000000.000,"x":[1.10, -0, 1e400],"applicationSpecificData":{"k":1.50},'
            f'"timestamps":{TIMES},"sessionID":"s","applicationID":"a","flightID":"f"}}',
        )

    def test_what_the_event_brings_stays(self) -> None:
        event = (
            b'{"applicationSpecificData":{"own":1},"timestamps":{"eventTimestamp":"then"},"sessionID":null}'
        )
        entry = json.loads(logui.entry(record(event)))
        self.assertEqual(entry["applicationSpecificData"], {"own": 1})
        self.assertEqual(entry["timestamps"], {"eventTimestamp": "then"})
        self.assertEqual(entry["sessionID"], "s", "the server stamps its own")

    def test_since_the_session_began(self) -> None:
        stamps = json.loads(logui.entry(record(b"{}"), NOW - 1234))["timestamps"]
        self.assertEqual(stamps, {**json.loads(TIMES), "sinceSessionStartMillis": 1234})

    def test_what_was_in_force_stands_beside_what_was_sent(self) -> None:
        event = b'{"applicationSpecificData":{"k":2.0},"x":1}'
        for in_force, told in [(b'{"k":1.50}', [("appSpecificLogData", {"k": 1.5})]), (b'{"k":2.0}', [])]:
            entry = json.loads(
                logui.entry(record(event, dialect="logui-0.5", client_time=None, app_data=in_force))
            )
            added = [("sessionID", "s"), ("applicationID", "a"), ("flightID", "f")]
            self.assertEqual(list(entry.items()), [*json.loads(event).items(), *told, *added])

    def test_lone_surrogates(self) -> None:
        event = {"\ud83d": "\ude00", "é": 1}
        entry = json.loads(logui.entry(record(json.dumps(event).encode())))
        self.assertEqual({key: entry[key] for key in event}, event)

    def test_other_dialects(self) -> None:
        entry = json.loads(logui.entry(record(b'{"type":0}', dialect="kraken", client_time=None)))
        self.assertEqual(entry, {"type": 0, "sessionID": "s", "applicationID": "a", "flightID": "f"})

    @unhurried
    @given(st.dictionaries(texts, values, max_size=5))
    def test_any_event(self, event: dict[str, Any]) -> None:
        added = {
            "appSpecificLogData": {"k": 1.5},
            "sessionID": "s",
            "applicationID": "a",
            "flightID": "f",
        }
        text = logui.entry(record(json.dumps(event).encode(), dialect="logui-0.5"))
        self.assertEqual(json.loads(text), {"timestamps": json.loads(TIMES), **event, **added})


class ArrayTests(ExportTestCase):
    def write(self) -> bytes:
        file = io.BytesIO()
        self.tally = Tally()
        logui.write(self.select(), file, self.tally)
        return file.getvalue()

    def test_an_entry_a_line(self) -> None:
        for name in ("a", "b"):
            session = self.journal.session(name)
            session.send(1, b'{"clientDateTime":\n1760000000}')
            session.send()
            session.send(2)
        self.journal.commit()
        text = self.write()
        entries = json.loads(text)
        self.assertEqual([entry["sessionID"] for entry in entries], ["a"] * 3 + ["b"] * 3)
        self.assertEqual(text[:1] + text[-2:], b"[]\n")
        lines = re.split(b",\n", text[1:-2])
        self.assertEqual([json.loads(line) for line in lines], entries)
        self.assertEqual((self.tally.events, self.tally.sessions), (6, 2))

    def test_the_time_since_the_session_began(self) -> None:
        self.journal.session("s", client_started_at=NOW - 10).send(1)
        self.journal.commit()
        (entry,) = json.loads(self.write())
        self.assertEqual(entry["timestamps"]["sinceSessionStartMillis"], 11)

    def test_nothing(self) -> None:
        self.assertEqual(self.write(), b"[]\n")
        self.journal.session("s").send()
        self.journal.commit()
        self.assertEqual(self.write(), b"[]\n")
