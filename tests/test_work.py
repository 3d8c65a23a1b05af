"""What the journal's thread does besides pages' events: work of others, which fails alone; lost sessions."""

import sqlite3

from logui_tx.errors import NotStored
from logui_tx.journal import cursors
from logui_tx.journal import writer as writer_module
from logui_tx.journal.entry import Entry
from logui_tx.journal.segment import Kind
from logui_tx.journal.work import Work
from logui_tx.model import Position
from tests.test_writer import NOW, WriterTestCase


class OfTheDisk(sqlite3.OperationalError):
    sqlite_errorcode = sqlite3.SQLITE_IOERR | (3 << 8)


def forget_the_table(connection: sqlite3.Connection) -> None:
    cursors.add(connection, "half", Position())
    connection.execute("INSERT INTO no_such_table VALUES (1)")


def end_it_all(connection: sqlite3.Connection) -> None:
    connection.execute("ROLLBACK")
    raise sqlite3.OperationalError("interrupted")


def lose_the_disk(_connection: sqlite3.Connection) -> None:
    raise OfTheDisk("disk I/O error")


class LostTests(WriterTestCase):
    def test_many_that_a_crash_left_open_are_not_one_segment(self) -> None:
        """Nor would they be one batch for a sink."""
        self.patch(writer_module, "_LOST_TOGETHER", 2)
        self.commit(*[self.entry(Kind.OPENED, self.session(str(n))) for n in range(5)])
        self.writer.stop()
        self.open()
        self.assertEqual(self.lost, 5)
        self.assertEqual([len(records) for records, _ in self.segments()], [5, 2, 2, 1])
        self.assertEqual(self.read("SELECT DISTINCT end_reason FROM sessions"), [("lost",)])


class WorkTests(WriterTestCase):
    def work(self, do: object) -> Entry:
        return Entry(None, self.session("-"), NOW, b"", 0, work=Work(do))  # type: ignore[arg-type]

    def names(self) -> list[str]:
        return [name for (name,) in self.read("SELECT name FROM sink ORDER BY name")]

    def test_it_fails_alone(self) -> None:
        good = self.work(lambda connection: cursors.add(connection, "good", Position()))
        later = self.work(lambda connection: cursors.add(connection, "later", Position()))
        surrogate = self.work(lambda connection: cursors.pause(connection, "\ud83d", True))
        bad = self.work(forget_the_table)
        handle = self.session()
        error = self.commit(
            self.entry(Kind.OPENED, handle), good, bad, surrogate, self.events(handle, 1), later
        )
        self.assertIsNone(error)
        self.assertIsNone(self.writer.failing)
        self.assertEqual(self.names(), ["good", "later"], "nothing is left of what failed")
        self.assertEqual(self.read("SELECT events FROM sessions"), [(2,)])
        for each in (good, later):
            assert each.work is not None
            self.assertIsNone(each.work.failed)
        for each, why in ((bad, "no_such_table"), (surrogate, "surrogates")):
            assert each.work is not None
            self.assertIsInstance(each.work.failed, NotStored)
            self.assertIn(why, str(each.work.failed))

    def test_what_is_the_commits(self) -> None:
        for epoch, do in enumerate((end_it_all, lose_the_disk)):
            handle = self.session(do.__name__)
            error = self.commit(self.entry(Kind.OPENED, handle, epoch), self.work(do))
            self.assertIsInstance(error, NotStored)
            self.assertEqual(self.read("SELECT id FROM sessions"), [])
