"""A released LogUI server's data, brought here by the command."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
from sqlalchemy.exc import InternalError

from logui_tx import data_folder
from logui_tx.dialects.times import to_iso_8601
from logui_tx.migration.old_server import open_old_server
from logui_tx.migration.sessions import session_of_the_rest
from tests.integration.postgres import PASSWORD, PostgreSQLTestCase
from tests.integration.process import BIN, logui, logui_json, server
from tests.journals import reading
from tests.released_server import ReleasedServer, T, download, logged, recorded, stamp


class ImportTestCase(PostgreSQLTestCase):
    def setUp(self) -> None:
        self.place = Path(self.enterContext(TemporaryDirectory()))
        self.folder = self.place / "logui-data"
        self.old = ReleasedServer(self.new_database())

    def file(self, content: str, name: str = "events.log") -> Path:
        path = self.place / name
        path.write_text(content, encoding="utf-8")
        return path

    def bring(self, *files: Path, status: int = 0) -> Any:
        exports = [part for file in files for part in ("--mongo-export", str(file))]
        done = logui(self.folder, "import-logui", "--database", self.old.uri, *exports, "--json", check=False)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        self.said = done.stderr
        return json.loads(done.stdout)

    def refused(self, uri: str, *more: str) -> str:
        done = logui(self.folder, "import-logui", "--database", uri, *more, check=False)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertNotIn(PASSWORD, done.stderr)
        self.assertNotIn("falsch", done.stderr)
        return done.stderr

    def export(self, flight: str, form: str = "logui") -> str:
        return logui(self.folder, "export", "--flight", flight, "--format", form).stdout

    def events(self, flight: str) -> list[Any]:
        return [json.loads(line) for line in self.export(flight, "jsonl").splitlines()]


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

    def test_each_event_comes_out_once_as_it_was(self) -> None:
        self.bring(self.download)
        rest = session_of_the_rest(self.flight)
        expected = [{**entry, "sessionID": entry["sessionID"] or rest} for entry in self.entries]
        exported = json.loads(self.export(self.flight))
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
        came = json.loads(self.export(self.flight))
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


class RefusalTests(ImportTestCase):
    def test_the_server_is_running(self) -> None:
        with server(self.folder):
            said = self.refused(self.old.uri)
        self.assertIn("in use by another server", said)
        data_folder.lock(self.folder).close()

    def test_the_database(self) -> None:
        postgresql = self.postgresql
        for uri, why in [
            (postgresql.uri("postgres", password="falsch"), "authentication failed"),
            (postgresql.uri("nothing"), "does not exist"),
            ("postgresql://u:falsch@127.0.0.1:1/x", "refused"),
            (postgresql.uri("postgres"), "no table control_application"),
            ("sqlite:////tmp/falsch", "PostgreSQL"),
            ("postgresql://a:falsch@b@c/d", "%40"),
            ("falsch", "cannot be read"),
        ]:
            self.assertIn(why, self.refused(uri))
        self.assertFalse((self.folder / "journal.sqlite").exists())

    def test_a_table_of_something_else(self) -> None:
        self.old.execute("ALTER TABLE control_flight DROP COLUMN application_id")
        self.assertIn("control_flight has no application_id", self.refused(self.old.uri))

    def test_a_file_that_cannot_be_opened(self) -> None:
        self.old.application("Study")
        for path in (self.place / "nothing", self.place):
            self.assertIn(str(path), self.refused(self.old.uri, "--mongo-export", str(path)))
        self.assertEqual(logui_json(self.folder, "application", "list"), [])

    def test_the_old_database_is_only_read(self) -> None:
        """All is of one moment, and nothing can be changed."""
        application = self.old.application("Study")
        with open_old_server(self.old.uri) as server:
            self.assertEqual([each.id for each in server.applications()], [application])
            self.old.application("Later")
            self.assertEqual(len(server.applications()), 1)
            self.assertRaises(
                InternalError, server._connection.exec_driver_sql, "DELETE FROM control_application"
            )

    def test_who_may_only_read(self) -> None:
        self.old.application("Study")
        name = self.old.uri.rpartition("/")[2]
        self.postgresql.execute(
            "CREATE ROLE reader LOGIN PASSWORD 'p'", "GRANT pg_read_all_data TO reader", database=name
        )
        reader = self.postgresql.uri(name, user="reader", password="p")
        done = logui(self.folder, "import-logui", "--database", reader)
        self.assertIn("applications          1 imported", done.stdout)
        with psycopg.connect(self.old.uri) as connection:
            self.assertEqual(connection.execute("SELECT count(*) FROM control_application").fetchone(), (1,))


class OlderSchemaTests(ImportTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.old = ReleasedServer(self.new_database(), "older")

    def test_other_columns(self) -> None:
        application = self.old.application("Study")
        flight = self.old.flight(application, "Pilot")
        session = self.old.session(flight, T, T + 9000)
        going = self.old.session(flight, T + 1000)
        self.bring(self.file(download([logged(application, flight, session, n) for n in (1, 2)])))
        found = {each["id"]: each for each in logui_json(self.folder, "session", "list")}
        self.assertEqual(found[session]["device"], {"browser": "Firefox", "os": "Linux"})
        self.assertEqual(
            (found[session]["userAgent"], found[session]["duration"], found[session]["events"]),
            ("Agent", 9, 2),
        )
        self.assertEqual((found[going]["duration"], found[going]["endReason"]), (0, "lost"))
        self.assertEqual([record["receivedAt"] for record in self.events(flight)], [stamp(T + 2000)] * 2)


class OddFileTests(ImportTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.application = self.old.application("Study")
        self.flight = self.old.flight(self.application, "Pilot")
        self.session = self.old.session(self.flight, T, T + 60_000, offset=500)

    def entry(self, n: int, **more: Any) -> dict[str, Any]:
        return logged(self.application, self.flight, more.pop("session", self.session), n, **more)

    def test_a_file_that_breaks_off(self) -> None:
        entries = [self.entry(n) for n in range(1, 6)]
        whole = download(entries)
        cut = len(whole) - 30
        summary = self.bring(self.file(whole[:cut]), status=1)
        (fault,) = summary["faults"]
        self.assertIn("breaks off", fault["why"])
        self.assertEqual(whole[fault["byte"] :][:1], "{")
        self.assertIn(f"byte {fault['byte']}", self.said)
        self.assertEqual(summary["events"]["imported"], 4)
        self.assertEqual(self.bring(self.file(whole))["events"]["imported"], 1)
        self.assertEqual(
            [record["event"]["eventDetails"]["n"] for record in self.events(self.flight)], [1, 2, 3, 4, 5]
        )

    def test_what_cannot_be_taken_is_told(self) -> None:
        other = self.entry(2)
        other["flightID"] = "5cdfc67b-52a7-4c14-b743-a2f999ba546e"
        bad = {**self.entry(3), "eventType": "madeUp"}
        summary = self.bring(self.file(download([self.entry(1), other, bad, bad, self.entry(4)])))
        self.assertEqual(summary["events"]["imported"], 2)
        told = {each["why"]: each for each in summary["leftOut"]}
        self.assertEqual(sorted(each["events"] for each in told.values()), [1, 2])
        self.assertTrue(all(each["byte"] > 0 for each in told.values()))
        self.assertEqual(len(told), 2)

    def test_sessions_that_only_events_tell_of(self) -> None:
        unknown = "9406d46d-5cd5-4be3-8337-e5425cb014d0"
        stopped = self.entry(9, session=unknown, eventType="statusEvent", eventDetails={"type": "stopped"})
        summary = self.bring(
            self.file(
                download(
                    [
                        self.entry(3, session=unknown),
                        self.entry(4, session="<script>"),
                        self.entry(5, session=None),
                        stopped,
                    ]
                )
            )
        )
        self.assertEqual(summary["sessions"]["fromEvents"], 2)
        self.assertEqual(summary["events"]["withoutSession"], 2)
        rest = session_of_the_rest(self.flight)
        self.assertIn(rest, summary["notes"][0])
        found = {each["id"]: each for each in logui_json(self.folder, "session", "list")}
        self.assertEqual(
            (found[unknown]["startedAt"], found[unknown]["endedAt"], found[unknown]["endReason"]),
            (stamp(T + 3000), stamp(T + 9000), "closed"),
        )
        self.assertEqual((found[rest]["events"], found[rest]["endReason"]), (2, "lost"))

    def test_times(self) -> None:
        """What the client said, by the old server's clock."""
        self.bring(self.file(download([self.entry(n) for n in range(1, 13)])))
        records = self.events(self.flight)
        self.assertEqual([record["clientTime"] for record in records], [T + 1000 * n for n in range(1, 13)])
        self.assertEqual({record["clockOffset"] for record in records}, {500})
        received = [stamp(T + 9500)] * 10 + [stamp(T + 11_500)] * 2
        self.assertEqual([record["receivedAt"] for record in records], received)

    def test_numbers_to_the_last_digit(self) -> None:
        numbers = '"n": 1.2300, "m": 12345678901234567890123, "e": 1E+2'
        text = json.dumps(self.entry(1)).replace('"n": 1', numbers)
        self.bring(self.file(f"[\n\n{text}\n\n]"))
        self.assertIn(numbers, self.export(self.flight, "jsonl"))

    def test_names_that_are_taken(self) -> None:
        other = ReleasedServer(self.new_database())
        application = other.application("Study")
        other.flight(application, "Pilot", "http://localhost/")
        self.bring()
        self.old = other
        notes = self.bring()["notes"]
        self.assertEqual(
            sorted(each["name"] for each in logui_json(self.folder, "application", "list")),
            ["Study", "Study (imported)"],
        )
        self.assertTrue(any("Study (imported)" in note for note in notes), notes)
        self.assertTrue(any("from anywhere" in note for note in notes), notes)
