"""How far sinks are, as the journal keeps it."""

from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from logui_tx.journal import cursors
from logui_tx.journal.cursors import Cursor, DeadLetter
from logui_tx.journal.schema import open_journal
from logui_tx.model import Position, SinkBatch
from logui_tx.testing import make_record, make_session


class CursorsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.enterContext(TemporaryDirectory()))
        self.connection = open_journal(folder, create=True)
        self.addCleanup(self.connection.close)
        for name in ("a", "b"):
            cursors.add(self.connection, name, Position())

    def cursor(self, name: str = "a") -> Cursor:
        found = cursors.cursor(self.connection, name)
        assert found is not None
        return found

    def letters(self, name: str = "a") -> list[tuple[int, int | None, str]]:
        found = cursors.dead_letters(self.connection, name)
        return [(one.segment, one.event, one.session_id) for one in found]


class CountTests(CursorsTestCase):
    def test_letters_are_counted_as_they_come_and_go(self) -> None:
        letters = [DeadLetter(1, event, "s", 5, "bad") for event in (None, 0, 1)]
        cursors.refused(self.connection, "a", letters)
        cursors.refused(self.connection, "a", letters[:2])
        cursors.refused(self.connection, "b", letters)
        self.assertEqual((self.cursor().dead_letters, self.cursor().retry), (3, False))
        self.assertEqual(cursors.retry(self.connection, "a"), 3)
        self.assertTrue(self.cursor().retry)
        first, second, third = cursors.dead_letters(self.connection, "a", retries=True)
        cursors.taken(self.connection, first.number, "a", b"", 1)
        cursors.refused_again(self.connection, second.number, 6, "still")
        self.assertEqual((self.cursor().dead_letters, self.cursor().retry), (2, True))
        cursors.taken(self.connection, third.number, "a", b"", 1)
        self.assertEqual((self.cursor().dead_letters, self.cursor().retry), (1, False))
        self.assertEqual(self.cursor("b").dead_letters, 3)
        cursors.forget(self.connection, "a")
        cursors.add(self.connection, "a", Position())
        self.assertEqual(self.cursor().dead_letters, 0)

    def test_no_letter_is_read_for_a_cursor(self) -> None:
        """It is read every second, and there may be a million."""
        steps = 0

        def step() -> None:
            nonlocal steps
            steps += 1

        def cost() -> int:
            nonlocal steps
            steps = 0
            self.connection.set_progress_handler(step, 1)
            self.cursor()
            cursors.dead_letters(self.connection, "a", retries=True, limit=10)
            self.connection.set_progress_handler(None, 1)
            return steps

        before = cost()
        cursors.refused(self.connection, "a", [DeadLetter(1, n, "s", 5, "bad") for n in range(2000)])
        self.assertLess(cost(), before + 20)


class MovedTests(CursorsTestCase):
    def test_letters_between_the_bounds_are_settled(self) -> None:
        """What was rewound to and delivered is no letter any more; what is refused again stays."""
        places = [(1, 4), (1, 5), (1, 9), (2, 0), (2, 7), (3, 1), (3, 2), (3, None), (4, 0)]
        letters = [DeadLetter(segment, event, "s", 5, "bad") for segment, event in places]
        cursors.refused(self.connection, "a", [*letters, DeadLetter(1, None, "t", 5, "bad")])
        cursors.refused(self.connection, "b", letters)
        cursors.retry(self.connection, "a")
        batch = SinkBatch("j", Position(1, 5), Position(3, 2), (make_record(1),), (make_session("t"),))
        again = DeadLetter(2, 7, "s", 6, "still bad")
        cursors.moved(self.connection, "a", 1, batch, batch.after, [again], b"other")
        self.assertEqual(self.cursor().dead_letters, 10, "it was moved by an operator meanwhile")
        cursors.moved(self.connection, "a", 0, batch, batch.after, [again], b"state")
        left = [(segment, event, "s") for segment, event in places]
        left = [one for one in left if one[:2] not in [(1, 5), (1, 9), (2, 0), (3, 1)]]
        self.assertEqual(self.letters(), left)
        self.assertEqual(len(self.letters("b")), len(letters))
        kept = cursors.dead_letters(self.connection, "a", retries=True)
        self.assertEqual([one.reason for one in kept if one.segment == 2], ["still bad"])
        within = SinkBatch("j", Position(3, 2), Position(3, 4))
        cursors.moved(self.connection, "a", 0, within, within.after, [], b"state")
        self.assertEqual(self.letters(), [one for one in left if one[:2] != (3, 2)])
        self.assertEqual((self.cursor().delivered, self.cursor().position), (1, Position(3, 4)))
