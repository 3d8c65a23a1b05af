"""The journal's thread, with real SQLite in a folder of its own."""

import queue
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgpack
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.errors import DataFolderUnusable, NotStored
from logui_tx.journal import handover
from logui_tx.journal import writer as writer_module
from logui_tx.journal.entry import Entry, SessionHandle, SessionRow
from logui_tx.journal.schema import FILE, open_reader
from logui_tx.journal.segment import Kind, Record, SegmentReader
from logui_tx.journal.writer import JournalWriter

NOW = 1_760_000_000_000
FULL = "database or disk is full"


class HeldWriter(JournalWriter):
    """Can be held before a commit, and fails as often as it is told to."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.entered = threading.Semaphore(0)
        self.may_commit = threading.Event()
        self.may_commit.set()
        self.failures: queue.SimpleQueue[Exception] = queue.SimpleQueue()

    def _commit(self, entries: list[Entry]) -> None:
        self.entered.release()
        assert self.may_commit.wait(30)
        super()._commit(entries)

    def _write(self, group: Any) -> None:
        super()._write(group)
        if not self.failures.empty():
            raise self.failures.get()


class WriterTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        self.settled: queue.SimpleQueue[tuple[list[Entry], NotStored | None]] = queue.SimpleQueue()
        self.time = NOW
        self.writer = self.open()

    def open(self, **more: Any) -> HeldWriter:
        writer = HeldWriter(self.folder, self.tell, **more)
        self.lost = writer.start(self.time)
        self.addCleanup(writer.stop)
        return writer

    def tell(self, entries: Sequence[Entry], error: NotStored | None) -> None:
        if entries:
            self.settled.put((list(entries), error))

    def session(self, name: str = "s") -> SessionHandle:
        return SessionHandle(SessionRow(name, "flight", "application", "logui-0.4", self.time))

    def entry(self, kind: Kind | None, handle: SessionHandle, epoch: int = 0, **details: Any) -> Entry:
        self.time += 1
        return Entry(kind, handle, self.time, details.pop("app_data", b"{}"), epoch, **details)

    def events(self, handle: SessionHandle, seq: int, message: bytes = b"[..]", **more: Any) -> Entry:
        return self.entry(Kind.EVENTS, handle, message=message, first_seq=seq, count=2, **more)

    def end(self, handle: SessionHandle, **more: Any) -> Entry:
        return self.entry(Kind.ENDED, handle, end_reason="closed", **more)

    def append(self, *entries: Entry) -> None:
        for entry in entries:
            self.writer.append(entry)

    def outcome(self) -> tuple[list[Entry], NotStored | None]:
        return self.settled.get(timeout=30)

    def hold(self) -> None:
        """Keep the thread before the commit of a barrier, until ``may_commit``."""
        self.writer.entered = threading.Semaphore(0)
        self.writer.may_commit.clear()
        self.append(Entry(None, self.session("-"), NOW, b"", 99))
        self.writer.entered.acquire()

    def commit(self, *entries: Entry) -> NotStored | None:
        """All of them in one commit."""
        self.hold()
        self.append(*entries)
        self.writer.may_commit.set()
        self.outcome()
        settled, error = self.outcome()
        self.assertEqual(settled, list(entries))
        return error

    def read(self, query: str) -> list[tuple[Any, ...]]:
        connection = open_reader(self.folder)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def segments(self) -> list[tuple[list[Record], bytes]]:
        blocks = self.read("SELECT block FROM segment ORDER BY id")
        return [
            (records, bytes(messages))
            for records, messages in (SegmentReader().read(block) for (block,) in blocks)
        ]


class CommitTests(WriterTestCase):
    def test_what_waits_during_a_commit_is_one_segment(self) -> None:
        handle, other = self.session(), self.session("t")
        self.writer.may_commit.clear()
        self.append(first := self.entry(Kind.OPENED, handle))
        self.writer.entered.acquire()
        waiting = [
            self.events(handle, 1, b"one", clock_offset=-4),
            self.entry(Kind.OPENED, other),
            self.events(handle, 3, b"two!"),
        ]
        self.append(*waiting)
        self.writer.may_commit.set()
        self.assertEqual([self.outcome(), self.outcome()], [([first], None), (waiting, None)])
        alone, together = self.segments()
        self.assertEqual([(record.kind, record.received) for record in alone[0]], [(1, NOW + 1)])
        self.assertEqual(
            [
                (r.kind, r.session, r.received, r.first_seq, r.count, r.size, r.clock_offset)
                for r in together[0]
            ],
            [
                (Kind.EVENTS, 1, NOW + 2, 1, 2, 3, -4),
                (Kind.OPENED, 2, NOW + 3, 0, 0, 0, None),
                (Kind.EVENTS, 1, NOW + 4, 3, 2, 4, None),
            ],
        )
        self.assertEqual(together[1], b"onetwo!")
        rows = self.read("SELECT id, first_received, last_received, events, hex(sessions) FROM segment")
        self.assertEqual(rows[1], (2, NOW + 2, NOW + 4, 4, msgpack.packb([1, 1]).hex()))

    def test_session_and_progress(self) -> None:
        row = SessionRow("id", "f", "a", "d", NOW, "agent", "https://o", "ref", "phone", "visitor", 7)
        handle = SessionHandle(row)
        self.commit(self.entry(Kind.OPENED, handle))
        self.commit(self.events(handle, 1, b"12345"), self.events(handle, 3, b"123"))
        self.commit(self.entry(Kind.EVENTS, handle, message=b"[]", first_seq=5, count=0))
        self.assertEqual(
            self.read("SELECT * FROM session"),
            [(1, "id", "f", "a", "d", NOW, "agent", "https://o", "ref", "phone", "visitor", 7)],
        )
        columns = "events, size, last_seq, first_segment, last_segment, last_activity, ended_at"
        self.assertEqual(self.read(f"SELECT {columns} FROM progress"), [(4, 10, 4, 1, 3, self.time, None)])

    def test_app_data_gets_a_version_where_it_changes(self) -> None:
        handle = self.session()
        self.commit(
            self.entry(Kind.OPENED, handle),
            self.events(handle, 1),
            self.entry(Kind.CHANGED, handle, app_data=b'{"a":1}'),
            self.events(handle, 3, app_data=b'{"a":1}'),
        )
        self.commit(self.entry(Kind.CHANGED, handle, app_data=b'{"a":1}'))
        self.commit(self.entry(Kind.CHANGED, handle, app_data=b"{}"))
        versions = self.read("SELECT version, session, value FROM app_data")
        self.assertEqual(versions, [(1, 1, b"{}"), (2, 1, b'{"a":1}'), (3, 1, b"{}")])
        in_force = [record.app_data for records, _ in self.segments() for record in records]
        self.assertEqual(in_force, [1, 1, 2, 2, 2, 3])
        self.assertEqual(self.read("SELECT app_data FROM progress"), [(3,)])

    def test_the_last_payload_id_of_each_instance(self) -> None:
        handle = self.session()
        self.commit(
            self.events(handle, 1, payload_id=1, instance="a"),
            self.events(handle, 3, payload_id=7, instance="b"),
            self.events(handle, 5, payload_id=3, instance="a"),
        )
        self.commit(self.events(handle, 7, payload_id=8, instance="b"), self.events(handle, 9))
        self.assertEqual(self.read("SELECT * FROM instance"), [(1, "a", 3), (1, "b", 8)])

    def test_a_session_known_from_before_goes_on(self) -> None:
        self.commit(self.entry(Kind.OPENED, handle := self.session(), app_data=b'{"k":1}'))
        self.commit(self.end(handle, app_data=b'{"k":1}'))
        again = SessionHandle(handle.row, 1, app_data=b'{"k":1}', version=handle.version)
        self.commit(self.entry(Kind.RESUMED, again, app_data=b'{"k":1}'))
        self.assertEqual(self.read("SELECT count(*) FROM session"), [(1,)])
        self.assertEqual(self.read("SELECT count(*) FROM app_data"), [(1,)])
        self.assertEqual(self.read("SELECT ended_at, end_reason FROM progress"), [(None, None)])

    def test_a_barrier_settles_in_order_and_writes_nothing(self) -> None:
        handle = self.session()
        entries = [self.entry(Kind.OPENED, handle), self.entry(None, handle), self.events(handle, 1)]
        self.assertIsNone(self.commit(*entries))
        ((records, _),) = self.segments()
        self.assertEqual([record.kind for record in records], [Kind.OPENED, Kind.EVENTS])
        self.assertIsNone(self.commit(self.entry(None, handle, payload_id=9, instance="x")))
        self.assertEqual(len(self.segments()), 1)
        self.assertEqual(self.read("SELECT count(*) FROM instance"), [(0,)])

    def test_a_commit_has_an_end(self) -> None:
        self.patch(handover, "MAX_COMMIT", 10)
        handle = self.session()
        big = [self.events(handle, 1 + 2 * n, b"123456") for n in range(3)]
        changes = [self.entry(Kind.CHANGED, handle, app_data=b'{"a":%d}' % (100 + n)) for n in range(3)]
        self.hold()
        self.append(*big, *changes)
        self.writer.may_commit.set()
        sizes = [len(self.outcome()[0]) for _ in range(4)]
        self.assertEqual(sizes, [1, 2, 2, 2])

    def test_a_delay_gathers(self) -> None:
        self.writer.stop()
        naps: queue.SimpleQueue[float] = queue.SimpleQueue()
        awake = threading.Event()
        self.patch(handover.time, "sleep", lambda seconds: (naps.put(seconds), awake.wait(30)))
        self.writer = self.open(commit_delay=0.25)
        handle = self.session()
        entries = [self.entry(Kind.OPENED, handle), self.events(handle, 1), self.events(handle, 3)]
        self.append(entries[0])
        self.assertEqual(naps.get(timeout=30), 0.25)
        self.append(*entries[1:])
        awake.set()
        self.assertEqual(self.outcome(), (entries, None))


class EndTests(WriterTestCase):
    def ends(self) -> list[tuple[Any, ...]]:
        return self.read("SELECT ended_at, end_reason FROM progress")

    def test_ended_and_open_again(self) -> None:
        self.commit(self.entry(Kind.OPENED, handle := self.session()))
        self.assertEqual(self.ends(), [(None, None)])
        self.commit(self.end(handle))
        self.assertEqual(self.ends(), [(self.time, "closed")])
        self.commit(self.entry(Kind.RESUMED, handle))
        self.assertEqual(self.ends(), [(None, None)])

    def test_ended_and_open_again_in_one_commit(self) -> None:
        handle = self.session()
        self.commit(self.entry(Kind.OPENED, handle), self.end(handle), self.entry(Kind.RESUMED, handle))
        self.assertEqual(self.ends(), [(None, None)])
        self.commit(self.end(handle), self.events(handle, 1), last := self.end(handle))
        self.assertEqual(self.ends(), [(last.received, "closed")])

    def test_an_end_may_be_older_than_what_follows_it(self) -> None:
        opened = self.entry(Kind.OPENED, handle := self.session())
        self.commit(opened, Entry(Kind.ENDED, handle, NOW - 50, b"{}", 0, end_reason="lost"))
        self.assertEqual(self.ends(), [(NOW - 50, "lost")])
        self.assertEqual(self.read("SELECT last_activity FROM progress"), [(self.time,)])


class StopTests(WriterTestCase):
    def test_stop_writes_all_that_waits(self) -> None:
        handle = self.session()
        self.hold()
        self.append(*[self.events(handle, 1 + 2 * n) for n in range(20)], self.end(handle))
        stopping = threading.Thread(target=self.writer.stop)
        stopping.start()
        self.writer.may_commit.set()
        stopping.join()
        self.assertEqual(self.read("SELECT events, end_reason FROM progress"), [(40, "closed")])
        self.assertEqual([error for _, error in (self.outcome(), self.outcome())], [None, None])
        self.writer.stop()

    def test_the_log_is_folded_in(self) -> None:
        self.commit(self.entry(Kind.OPENED, self.session()))
        self.assertTrue((self.folder / f"{FILE}-wal").exists())
        self.writer.stop()
        self.assertEqual([path.name for path in self.folder.iterdir()], [FILE])

    def test_what_comes_after_stop_is_not_settled(self) -> None:
        self.writer.stop()
        self.append(self.entry(Kind.OPENED, self.session()))
        self.assertTrue(self.settled.empty())
        self.assertEqual(self.read("SELECT count(*) FROM session"), [(0,)])


class FailureTests(WriterTestCase):
    def fail_once(self) -> None:
        self.writer.failures.put(sqlite3.OperationalError(FULL))

    def test_all_of_a_failed_commit_is_refused_and_taken_back(self) -> None:
        known, fresh = self.session("known"), self.session("fresh")
        self.commit(self.entry(Kind.OPENED, known))
        before = (known.number, known.open, known.app_data, known.version)
        self.fail_once()
        error = self.commit(
            self.entry(Kind.CHANGED, known, app_data=b'{"x":1}'),
            self.entry(Kind.OPENED, fresh, app_data=b'{"y":1}'),
            self.end(known, app_data=b'{"x":1}'),
            self.entry(Kind.RESUMED, known, app_data=b'{"z":1}'),
        )
        self.assertEqual((str(error), self.writer.failing), (FULL, FULL))
        self.assertEqual((known.number, known.open, known.app_data, known.version), before)
        self.assertEqual((fresh.number, fresh.open, fresh.app_data, fresh.version), (None, False, None, 0))
        self.assertEqual(self.read("SELECT id FROM sessions"), [("known",)])
        # What failed can be said again and has effect.
        self.assertIsNone(
            self.commit(
                self.entry(Kind.OPENED, fresh, 1, app_data=b'{"y":1}'),
                self.end(known, epoch=1, app_data=b'{"x":1}'),
            )
        )
        rows = self.read("SELECT id, app_data, end_reason FROM sessions")
        self.assertEqual(rows, [("fresh", b'{"y":1}', None), ("known", b'{"x":1}', "closed")])
        self.assertEqual(self.read("SELECT id FROM segment"), [(1,), (2,)])

    def test_the_epoch_that_failed_and_older_ones_are_not_tried(self) -> None:
        handle = self.session()
        self.fail_once()
        self.assertEqual(str(self.commit(self.entry(Kind.OPENED, handle, 3))), FULL)
        for epoch in (3, 2, 0):
            self.append(late := self.entry(Kind.OPENED, handle, epoch))
            entries, error = self.outcome()
            self.assertEqual((entries, str(error)), ([late], FULL))
        stale, fresh = self.entry(None, handle, 3), self.entry(Kind.OPENED, handle, 4)
        self.hold()
        self.append(stale, fresh)
        self.writer.may_commit.set()
        outcomes = [self.outcome() for _ in range(3)][1:]
        self.assertEqual([entries for entries, _ in outcomes], [[stale], [fresh]])
        self.assertEqual([error is None for _, error in outcomes], [False, True])
        self.assertIsNone(self.writer.failing)

    def test_recovery_by_the_probe(self) -> None:
        self.patch(writer_module, "_PROBE_INTERVAL", 0.01)
        recovered = threading.Event()
        self.writer._recover = lambda: (JournalWriter._recover(self.writer), recovered.set())
        self.fail_once()
        self.append(self.entry(Kind.OPENED, self.session()))
        self.assertIsNotNone(self.outcome()[1])
        self.assertTrue(recovered.wait(30))
        self.assertIsNone(self.writer.failing)
        self.assertEqual(self.read("SELECT key FROM meta"), [("journal",)])

    def test_a_connection_that_broke_is_replaced(self) -> None:
        handle = self.session()
        self.commit(self.entry(Kind.OPENED, handle))
        self.writer._connection.close()
        self.assertIsNotNone(self.commit(self.events(handle, 1)))
        self.assertIsNone(self.commit(self.events(handle, 1, epoch=1)))
        self.assertEqual(self.read("SELECT events, last_seq FROM progress"), [(2, 2)])


class StartTests(WriterTestCase):
    def crash(self) -> None:
        """End as a killed process does: what was committed is there, nothing is closed in order."""
        copy = Path(self.enterContext(TemporaryDirectory()))
        for path in self.folder.iterdir():
            (copy / path.name).write_bytes(path.read_bytes())
        self.writer.stop()
        self.folder = copy

    def test_sessions_that_a_crash_left_open_are_closed(self) -> None:
        first, second, third = self.session("1"), self.session("2"), self.session("3")
        self.commit(
            self.entry(Kind.OPENED, first), self.entry(Kind.OPENED, second), self.entry(Kind.OPENED, third)
        )
        self.commit(last := self.events(first, 1), ended := self.end(second))
        self.crash()
        self.time += 60_000
        self.writer = self.open()
        self.assertEqual(self.lost, 2)
        self.assertEqual(
            self.read("SELECT id, ended_at, end_reason, last_activity, last_segment FROM sessions"),
            [
                ("1", last.received, "lost", last.received, 3),
                ("2", ended.received, "closed", ended.received, 2),
                ("3", NOW + 3, "lost", NOW + 3, 3),
            ],
        )
        records, _ = self.segments()[-1]
        self.assertEqual(
            [(r.kind, r.session, r.received) for r in records], [(5, 1, self.time), (5, 3, self.time)]
        )
        self.assertIsNone(self.commit(self.entry(Kind.OPENED, self.session("4"))))
        self.assertEqual(len(self.segments()), 4)

    def test_a_damaged_segment(self) -> None:
        for name in "abc":
            self.commit(self.entry(Kind.OPENED, self.session(name)))
        self.writer.stop()
        connection = sqlite3.connect(self.folder / FILE)
        (block,) = connection.execute("SELECT block FROM segment WHERE id = 3").fetchone()
        for damaged in (b"", b"\x03" + block[1:], block[:-1], block[:-1] + bytes([block[-1] ^ 1])):
            with connection:
                connection.execute("UPDATE segment SET block = ? WHERE id = 3", (damaged,))
            error = self.assertRaises(DataFolderUnusable, self.open)
            self.assertIn("segment 3", str(error))
        connection.close()

    def test_a_file_of_something_else(self) -> None:
        self.writer.stop()
        (self.folder / FILE).write_bytes(b"not a database " * 100)
        self.assertRaises(DataFolderUnusable, self.open)
