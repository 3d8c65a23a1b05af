"""A released LogUI server's data, brought here by the command."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
from collections import Counter
from typing import Any

from logui_tx.dialects.times import to_iso_8601
from logui_tx.migration.sessions import session_of_the_rest
from tests.integration.imports import ImportTestCase
from tests.integration.process import BIN, logui_json
from tests.journals import reading
from tests.released_server import T, download, recorded, stamp


class EverythingTests(ImportTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.application = self.old.application("Study", at=T + 1)
        self.flight = self.old.flight(self.application, "Pilot", "127.0.0.1:8098", at=T + 2)
        self.resting = self.old.flight(self.application, "Resting", active=False, at=T + 3)
        self.entries, sessions = recorded(self.application, self.flight)
        self.sessions = list(sessions)
        for each, start in sessions.items():
            self.old.session(self.flight, start, made=each, agent=f"Agent of {each}")
        self.silent = self.old.session(self.resting, T, T + 5000)
        self.download = self.file(download(self.entries))

    def test_what_there_was_is_there(self) -> None:
        summary = self.bring(self.download)
        self.assertEqual(summary["applications"], {"imported": 1, "there": 0})
        self.assertEqual(summary["flights"], {"imported": 2, "there": 0})
        without = sum(entry["sessionID"] is None for entry in self.entries)
        self.assertEqual(
            summary["sessions"], {"imported": len(self.sessions) + 1, "there": 0, "fromEvents": 1}
        )
        self.assertEqual(
            summary["events"], {"imported": len(self.entries), "there": 0, "withoutSession": without}
        )
        self.assertEqual((summary["leftOut"], summary["faults"]), ([], []))
        self.assertEqual(
            logui_json(self.folder, "application", "list"), [{"id": self.application, "name": "Study"}]
        )
        flights = {each["id"]: each for each in logui_json(self.folder, "flight", "list")}
        self.assertEqual(set(flights), {self.flight, self.resting})
        self.assertEqual(flights[self.flight]["name"], "Pilot")
        self.assertEqual(flights[self.flight]["domains"], ["127.0.0.1:8098"])
        self.assertEqual([flights[self.flight]["active"], flights[self.resting]["active"]], [True, False])

    def downloaded(self) -> list[dict[str, Any]]:
        """As the old server does, without what it does not tell."""
        found = json.loads(self.export(self.flight))
        return [{key: each[key] for key in each if key != "appSpecificLogData"} for each in found]

    def test_each_event_comes_out_once_as_it_was(self) -> None:
        self.bring(self.download)
        rest = session_of_the_rest(self.flight)
        expected = [{**entry, "sessionID": entry["sessionID"] or rest} for entry in self.entries]
        exported = self.downloaded()
        for session in {*self.sessions, rest}:
            self.assertEqual(
                [each for each in exported if each["sessionID"] == session],
                [each for each in expected if each["sessionID"] == session],
            )
        self.assertEqual(len(exported), len(expected))
        records = self.events(self.flight)
        self.assertEqual(
            Counter(json.dumps(record["event"]) for record in records), Counter(map(json.dumps, self.entries))
        )
        numbers: dict[str, list[int]] = {}
        for record in records:
            numbers.setdefault(record["sessionID"], []).append(record["seq"])
            self.assertEqual(record["dialect"], "logui-0.5")
            self.assertEqual(
                to_iso_8601(record["clientTime"]), record["event"]["timestamps"]["eventTimestamp"]
            )
        for seen in numbers.values():
            self.assertEqual(seen, list(range(1, len(seen) + 1)))
        rows = list(csv.DictReader(io.StringIO(self.export(self.flight, "csv"))))
        self.assertEqual(len(rows), len(records))

    def test_the_data_in_force(self) -> None:
        """As where the conversation is said again (test_logui05_recorded.py)."""
        self.bring(self.download)
        changed = {
            entry["sessionID"]
            for entry in self.entries
            if "applicationSpecificDataUpdated" in json.dumps(entry)
        }
        (session,) = changed
        records = [record for record in self.events(self.flight) if record["sessionID"] == session]
        data = [record["appSpecificLogData"] for record in records]
        old, new = data[0], data[-1]
        self.assertEqual(data, [old] * 78 + [new] * 3)
        self.assertEqual([record["event"]["applicationSpecificData"] for record in records][70:], [new] * 11)
        self.assertNotEqual(old, new)

    def test_sessions(self) -> None:
        self.bring(self.download)
        (silent,) = logui_json(self.folder, "session", "list", "--flight", self.resting)
        self.assertEqual(silent["id"], self.silent)
        self.assertEqual(silent["startedAt"], stamp(T))
        self.assertEqual(
            (silent["endedAt"], silent["duration"], silent["endReason"]), (stamp(T + 5000), 5, "closed")
        )
        self.assertEqual(
            (silent["events"], silent["userAgent"], silent["dialect"]), (0, "Agent", "logui-0.5")
        )
        self.assertNotIn("192.0.2.1", json.dumps(silent))
        found = {each["id"]: each for each in logui_json(self.folder, "session", "list", "--flight", "Pilot")}
        for each in self.sessions:
            count = sum(entry["sessionID"] == each for entry in self.entries)
            self.assertEqual(found[each]["events"], count)
            self.assertEqual(found[each]["userAgent"], f"Agent of {each}")

    def test_again(self) -> None:
        self.bring(self.download)
        before = self.export(self.flight, "jsonl"), logui_json(self.folder, "session", "list")
        again = self.bring(self.download, self.download)
        self.assertEqual(again["applications"], {"imported": 0, "there": 1})
        self.assertEqual(again["flights"], {"imported": 0, "there": 2})
        self.assertEqual((again["sessions"]["imported"], again["events"]["imported"]), (0, 0))
        self.assertEqual(again["events"]["there"], 2 * len(self.entries))
        self.assertEqual(
            (self.export(self.flight, "jsonl"), logui_json(self.folder, "session", "list")), before
        )

    def test_the_old_server_went_on_after_the_first_import(self) -> None:
        self.bring(self.file(download(self.entries[:100]), "early.log"))
        late = self.bring(self.download)
        self.assertEqual(
            (late["events"]["imported"], late["events"]["there"]), (len(self.entries) - 100, 100)
        )
        came = self.downloaded()
        for session in self.sessions:
            self.assertEqual(
                [each for each in came if each["sessionID"] == session],
                [each for each in self.entries if each["sessionID"] == session],
            )

    def test_mongoexport(self) -> None:
        """One a line with _id, in another form: the same events as those of the download."""
        lines = [
            json.dumps({"_id": {"$oid": f"{n:024x}"}, **dict(sorted(entry.items()))}, separators=(",", ":"))
            for n, entry in enumerate(self.entries)
        ]
        self.bring(self.file("\n".join(lines) + "\n", "lines.json"))
        exported = json.loads(self.export(self.flight))
        self.assertEqual(len(exported), len(self.entries))
        self.assertFalse([each for each in exported if "_id" in each])
        array = self.file("[" + ",\n".join(lines) + "]\n", "array.json")
        for other in (array, self.download):
            self.assertEqual(self.bring(other)["events"]["imported"], 0, other.name)

    def test_killed_in_its_middle(self) -> None:
        """kill -9 when something, but not all, is on disk; then it goes on where it stood."""
        entries = self.entries * 30
        for at, entry in enumerate(entries):
            entries[at] = {**entry, "at": at}
        whole = download(entries).encode()
        pipe = self.place / "pipe"
        os.mkfifo(pipe)
        command = [str(BIN / "logui"), "--data-dir", str(self.folder), "import-logui"]
        process = subprocess.Popen([*command, "--database", self.old.uri, "--mongo-export", str(pipe)])
        try:
            with pipe.open("wb", buffering=0) as feeding:
                feeding.write(whole[: len(whole) * 2 // 3])
                while not self.stored():
                    self.assertIsNone(process.poll())
        finally:
            process.kill()
            process.wait()
        stored = self.stored()
        self.assertTrue(0 < stored < len(entries), stored)
        summary = self.bring(self.file(whole.decode(), "whole.log"))
        self.assertEqual(
            (summary["events"]["there"], summary["events"]["imported"]), (stored, len(entries) - stored)
        )
        records = self.events(self.flight)
        self.assertEqual(sorted(record["event"]["at"] for record in records), list(range(len(entries))))
        for session in self.sessions:
            order = [record["event"]["at"] for record in records if record["sessionID"] == session]
            self.assertEqual(order, sorted(order))
        self.assertNotIn(None, [each["endedAt"] for each in logui_json(self.folder, "session", "list")])

    def stored(self) -> int:
        if not (self.folder / "journal.sqlite").exists():
            return 0
        with reading(self.folder) as reader:
            return reader.counts().events
