"""The journal's file: made once, private, durable, and not touched where a later release wrote it."""

import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from logui_tx.errors import DataFolderUnusable
from logui_tx.journal import cursors, schema
from logui_tx.journal.cursors import DeadLetter
from logui_tx.journal.reader import JournalReader
from logui_tx.journal.schema import FILE, VERSION, journal_id, open_journal, open_reader
from logui_tx.model import Position

# Opens a journal in each folder of stdin, as soon as it is named, and says its id.
OPENER = """
import sys
from pathlib import Path
from logui_tx.journal.schema import journal_id, open_journal
for line in iter(sys.stdin.readline, ""):
    connection = open_journal(Path(line.strip()), create=True)
    print(journal_id(connection), connection.execute("PRAGMA user_version").fetchone()[0], flush=True)
    connection.close()
"""


class SchemaTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        self.path = self.folder / FILE

    def open(self, create: bool = True) -> sqlite3.Connection:
        connection = open_journal(self.folder, create=create)
        self.addCleanup(connection.close)
        return connection

    def test_durable_at_every_commit(self) -> None:
        for create in (True, False):
            connection = self.open(create)
            for pragma, expected in [
                ("journal_mode", "wal"),
                ("synchronous", 2),
                ("secure_delete", 1),
                ("user_version", VERSION),
            ]:
                found = connection.execute(f"PRAGMA {pragma}").fetchone()[0]
                self.assertEqual(found, expected, pragma)
            self.assertIsNone(connection.isolation_level)

    def test_private_whatever_the_umask(self) -> None:
        before = os.umask(0)
        try:
            self.open()
        finally:
            os.umask(before)
        modes = {path.name: path.stat().st_mode & 0o777 for path in self.folder.iterdir()}
        self.assertEqual(modes, {FILE: 0o600, f"{FILE}-wal": 0o600, f"{FILE}-shm": 0o600})

    def test_opening_again_changes_nothing(self) -> None:
        first = self.open()
        known = journal_id(first)
        first.execute("INSERT INTO app_data (session, value) VALUES (1, '{}')")
        schema_before = first.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()
        for create in (True, False):
            again = self.open(create)
            self.assertEqual(journal_id(again), known)
            self.assertEqual(
                again.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall(), schema_before
            )
            self.assertEqual(again.execute("SELECT count(*) FROM app_data").fetchone(), (1,))

    def test_the_documented_tables(self) -> None:
        text = (Path(__file__).parent.parent / "docs" / "journal.md").read_text(encoding="utf-8")
        query = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        for (name,) in self.open().execute(query):
            self.assertIn(f"| `{name}` |", text)

    def test_the_first_layout_is_brought_up_to_the_present_one(self) -> None:
        first = self.open()
        known = journal_id(first)
        columns = [name for _, name, *_ in first.execute("PRAGMA table_info(sessions)")]
        first.execute("DROP VIEW sessions")
        first.execute("ALTER TABLE session DROP COLUMN client_started_at")
        first.execute("CREATE VIEW sessions AS SELECT 1 FROM session")
        first.execute("DROP TABLE sink")
        first.execute("DROP TABLE dead_letter")
        first.execute("INSERT INTO session VALUES (1, 'id', 'f', 'a', 'd', 5, 'u', 'o', 'r', 'v', 'w')")
        first.execute("INSERT INTO progress (session, last_activity) VALUES (1, 6)")
        first.execute("PRAGMA user_version = 1")
        for create in (False, True):
            again = self.open(create)
            self.assertEqual(journal_id(again), known)
            self.assertEqual(again.execute("PRAGMA user_version").fetchone(), (VERSION,))
            self.assertEqual([name for _, name, *_ in again.execute("PRAGMA table_info(sessions)")], columns)
            session = JournalReader(again).session("id")
            self.assertEqual((session.started_at, session.client_started_at), (5, None))

    def test_dead_letters_of_the_third_layout_are_counted(self) -> None:
        third = self.open()
        for name in ("dead_letter_more", "dead_letter_less"):
            third.execute(f"DROP TRIGGER {name}")
        for name in ("dead_letter_retry", "dead_letter_session"):
            third.execute(f"DROP INDEX {name}")
        third.execute("ALTER TABLE sink DROP COLUMN dead_letters")
        cursors.add(third, "a", Position())
        letters = [DeadLetter(1, event, "s", 5, "bad") for event in (None, 0, 1)]
        third.executemany(
            "INSERT INTO dead_letter (sink, segment, event, session, at, reason) VALUES ('a', ?, ?, ?, ?, ?)",
            [(one.segment, one.event, one.session_id, one.at, one.reason) for one in letters],
        )
        third.execute("PRAGMA user_version = 3")
        found = cursors.cursor(self.open(False), "a")
        assert found is not None
        self.assertEqual((found.dead_letters, found.retry), (3, False))

    def test_each_journal_has_its_own_id(self) -> None:
        with TemporaryDirectory() as other, closing(open_journal(Path(other), create=True)) as connection:
            self.assertNotEqual(journal_id(self.open()), journal_id(connection))

    def test_missing(self) -> None:
        error = self.assertRaises(DataFolderUnusable, open_journal, self.folder)
        self.assertIn(str(self.folder), str(error))
        self.assertEqual(list(self.folder.iterdir()), [])
        self.assertRaises(DataFolderUnusable, open_reader, self.folder)
        self.assertRaises(DataFolderUnusable, open_journal, self.folder / "none", create=True)

    def test_a_newer_version_is_refused_untouched(self) -> None:
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute(f"PRAGMA user_version = {VERSION + 1}")
        before = self.path.read_bytes()
        for create in (True, False):
            error = self.assertRaises(DataFolderUnusable, open_journal, self.folder, create=create)
            for part in ("newer version", f"format {VERSION + 1}", f"knows {VERSION}", str(self.path)):
                self.assertIn(part, str(error))
        self.assertRaises(DataFolderUnusable, open_reader, self.folder)
        self.assertEqual(self.path.read_bytes(), before)
        self.assertEqual([path.name for path in self.folder.iterdir()], [FILE])

    def test_not_a_database(self) -> None:
        self.path.write_bytes(b"something else entirely " * 100)
        error = self.assertRaises(DataFolderUnusable, open_journal, self.folder, create=True)
        self.assertIn(str(self.path), str(error))

    def test_a_reader_cannot_write(self) -> None:
        self.open()
        with closing(open_reader(self.folder)) as reader:
            self.assertTrue(journal_id(reader))
            self.assertRaises(sqlite3.OperationalError, reader.execute, "DELETE FROM meta")

    def test_creation_fails_whole(self) -> None:
        self.patch(schema, "_TABLES", "CREATE TABLE meta (key, value);\nCREATE TABLE nonsense (((;\n")
        self.assertRaises(DataFolderUnusable, open_journal, self.folder, create=True)
        with closing(sqlite3.connect(self.path)) as connection:
            self.assertEqual(connection.execute("SELECT * FROM sqlite_schema").fetchall(), [])
            self.assertEqual(connection.execute("PRAGMA user_version").fetchone(), (0,))


class BusyConnection:
    """Fails so many times, as a connection does where another process holds the file."""

    def __init__(self, times: int, code: int) -> None:
        self.times, self.code = times, code
        self.asked: list[str] = []

    def execute(self, statement: str) -> None:
        self.asked.append(statement)
        if len(self.asked) <= self.times:
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = self.code
            raise error


class RaceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(TemporaryDirectory()))

    def busy(self, times: int, code: int = sqlite3.SQLITE_BUSY) -> BusyConnection:
        naps: list[float] = []
        self.patch(schema.time, "sleep", naps.append)
        self.patch(schema.time, "monotonic", lambda: sum(naps))
        return BusyConnection(times, code)

    def test_waits_while_another_process_switches(self) -> None:
        """SQLite says at once that it is locked, whatever its timeout."""
        connection = self.busy(3)
        schema._use_write_ahead_log(connection)
        self.assertEqual(connection.asked, ["PRAGMA journal_mode = WAL"] * 4)

    def test_does_not_wait_for_ever(self) -> None:
        connection = self.busy(100_000)
        self.assertRaises(sqlite3.OperationalError, schema._use_write_ahead_log, connection)
        self.assertLess(len(connection.asked), 2000)

    def test_does_not_wait_for_what_stays(self) -> None:
        connection = self.busy(5, sqlite3.SQLITE_IOERR)
        self.assertRaises(sqlite3.OperationalError, schema._use_write_ahead_log, connection)
        self.assertEqual(len(connection.asked), 1)

    def test_two_processes_make_one_journal(self) -> None:
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", OPENER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
            )
            for _ in range(2)
        ]
        for process in processes:
            self.addCleanup(process.communicate)
        for number in range(25):
            folder = self.folder / str(number)
            folder.mkdir()
            for process in processes:
                process.stdin.write(f"{folder}\n")
            said = [process.stdout.readline() for process in processes]
            with closing(open_journal(folder)) as connection:
                self.assertEqual(said, [f"{journal_id(connection)} {VERSION}\n"] * 2)

    def test_threads_at_once(self) -> None:
        barrier, ids = threading.Barrier(4), []

        def make() -> None:
            barrier.wait()
            with closing(open_journal(self.folder, create=True)) as connection:
                ids.append(journal_id(connection))

        threads = [threading.Thread(target=make) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual((len(ids), len(set(ids))), (4, 1))
