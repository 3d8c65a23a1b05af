"""The whole way of the data, with a database that is made up; with a real one in tests/integration."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from logui_tx.errors import JournalError, LoguiError
from logui_tx.journal.reader import JournalReader
from logui_tx.migration import migrate as migrate_module
from logui_tx.migration.migrate import Summary, migrate
from logui_tx.migration.old_server import OldApplication, OldFlight, OldSession
from logui_tx.registry.database import migrate as make_tables
from logui_tx.registry.database import open_engine
from logui_tx.registry.registry import Registry
from logui_tx.registry.tokens import SigningKeys, TokenSigner
from tests.released_server import T, download, logged

APPLICATION = "f3e2cbb9-ffa0-401d-abd1-5bb52f5ce335"
FLIGHT = "091d2bc4-3cf0-4c3d-890c-3fedb06b0081"
SESSION = "5cdfc67b-52a7-4c14-b743-a2f999ba546e"
NOW = T + 10_000_000


class MadeUp:
    """In the place of a released server's database."""

    fqdn = "www.example.org"

    def applications(self) -> list[OldApplication]:
        return [OldApplication(APPLICATION, "Study", None)]

    def flights(self) -> list[OldFlight]:
        return [OldFlight(FLIGHT, APPLICATION, "Pilot", True, self.fqdn, T)]

    def sessions(self) -> Iterator[OldSession]:
        yield OldSession(SESSION, FLIGHT, T, None, None, None, None)


class MigrateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        engine = open_engine(None, self.folder)
        self.addCleanup(engine.dispose)
        make_tables(engine)
        self.registry = Registry(engine, TokenSigner(SigningKeys(self.folder)))
        self.server = MadeUp()
        self.open = 0
        self.steps: list[int] = []

        @contextmanager
        def open_old_server(_uri: str) -> Iterator[MadeUp]:
            self.open += 1
            yield self.server
            self.open -= 1

        self.patch(migrate_module, "open_old_server", open_old_server)

    def migrate(self, *files: Path) -> Summary:
        return migrate("uri", files, self.registry, self.folder, NOW, self.steps.append)

    def file(self, *entries: Any) -> Path:
        path = self.folder / "events.log"
        path.write_text(download(entries))
        return path

    def test_how_far_it_is(self) -> None:
        path = self.file(*(logged(APPLICATION, FLIGHT, SESSION, n) for n in range(5)))
        self.assertEqual(self.migrate(path).counts.events, 5)
        self.assertEqual(sum(self.steps), path.stat().st_size - len("\n\n]"))
        self.assertEqual(self.open, 0)

    def test_the_database_is_let_go_before_the_files_are_read(self) -> None:
        path = self.file(logged(APPLICATION, FLIGHT, SESSION, 1))
        open_: list[int] = []
        migrate("uri", [path], self.registry, self.folder, NOW, lambda _size: open_.append(self.open))
        self.assertEqual(open_, [0])

    def test_a_time_that_is_not_known(self) -> None:
        self.migrate()
        (application,) = self.registry.list_applications()
        self.assertEqual(application.created_at, NOW)

    def test_notes(self) -> None:
        self.registry.create_application("Study")
        self.server.fqdn = "http://localhost\x1b"
        notes = self.migrate().notes
        self.assertEqual(notes[0], "'Study' is called 'Study (imported)' here")
        self.assertIn("'Pilot' took no pages", notes[1])
        self.assertNotIn("\x1b", "".join(notes))
        self.assertEqual(self.migrate().notes, [], "it was told once")

    def test_files_are_looked_for_first(self) -> None:
        for path, why in [(self.folder, "is a folder"), (self.folder / "nothing", "No such file")]:
            self.assertIn(why, str(self.assertRaises(LoguiError, self.migrate, path)))
        self.assertEqual(self.registry.list_applications(), [])

    def test_what_is_left_out(self) -> None:
        good, bad = logged(APPLICATION, FLIGHT, SESSION, 1), {"eventType": "other"}
        path = self.file(bad, good, bad, logged(APPLICATION, APPLICATION, SESSION, 2))
        no_event, no_flight = self.migrate(path).left_out.values()
        self.assertEqual((no_event.events, no_event.place), (2, 3))
        self.assertEqual((no_flight.events, no_flight.file), (1, str(path)))
        told = path.read_text()[no_flight.place :].split("\n")[0]
        self.assertEqual(json.loads(told)["flightID"], APPLICATION)

    def test_a_journal_that_cannot_be_read(self) -> None:
        def damaged(*_: object) -> None:
            raise sqlite3.DatabaseError("database disk image is malformed")

        self.patch(JournalReader, "session", damaged)
        self.assertIn("malformed", str(self.assertRaises(JournalError, self.migrate)))
