"""The journal's thread when even what it does about trouble fails: somebody must still hear of it."""

import errno
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from logui_tx.journal import schema
from logui_tx.journal import writer as writer_module
from logui_tx.journal.segment import Kind
from logui_tx.journal.writer import JournalWriter
from tests.test_writer import WriterTestCase


class _Broken:
    """A connection on which a statement raises something."""

    def __init__(self, connection: sqlite3.Connection, statement: str, error: Exception) -> None:
        self._connection = connection
        self._statement = statement
        self._error = error
        self.mended = False

    def execute(self, statement: str, *parameters: Any) -> Any:
        if statement.startswith(self._statement) and not self.mended:
            raise self._error
        return self._connection.execute(statement, *parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class TroubleTests(WriterTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.patch(writer_module, "_PROBE_INTERVAL", 0.01)
        self.recovered = threading.Event()
        self.patch(self.writer, "_recover", self.recover)

    def recover(self) -> None:
        if self.writer.failing is not None:
            JournalWriter._recover(self.writer)
            self.recovered.set()

    @contextmanager
    def broken(self, statement: str, error: Exception) -> Iterator[None]:
        broken: Any = _Broken(self.writer._connection, statement, error)
        self.writer._connection = broken
        yield
        broken.mended = True

    def assert_it_goes_on(self) -> None:
        self.assertTrue(self.recovered.wait(30))
        self.assertIsNone(self.commit(self.entry(Kind.OPENED, self.session("later"), 1)))
        self.assertEqual(self.read("SELECT id FROM sessions"), [("later",)])

    def test_a_probe_that_has_no_memory(self) -> None:
        tried = threading.Event()
        probe = self.writer._probe
        self.writer._probe = lambda: (probe(), tried.set())
        self.writer.failures.put(sqlite3.OperationalError("database or disk is full"))
        with self.broken("REPLACE INTO meta", MemoryError()):
            self.assertIsNotNone(self.commit(self.entry(Kind.OPENED, self.session())))
            self.assertTrue(tried.wait(30))
            self.assertEqual(self.writer.failing, "MemoryError")
        self.assert_it_goes_on()

    def test_neither_taken_back_nor_opened_again(self) -> None:
        """A disk that is dying: whose entry it was is told, and the journal is there again when that is."""
        self.assert_told(sqlite3.OperationalError("disk I/O error"))

    def test_no_memory_to_take_it_back(self) -> None:
        self.assert_told(MemoryError())

    def assert_told(self, error: Exception) -> None:
        gone = OSError(errno.EIO, "Input/output error")
        with self.broken("ROLLBACK", error), mock.patch.object(schema, "open_journal", side_effect=gone):
            self.writer.failures.put(sqlite3.OperationalError("disk I/O error"))
            refused = self.commit(self.entry(Kind.OPENED, self.session()))
            self.assertEqual(str(refused), "disk I/O error")
        self.assert_it_goes_on()
