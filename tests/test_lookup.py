"""Sessions found in the journal, off the reactor's thread."""

import queue
import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attrs import asdict
from twisted.internet.defer import Deferred
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.errors import DataFolderUnusable
from logui_tx.journal.entry import Entry, SessionHandle, SessionRow
from logui_tx.journal.lookup import SessionLookup
from logui_tx.journal.schema import FILE
from logui_tx.journal.segment import Kind
from logui_tx.journal.state import SessionState
from logui_tx.journal.writer import JournalWriter

NOW = 1_760_000_000_000
ROW = SessionRow(
    "id", "flight", "application", "logui-0.4", NOW, "agent", "https://o", "ref", "phone", "visitor"
)


class ThreadlessReactor:
    """Keeps what other threads want done until the test does it."""

    def __init__(self) -> None:
        self.calls: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()

    def callFromThread(self, function: Callable[..., Any], *args: Any) -> None:
        self.calls.put(lambda: function(*args))


class LookupTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        self.settled: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.writer = JournalWriter(self.folder, lambda entries, error: self.settled.put(error))
        self.reactor = ThreadlessReactor()
        self.lookup: SessionLookup | None = SessionLookup(self.reactor, self.folder)
        self.addCleanup(self.writer.stop)
        self.addCleanup(self.stop)

    def stop(self) -> None:
        if self.lookup is not None:
            self.successResultOf(self.lookup.stop())
            self.lookup = None

    def write(
        self, handle: SessionHandle, kind: Kind, received: int = NOW, app_data: bytes = b"{}", **more: Any
    ) -> None:
        self.writer.append(Entry(kind, handle, received, app_data, 0, **more))
        self.assertIsNone(self.settled.get(timeout=30))

    def answer(self, asked: "Deferred[SessionState | None]") -> "Deferred[SessionState | None]":
        self.assertNoResult(asked)
        self.reactor.calls.get(timeout=30)()
        return asked

    def find(self, session_id: str) -> SessionState | None:
        return self.successResultOf(self.answer(self.lookup.find(session_id)))

    def test_a_session_as_it_stands(self) -> None:
        self.writer.start(NOW)
        other, handle = SessionHandle(SessionRow("other", "f", "a", "d", NOW)), SessionHandle(ROW)
        self.write(other, Kind.EVENTS, message=b"x", first_seq=1, count=9, payload_id=3)
        self.write(handle, Kind.EVENTS, message=b"x", first_seq=1, count=4, payload_id=8, instance="tab")
        self.write(handle, Kind.CHANGED, NOW + 5, b'{"k":1}')
        self.write(handle, Kind.EVENTS, NOW + 7, b'{"k":1}', message=b"x", first_seq=5, count=1, payload_id=2)
        expected = SessionState(asdict(ROW), 2, 3, NOW + 7, 5, b'{"k":1}', {"tab": 8, "": 2}, None)
        self.assertEqual(self.find("id"), expected)
        self.assertEqual((handle.number, handle.version), (2, 3))

    def test_it_sees_what_was_written_since(self) -> None:
        self.writer.start(NOW)
        handle = SessionHandle(ROW)
        self.assertIsNone(self.find("id"))
        self.write(handle, Kind.OPENED)
        self.assertIsNone(self.find("id").end_reason)
        self.write(handle, Kind.ENDED, NOW + 9, end_reason="shutdownClient")
        found = self.find("id")
        self.assertEqual((found.end_reason, found.last_activity), ("shutdownClient", NOW + 9))

    def test_unknown(self) -> None:
        self.writer.start(NOW)
        for session_id in ("", "unknown", "ID", "id\x00", "'; --", "%"):
            self.assertIsNone(self.find(session_id))

    def test_it_fails_while_there_is_no_journal_and_recovers(self) -> None:
        self.failureResultOf(self.answer(self.lookup.find("id")), DataFolderUnusable)
        self.writer.start(NOW)
        self.assertIsNone(self.find("id"))

    def test_all_in_one_thread_that_ends(self) -> None:
        self.writer.start(NOW)
        pool: ThreadPool = self.lookup._pool
        names: queue.SimpleQueue[int] = queue.SimpleQueue()
        original = self.lookup._find
        self.lookup._find = lambda name: (names.put(threading.get_ident()), original(name))[1]
        asked = [self.lookup.find("id") for _ in range(5)]
        for _ in asked:
            self.reactor.calls.get(timeout=30)()
        idents = {names.get() for _ in asked}
        self.assertEqual(len(idents), 1)
        self.assertNotIn(threading.get_ident(), idents)
        self.stop()
        self.assertFalse(any(thread.is_alive() for thread in pool.threads))

    def test_stopped_it_leaves_nothing_open(self) -> None:
        self.writer.start(NOW)
        self.write(SessionHandle(ROW), Kind.OPENED)
        self.find("id")
        # In the order of the service: the journal first.
        self.writer.stop()
        self.stop()
        self.assertEqual([path.name for path in self.folder.iterdir()], [FILE])
