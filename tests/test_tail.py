"""Reading the journal forward."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from logui_tx.journal.schema import open_reader
from logui_tx.journal.tail import JournalTail, Stretch
from logui_tx.model import Position
from tests.journals import made_journal


class FailedReadingTests(SynchronousTestCase):
    """A session stands as it does by now, also after a reading that failed: its end would never be told."""

    def test_a_new_batch(self) -> None:
        self.check(lambda tail: tail.read(Position(), 100, 10_000))

    def test_a_batch_again(self) -> None:
        self.check(lambda tail: tail.read_to(Position(), Position(3)))

    def check(self, read: Callable[[JournalTail], Stretch]) -> None:
        folder = Path(self.enterContext(TemporaryDirectory()))
        journal = self.enterContext(made_journal(folder))
        session = journal.session("a").send(1)
        journal.commit()
        journal.session("b").send(2)
        journal.commit()
        connection = open_reader(folder)
        self.addCleanup(connection.close)
        tail = JournalTail(connection)
        real: Any = tail._segments.read
        blocks = []

        def failing(block: bytes) -> Any:
            blocks.append(block)
            if len(blocks) == 2:
                raise sqlite3.OperationalError("disk I/O error")
            return real(block)

        self.patch(tail._segments, "read", failing)
        self.assertRaises(sqlite3.OperationalError, read, tail)
        session.end()
        journal.commit()
        ends = {one.id: one.end_reason for one in read(tail).sessions.values()}
        self.assertEqual(ends, {"a": "closed", "b": None})
