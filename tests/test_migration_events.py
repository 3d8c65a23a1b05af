"""An event of a download."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.errors import BadRequest
from logui_tx.migration.events import DIALECT, message, read_event
from tests.released_server import T, logged

APPLICATION = "f3e2cbb9-ffa0-401d-abd1-5bb52f5ce335"
FLIGHT = "091d2bc4-3cf0-4c3d-890c-3fedb06b0081"
SESSION = "5cdfc67b-52a7-4c14-b743-a2f999ba546e"


def entry(**more: Any) -> dict[str, Any]:
    return logged(APPLICATION, FLIGHT, SESSION, 1, **more)


def text(**more: Any) -> bytes:
    return json.dumps({**entry(), **more}).encode()


class EventTests(SynchronousTestCase):
    def test_an_event(self) -> None:
        written = text(applicationSpecificData={"a": 1})
        event = read_event(written)
        self.assertEqual(event.text, written)
        self.assertEqual((event.flight_id, event.session_id, event.time), (FLIGHT, SESSION, T + 1000))
        self.assertEqual((event.borne, event.updated, event.status), (b'{"a": 1}', False, ""))

    def test_status_events(self) -> None:
        for details, status, updated in [
            ({"type": "stopped"}, "stopped", False),
            ({"type": "applicationSpecificDataUpdated"}, "applicationSpecificDataUpdated", True),
            ({"type": 1}, "", False),
            ({}, "", False),
            (None, "", False),
            ("stopped", "", False),
        ]:
            event = read_event(text(eventType="statusEvent", eventDetails=details))
            self.assertEqual((event.status, event.updated), (status, updated), details)
        self.assertEqual(read_event(text(eventDetails={"type": "stopped"})).status, "")

    def test_the_id_of_mongoexport_is_left_out(self) -> None:
        plain = text()
        event = read_event(b'{"_id": {"$oid": "1"}, ' + plain[1:])
        self.assertEqual(json.loads(event.text), json.loads(plain))
        numbers = b'"eventDetails": {"n": 1.50, "_id": 12345678901234567890}'
        event = read_event(b'{"_id":1,' + plain[1:].replace(b'"eventDetails": {"n": 1}', numbers))
        self.assertIn(b'{"n": 1.50, "_id": 12345678901234567890}', event.text)

    def test_ids(self) -> None:
        for told, found in [
            (SESSION.upper(), SESSION),
            (None, None),
            (7, None),
            ("", None),
            ("<script>", None),
            (f"{{{SESSION}}}", None),
            (SESSION.replace("-", ""), None),
            ("x" * 36, None),
        ]:
            self.assertEqual(read_event(text(sessionID=told)).session_id, found, told)
            self.assertEqual(read_event(text(flightID=told)).flight_id, found, told)
        bare = entry()
        del bare["sessionID"], bare["flightID"]
        event = read_event(json.dumps(bare).encode())
        self.assertEqual((event.session_id, event.flight_id), (None, None))

    def test_what_is_no_event(self) -> None:
        for bad, why in [
            (b"{}", "eventType"),
            (text(eventType="other"), "eventType"),
            (text(timestamps={}), "eventTimestamp"),
            (text(timestamps={"eventTimestamp": "soon"}), "eventTimestamp"),
            (text(applicationSpecificData=[1]), "applicationSpecificData"),
            (b'{"a": NaN}', "not JSON"),
            (b'{"a": ]', "not JSON"),
            (text(eventDetails="?").replace(b"?", b"\xff"), "not JSON"),
            (b'{"a":' + b"[" * 600 + b"]" * 600 + b"}", "not JSON"),
            (text() + b"," + text(), "not JSON"),
        ]:
            error = self.assertRaises(BadRequest, read_event, bad)
            self.assertIn(why, str(error))
            self.assertNotIn("position", str(error))

    def test_lone_surrogates(self) -> None:
        written = text(eventDetails={"cut": "\ud83d"}, **{"\ud83d": 1})
        self.assertEqual(read_event(written).text, written)
        with_id = read_event(b'{"_id":1,' + written[1:])
        self.assertEqual(json.loads(with_id.text), json.loads(written))
        self.assertEqual(with_id.identity(), read_event(written).identity())

    def test_identity(self) -> None:
        """It does not hang on how the event was exported, but on what it is."""
        written = entry(eventDetails={"b": [2.5, {"d": None, "c": 1}], "a": 1})
        identity = read_event(json.dumps(written).encode()).identity()
        sorted_ = json.dumps({"_id": 1, **written}, sort_keys=True, separators=(",", ":")).encode()
        self.assertEqual(read_event(sorted_).identity(), identity)
        for change in (
            {"eventDetails": {"a": 1}},
            {"timestamps": {"eventTimestamp": T}},
            {"eventType": "browserEvent"},
        ):
            self.assertNotEqual(read_event(json.dumps({**written, **change}).encode()).identity(), identity)

    def test_together_they_are_a_message(self) -> None:
        items = [text(n=n) for n in range(3)]
        self.assertEqual([event.raw for event in DIALECT.events(message(items))], items)
        self.assertEqual(json.loads(message(items))["payload"]["length"], 3)

    @given(st.binary(max_size=80))
    def test_whatever_it_is(self, written: bytes) -> None:
        with self.assertRaises(BadRequest):
            read_event(b"{%b}" % written)
