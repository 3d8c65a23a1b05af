"""A deleted session is gone for good, and nothing else is."""

import json
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from logui_tx.errors import CorruptSegment, JournalError, UnknownSession
from logui_tx.export.records import Selection, records
from logui_tx.journal import erase
from logui_tx.journal.erase import erase_session
from logui_tx.journal.schema import FILE, open_journal
from logui_tx.journal.segment import Kind, SegmentReader
from logui_tx.model import Record
from tests.journals import MadeJournal, MadeSession, made_journal, reading

SECRET = "SECRET-MARKER-7141"


class EraseTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        self.journal: MadeJournal = self.enterContext(made_journal(self.folder))

    def query(self, statement: str) -> list[Any]:
        connection = open_journal(self.folder)
        try:
            return connection.execute(statement).fetchall()
        finally:
            connection.close()

    def records(self) -> list[Record]:
        with reading(self.folder) as reader:
            selection = Selection(reader, "flight", reader.snapshot())
            return [r for message in selection.messages() for r in records(message, reader.identity.current)]

    def find(self, marker: str) -> list[str]:
        """Where the marker is still to be read: in the files, or in a segment once it is unpacked."""
        needle = marker.encode()
        places = [path.name for path in sorted(self.folder.glob(f"{FILE}*")) if needle in path.read_bytes()]
        for number, block in self.query("SELECT id, block FROM segment"):
            _, messages = SegmentReader().read(block)
            if needle in bytes(messages):
                places.append(f"segment {number}")
        return places

    def blocks(self) -> dict[int, bytes]:
        return dict(self.query("SELECT id, block FROM segment"))


class ResumedTests(EraseTestCase):
    def test_what_a_resumed_session_sends_after_it_was_erased_is_kept(self) -> None:
        """A server that remembers the session goes on with it: nothing acknowledged may fall into a hole."""
        session = self.journal.session("gone", app_data=b'{"k":1}').send(1, 2).end()
        self.journal.commit()
        erase_session(self.folder, "gone")
        session.resume().send(3).end("leavingPage")
        self.journal.commit()
        found = [(r.seq, json.loads(r.event)["n"], r.app_data) for r in self.records()]
        self.assertEqual(found, [(3, 3, b'{"k":1}')])
        with reading(self.folder) as reader:
            self.assertEqual(reader.session("gone").end_reason, "leavingPage")


class EraseTests(EraseTestCase):
    def make(self, commits: int = 3) -> tuple[MadeSession, MadeSession]:
        """A session to keep and one to erase, side by side in all segments; the secret is in everything."""
        app_data = b'{"k":"%b"}' % SECRET.encode()
        kept = self.journal.session("kept", app_data=b'{"mine":1}')
        gone = self.journal.session("gone", app_data=app_data, user_agent=f"agent {SECRET}", referrer=SECRET)
        for n in range(commits):
            kept.send(n)
            gone.send({"clientDateTime": 1760000000, "x": f"{SECRET} {n}"}, n, payload_id=n + 1)
            kept.send(n, n)
            gone.change(b'{"k":"%b %d"}' % (SECRET.encode(), n))
            self.journal.commit()
        self.journal.session("later").send(1)
        self.journal.commit()
        gone.end()
        kept.end()
        self.journal.commit()
        return kept, gone

    def test_nothing_of_it_is_left(self) -> None:
        self.make()
        self.assertIn("segment 1", self.find(SECRET))
        erasure = erase_session(self.folder, "gone")
        self.assertEqual((erasure.segments, erasure.wiped), (4, True))
        self.assertEqual(self.find(SECRET), [])
        self.assertEqual(self.query("SELECT id FROM session ORDER BY number"), [("kept",), ("later",)])
        for table in ("app_data", "instance", "progress"):
            self.assertEqual(
                self.query(f"SELECT session FROM {table} WHERE session NOT IN (SELECT number FROM session)"),
                [],
                table,
            )
        with reading(self.folder) as reader:
            self.assertRaises(UnknownSession, reader.session, "gone")
            self.assertEqual(list(reader.check()), [])
            self.assertEqual(reader.integrity(1), ["ok"])

    def test_compressed_copies_are_gone_too(self) -> None:
        """The old blocks themselves, byte for byte, are neither in the file nor in its log."""
        self.make()
        old = self.blocks()
        erase_session(self.folder, "gone")
        files = b"".join(path.read_bytes() for path in self.folder.glob(f"{FILE}*"))
        new = self.blocks()
        for number in (1, 2, 3):
            self.assertNotEqual(old[number], new[number])
            self.assertIn(new[number][:200], files)
            self.assertNotIn(old[number][-60:], files)

    def test_the_others_keep_everything(self) -> None:
        self.make()
        before = [record for record in self.records() if record.session_id != "gone"]
        self.assertEqual(len(before), 10)
        erase_session(self.folder, "gone")
        self.assertEqual(self.records(), before)

    def test_records_become_erased_ones(self) -> None:
        self.make(commits=1)
        before = {n: SegmentReader().read(block)[0] for n, block in self.blocks().items()}
        held = self.query("SELECT id, first_received, last_received, events, sessions FROM segment")
        erase_session(self.folder, "gone")
        after = {n: SegmentReader().read(block)[0] for n, block in self.blocks().items()}
        self.assertEqual(
            self.query("SELECT id, first_received, last_received, events, sessions FROM segment"), held
        )
        for old, new in zip(before[1], after[1], strict=True):
            self.assertEqual((new.session, new.count, new.received), (old.session, old.count, old.received))
            if old.session == 1:
                self.assertEqual(new, old)
            else:
                self.assertEqual((new.size, new.app_data, new.clock_offset), (0, 0, None))
                self.assertEqual(new.kind, Kind.ERASED if old.kind == Kind.EVENTS else old.kind)

    def test_the_server_goes_on(self) -> None:
        """The writer that was running all along writes the next segment, and a new session of that name."""
        kept, _ = self.make()
        erase_session(self.folder, "gone")
        kept.resume().send(9)
        self.journal.session("gone").send(8)
        self.journal.commit()
        self.assertEqual([r.seq for r in self.records() if r.session_id == "gone"], [1])
        self.assertEqual([r.seq for r in self.records() if r.session_id == "kept"], list(range(1, 11)))

    def test_a_session_without_events(self) -> None:
        self.journal.session("empty").end()
        self.journal.commit()
        erase_session(self.folder, "empty")
        self.assertEqual(self.query("SELECT count(*) FROM session"), [(0,)])

    def test_many_segments(self) -> None:
        gone = self.journal.session("gone")
        for n in range(2 * erase._PAGE + 3):
            if n in (0, 3, erase._PAGE, 2 * erase._PAGE + 1):
                gone.send({"clientDateTime": 1760000000, "x": SECRET})
            else:
                self.journal.session(f"s{n}").send(n)
            self.journal.commit()
        gone.end()
        self.journal.commit()
        self.assertEqual(erase_session(self.folder, "gone").segments, 5)
        self.assertEqual(self.find(SECRET), [])


class RefusalTests(EraseTestCase):
    def test_unknown(self) -> None:
        self.assertRaises(UnknownSession, erase_session, self.folder, "s")
        self.assertRaises(UnknownSession, erase_session, self.folder, "a\udcff")

    def test_open(self) -> None:
        session = self.journal.session("s").send(1)
        self.journal.commit()
        self.assertIn("open", str(self.assertRaises(JournalError, erase_session, self.folder, "s")))
        self.assertEqual(len(self.records()), 1)
        session.end()
        self.journal.commit()
        session.resume().send(2)
        self.journal.commit()
        self.assertRaises(JournalError, erase_session, self.folder, "s")
        self.assertEqual(len(self.records()), 2)

    def test_resumed_meanwhile(self) -> None:
        """What the client sends then is acknowledged, so it must not be deleted."""
        session = self.journal.session("s").send(1)
        self.journal.commit()
        session.send(2).end()
        self.journal.commit()
        rewrite = erase._rewrite

        def resume_first(connection: sqlite3.Connection, segment: int, number: int) -> bool:
            done = rewrite(connection, segment, number)
            connection.execute("COMMIT")
            if segment == 1:
                session.resume().send(3)
                self.journal.commit()
            connection.execute("BEGIN")
            return done

        self.patch(erase, "_rewrite", resume_first)
        self.assertIn("open", str(self.assertRaises(JournalError, erase_session, self.folder, "s")))
        self.assertEqual([record.seq for record in self.records()], [2, 3])
        self.patch(erase, "_rewrite", rewrite)
        session.end()
        self.journal.commit()
        erase_session(self.folder, "s")
        self.assertEqual(self.records(), [])

    def test_resumed_and_ended_meanwhile(self) -> None:
        """Segments that came after the last look are rewritten as well."""
        session = self.journal.session("s").send(1).end()
        self.journal.commit()
        segments = erase._segments
        looks: list[int] = []

        def look(connection: sqlite3.Connection, number: int, after: int) -> list[int]:
            found = segments(connection, number, after)
            looks.append(after)
            if not found and len(looks) == 2:
                session.resume().send({"clientDateTime": 1760000000, "x": SECRET}).end()
                self.journal.commit()
            return found

        self.patch(erase, "_segments", look)
        self.assertEqual(erase_session(self.folder, "s").segments, 2)
        self.assertEqual(self.find(SECRET), [])

    def test_a_damaged_segment(self) -> None:
        self.journal.session("s").send(1).end()
        self.journal.commit()
        connection = open_journal(self.folder)
        connection.execute("UPDATE segment SET block = x'0100'")
        connection.close()
        self.assertIn("segment 1", str(self.assertRaises(CorruptSegment, erase_session, self.folder, "s")))
        self.assertEqual(self.query("SELECT id FROM session"), [("s",)])

    def test_interrupted_it_is_done_again(self) -> None:
        session = self.journal.session("s").send(1)
        self.journal.commit()
        session.send(2).end()
        self.journal.commit()
        rewrite = erase._rewrite

        def fail(connection: sqlite3.Connection, segment: int, number: int) -> bool:
            if segment == 2:
                raise sqlite3.OperationalError("database or disk is full")
            return rewrite(connection, segment, number)

        self.patch(erase, "_rewrite", fail)
        error = self.assertRaises(JournalError, erase_session, self.folder, "s")
        self.assertIn("disk is full", str(error))
        self.assertEqual([record.seq for record in self.records()], [2])
        self.patch(erase, "_rewrite", rewrite)
        erase_session(self.folder, "s")
        self.assertEqual(self.query("SELECT count(*) FROM session"), [(0,)])

    def test_a_reader_in_the_way_is_told(self) -> None:
        self.journal.session("s").send(1).end()
        self.journal.commit()
        reader = open_journal(self.folder)
        self.addCleanup(reader.close)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM segment").fetchall()
        wait = erase.open_journal

        def impatient(folder: Path) -> sqlite3.Connection:
            connection = wait(folder)
            connection.execute("PRAGMA busy_timeout = 0")
            return connection

        self.patch(erase, "open_journal", impatient)
        self.assertFalse(erase_session(self.folder, "s").wiped)
        self.assertEqual(self.records(), [])
