"""The commands ``logui session list``, ``show`` and ``delete``."""

import json
from typing import Any

from logui_tx.cli import session as session_module
from logui_tx.journal import erase
from logui_tx.journal.reader import _PAGE
from logui_tx.journal.schema import FILE
from tests.journals import NOW
from tests.test_cli_export import ExportCommandTestCase

KEYS = [
    "id",
    "flightID",
    "applicationID",
    "dialect",
    "startedAt",
    "endedAt",
    "duration",
    "endReason",
    "events",
    "userAgent",
    "origin",
    "referrer",
    "device",
    "visitorID",
    "appSpecificLogData",
]
HOSTILE = "\x1b[31m\u202eé\n"


class ListTests(ExportCommandTestCase):
    def test_everything_that_is_known(self) -> None:
        made = self.journal.session(
            "s1",
            flight=self.flight["id"],
            application=self.application["id"],
            app_data=b'{"big":12345678901234567890123,"x":1.50}',
            user_agent="Agent",
            origin="https://example.org",
            referrer="https://example.com/",
            device='{"os":"Linux","browser":"Firefox"}',
            visitor_id="v",
        )
        made.send(1, 2).send(3).end("leavingPage")
        self.journal.commit()
        text = self.succeeds("session", "list", "--flight", "F", "--json")
        (found,) = json.loads(text)
        self.assertEqual(list(found), KEYS)
        self.assertEqual(
            found,
            {
                "id": "s1",
                "flightID": self.flight["id"],
                "applicationID": self.application["id"],
                "dialect": "logui-0.4",
                "startedAt": "2025-10-09T08:53:21.000Z",
                "endedAt": "2025-10-09T08:53:24.000Z",
                "duration": 3.0,
                "endReason": "leavingPage",
                "events": 3,
                "userAgent": "Agent",
                "origin": "https://example.org",
                "referrer": "https://example.com/",
                "device": {"os": "Linux", "browser": "Firefox"},
                "visitorID": "v",
                "appSpecificLogData": {"big": 12345678901234567890123, "x": 1.5},
            },
        )
        self.assertIn('"x":1.50', text, "numbers keep their digits")
        self.assertEqual(self.json("session", "show", "s1"), found)

    def test_an_open_session(self) -> None:
        self.log("s1", 1)
        (found,) = self.json("session", "list")
        for key in ("endedAt", "duration", "endReason", "userAgent", "device", "visitorID"):
            self.assertIsNone(found[key])
        self.assertEqual(found["appSpecificLogData"], {})
        self.assertIn("open", self.succeeds("session", "list"))

    def test_of_a_flight(self) -> None:
        self.log("s1", 1)
        self.journal.session("s2", flight="other")
        self.journal.commit()

        def ids(*arguments: str) -> list[str]:
            return [found["id"] for found in self.json("session", "list", *arguments)]

        self.assertEqual(ids(), ["s1", "s2"])
        self.assertEqual(ids("--flight", "F"), ["s1"])
        self.assertEqual(ids("--flight", self.flight["id"]), ["s1"])
        self.assertEqual(ids("--flight", "other"), ["s2"], "a flight that was deleted")
        self.assertIn("no flight", self.fails("session", "list", "--flight", "none"))
        self.assertIn("other", self.succeeds("session", "list"), "of all flights: which one")
        self.assertNotIn(self.flight["id"], self.succeeds("session", "list", "--flight", "F"))

    def test_none(self) -> None:
        self.assertEqual(self.json("session", "list"), [])
        self.assertIn("no sessions yet", self.succeeds("session", "list", "--flight", "F"))

    def test_printed_as_they_are_read(self) -> None:
        """The first are out before the last are asked for."""
        for n in range(_PAGE + 1):
            self.journal.session(f"s{n}")
        self.journal.commit()
        shown: list[str] = []
        self.patch(session_module.click, "echo", lambda text="", **more: shown.append(text))
        written: list[int] = []
        clip = session_module.to_json

        def to_json(session: Any) -> str:
            written.append(len(shown))
            return clip(session)

        self.patch(session_module, "to_json", to_json)
        self.invoke("session", "list", "--json")
        self.assertEqual(written, list(range(_PAGE + 1)))
        self.assertEqual(len(json.loads("".join(shown).replace("\n", ""))), _PAGE + 1)

    def test_hostile_texts(self) -> None:
        more = dict.fromkeys(["user_agent", "origin", "referrer", "device", "visitor_id"], HOSTILE)
        data = json.dumps({HOSTILE: "\x9b"}, ensure_ascii=False).encode()
        self.journal.session("s1", app_data=data, dialect=HOSTILE, **more)
        self.journal.commit()
        for arguments in (["list"], ["list", "--json"], ["show", "s1"], ["show", "s1", "--json"]):
            text = self.succeeds("session", *arguments)
            for bad in "\x1b\x9b\u202e":
                self.assertNotIn(bad, text, arguments)
        (found,) = self.json("session", "list")
        self.assertEqual((found["userAgent"], found["appSpecificLogData"]), (HOSTILE, {HOSTILE: "\x9b"}))
        self.assertEqual(found["device"], HOSTILE)


class ShowTests(ExportCommandTestCase):
    def test_for_people(self) -> None:
        self.journal.session("s1", app_data=b'{"k":1}').send(1)
        self.journal.commit()
        self.journal.now += 3_723_000
        self.log("s2", 1)
        text = self.succeeds("session", "show", "s1")
        for part in ("s1", "it is open", '{"k":1}', "1 to 1", "1 in "):
            self.assertIn(part, text)

    def test_duration(self) -> None:
        session = self.journal.session("s1")
        self.journal.now += 3_722_000
        session.end()
        self.journal.commit()
        self.assertIn("1:02:03", self.succeeds("session", "show", "s1"))
        self.assertIn("none", self.succeeds("session", "show", "s1").replace("1 to 1", "none"))

    def test_unknown(self) -> None:
        for wrong in ("s9", "", "a\udcff", "\x1b[31m"):
            error = self.fails("session", "show", wrong)
            self.assertIn("no session", error)
            self.assertNotIn("\x1b", error)


class DeleteTests(ExportCommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.journal.session("s1", flight=self.flight["id"]).send(
            {"clientDateTime": NOW, "x": "SECRET"}
        ).end()
        self.log("s2", 2)

    def ids(self) -> list[str]:
        return [line["sessionID"] for line in self.lines()]

    def test_it_asks(self) -> None:
        refused = self.invoke("session", "delete", "s1", stdin="n\n")
        self.assertEqual(refused.exit_code, 1)
        self.assertIn("1 events", refused.stderr)
        self.assertEqual(self.ids(), ["s1", "s2"])
        self.succeeds("session", "delete", "s1", stdin="y\n")
        self.assertEqual(self.ids(), ["s2"])

    def test_unasked(self) -> None:
        before = self.json("session", "show", "s1")
        ids = [line["recordID"] for line in self.lines("--session", "s2")]
        self.assertEqual(self.json("session", "delete", "s1", "--yes"), before)
        self.assertIn("no session", self.fails("session", "show", "s1"))
        self.assertIn("no session", self.fails("session", "delete", "s1", "--yes"))
        self.assertEqual([line["recordID"] for line in self.lines()], ids)

    def test_an_open_session(self) -> None:
        self.assertIn("is open", self.fails("session", "delete", "s2", "--yes"))
        self.assertEqual(self.ids(), ["s1", "s2"])

    def test_copies_that_stay_are_told(self) -> None:
        self.patch(erase, "_wipe_log", lambda connection: False)
        result = self.invoke("session", "delete", "s1", "--yes")
        self.assertEqual(result.exit_code, 0)
        self.assertIn(f"{FILE}-wal", result.stderr)
