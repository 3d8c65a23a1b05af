"""Entries for the journal from a command."""

import queue
import sqlite3
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from logui_tx.errors import JournalError
from logui_tx.journal.entry import Entry, SessionHandle, SessionRow
from logui_tx.journal.segment import Kind
from logui_tx.journal.writer import JournalWriter
from logui_tx.migration import feed as feed_module
from logui_tx.migration.feed import JournalFeed
from tests.journals import NOW, made_journal, reading


class FeedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        self.handle = SessionHandle(SessionRow("s", "f", "a", "logui-0.5", NOW))

    def entry(self, kind: Kind = Kind.OPENED, **more: object) -> Entry:
        return Entry(kind, self.handle, NOW, b"{}", 0, **more)  # type: ignore[arg-type]

    def full(self) -> None:
        def no_room(*_: object) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        self.patch(JournalWriter, "_commit", no_room)

    def test_all_is_on_disk_at_the_end(self) -> None:
        feed = JournalFeed(self.folder)
        feed.start(NOW)
        with feed:
            feed.append(self.entry())
            feed.wait()
            with reading(self.folder) as reader:
                self.assertEqual(reader.counts().sessions, 1)
            feed.append(self.entry(Kind.EVENTS, message=b"x", first_seq=1, count=1))
        with reading(self.folder) as reader:
            self.assertEqual(reader.counts().events, 1)

    def test_no_room(self) -> None:
        self.full()
        feed = JournalFeed(self.folder)
        feed.start(NOW)
        with self.assertRaises(JournalError) as caught, feed:
            feed.append(self.entry())
            feed.wait()
        self.assertIn("disk is full", str(caught.exception))
        self.assertRaises(JournalError, feed.append, self.entry())

    def test_no_room_at_the_very_end(self) -> None:
        self.full()
        feed = JournalFeed(self.folder)
        feed.start(NOW)
        with self.assertRaises(JournalError), feed:
            feed.append(self.entry())

    def test_no_room_at_the_start(self) -> None:
        with made_journal(self.folder) as journal:
            journal.session("s")
            journal.commit()

        def no_room(*_: object) -> int:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

        self.patch(JournalWriter, "_close_lost_sessions", no_room)
        self.assertIn("full", str(self.assertRaises(JournalError, JournalFeed(self.folder).start, NOW)))

    def test_another_error_is_not_hidden(self) -> None:
        self.full()
        feed = JournalFeed(self.folder)
        feed.start(NOW)
        with self.assertRaises(ZeroDivisionError), feed:
            feed.append(self.entry())
            raise ZeroDivisionError

    def test_it_waits_for_the_disk(self) -> None:
        """What waits for the journal is bounded: who is quicker is held up."""
        self.patch(feed_module, "MAX_COMMIT", 2_000)
        gate, commit = threading.Event(), JournalWriter._commit

        def slow(writer: JournalWriter, entries: list[Entry]) -> None:
            gate.wait()
            commit(writer, entries)

        self.patch(JournalWriter, "_commit", slow)
        feed = JournalFeed(self.folder)
        feed.start(NOW)
        taken: queue.SimpleQueue[int] = queue.SimpleQueue()

        def give() -> None:
            for n in range(10):
                feed.append(self.entry(Kind.EVENTS, message=b"x" * 1000, first_seq=n + 1, count=1))
                taken.put(n)

        with feed:
            giver = threading.Thread(target=give)
            giver.start()
            try:
                self.assertEqual([taken.get(), taken.get()], [0, 1])
                # The third would be put within this time, if nothing held it up.
                self.assertRaises(queue.Empty, taken.get, timeout=0.05)
            finally:
                gate.set()
                giver.join()
        with reading(self.folder) as reader:
            self.assertEqual(reader.counts().events, 10)
