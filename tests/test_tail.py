"""What is read forward from a position, and of whose sessions."""

from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from logui_tx.journal import reader, tail
from logui_tx.journal.erase import erase_session
from logui_tx.journal.schema import open_reader
from logui_tx.journal.tail import JournalTail, Stretch
from logui_tx.model import Position
from tests.journals import made_journal


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
