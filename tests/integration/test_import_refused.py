"""Imports that cannot be made, or only in part."""

from __future__ import annotations

import json
from typing import Any

import psycopg
from sqlalchemy.exc import InternalError

from logui_tx import data_folder
from logui_tx.migration.old_server import open_old_server
from logui_tx.migration.sessions import session_of_the_rest
from tests.integration.imports import ImportTestCase
from tests.integration.process import logui, logui_json, server
from tests.released_server import ReleasedServer, T, download, logged, stamp


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
