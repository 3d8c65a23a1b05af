"""What is read forward from a position, in which bounds, and of whose sessions."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.journal import reader, tail
from logui_tx.journal.erase import erase_session
from logui_tx.journal.identity import renew
from logui_tx.journal.schema import open_journal, open_reader
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


class OneStateTests(SynchronousTestCase):
    """What is written while a batch is being read is the next one's, as a whole."""

    def test_a_session_that_ends_between_two_segments(self) -> None:
        folder = Path(self.enterContext(TemporaryDirectory()))
        journal = self.enterContext(made_journal(folder))
        session = journal.session("a").send(1)
        journal.commit()
        connection = open_reader(folder)
        self.addCleanup(connection.close)
        tail = JournalTail(connection)
        real: Any = tail._segments.read

        def ending(block: bytes) -> Any:
            self.patch(tail._segments, "read", real)
            session.end()
            journal.commit()
            return real(block)

        self.patch(tail._segments, "read", ending)
        first = tail.read(Position(), 100, 10_000)
        self.assertEqual([one.end_reason for one in first.sessions.values()], [None])
        then = tail.read(first.after, 100, 10_000)
        self.assertEqual([one.end_reason for one in then.sessions.values()], ["closed"])


class BoundsTests(SynchronousTestCase):
    """Events within messages, sessions behind the events, and both under several journal ids."""

    def setUp(self) -> None:
        folder = Path(self.enterContext(TemporaryDirectory()))
        journal = self.enterContext(made_journal(folder))
        with closing(open_journal(folder)) as connection:
            for segment in range(1, 4):
                for n in range(5):
                    session = journal.session(f"{segment}-{n}", app_data=b'{"x":"%b"}' % (b"y" * 300 * n))
                    session.send(*range(7 * n + 1)).send(1, 2)
                journal.commit()
                if segment != 2:
                    renew(connection)
        self.connection = open_reader(folder)
        self.addCleanup(self.connection.close)
        self.tail = JournalTail(self.connection)
        self.events = [(segment, at) for segment in range(1, 4) for at in range(5 + 7 * 10 + 10)]
        self.ids = [f"{segment}-{n}" for segment in range(1, 4) for n in range(5)]

    @given(st.integers(1, 300), st.integers(1, 100_000))
    def test_everything_once_within_the_bounds_and_again_as_it_was(self, most: int, most_bytes: int) -> None:
        place = Position()
        events: list[tuple[int, int]] = []
        sessions: list[str] = []
        while (stretch := self.tail.read(place, most, most_bytes)).after != place:
            found = [
                (part.message.segment, part.message.first_event + at)
                for part in stretch.parts
                for at in range(part.start, part.stop)
            ]
            told = [one.id for one in stretch.sessions.values()]
            self.assertTrue(found or told)
            self.assertEqual(len(found), stretch.events)
            self.assertLessEqual(max(len(found), len(told)), most)
            # One event and one session past it at most, each of less than 2000.
            self.assertLess(stretch.size, 2 * most_bytes + 4_000)
            self.assertEqual(
                {stretch.journal_id},
                {self.tail.reader.identity.at(segment) for segment, _ in found} or {stretch.journal_id},
            )
            self.assertEqual(self.tail.read_to(place, stretch.after), stretch)
            place, events, sessions = stretch.after, events + found, sessions + told
        self.assertEqual((events, sessions, place), (self.events, self.ids, Position(4)))


class SessionsTests(SynchronousTestCase):
    """More sessions in a segment than are asked for at once."""

    def setUp(self) -> None:
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        self.patch(tail, "_AT_ONCE", 3)
        self.patch(reader, "_PAGE", 2)
        with made_journal(self.folder) as journal:
            made = [journal.session(f"s{n}") for n in range(10)]
            for session in [*made, *made]:
                session.send(session.seq + 1, session.seq + 2)
            for session in made:
                session.end()
            journal.commit()

    def read(self, most: int) -> Stretch:
        connection = open_reader(self.folder)
        self.addCleanup(connection.close)
        return JournalTail(connection).read(Position(), most, 1 << 20)

    def events(self, stretch: Stretch) -> list[tuple[str, int]]:
        return [
            (part.message.session.id, part.message.first_seq + n)
            for part in stretch.parts
            for n in range(part.start, part.stop)
        ]

    def test_each_message_has_its_own(self) -> None:
        logged = [(f"s{n}", seq) for first in (1, 3) for n in range(10) for seq in (first, first + 1)]
        for most in (1, 5, 40, 100):
            self.assertEqual(self.events(self.read(most)), logged[:most])

    def test_what_was_erased_is_left_out(self) -> None:
        for number in (0, 4, 9):
            erase_session(self.folder, f"s{number}")
        stretch = self.read(100)
        left = {f"s{n}" for n in range(10)} - {"s0", "s4", "s9"}
        self.assertEqual({session for session, _ in self.events(stretch)}, left)
        self.assertEqual({session.id for session in stretch.sessions.values()}, left)
        self.assertEqual((len(self.events(stretch)), stretch.events), (28, 40))
