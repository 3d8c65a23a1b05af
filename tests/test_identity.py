"""The ids of a journal's records, where it was put back from a backup."""

import json

from attrs import evolve

from logui_tx.data_folder import lock
from logui_tx.journal import cursors
from logui_tx.journal.identity import Identity, read_identity, renew
from logui_tx.journal.tail import JournalTail
from logui_tx.model import Position
from tests.deliveries import DeliveryTestCase, DirectSource
from tests.test_cli_export import ExportCommandTestCase


class IdentityTests(DeliveryTestCase):
    def test_which_is_whose(self) -> None:
        identity = Identity(((0, "a"), (5, "b"), (9, "c")))
        found = [identity.at(segment) for segment in (0, 1, 4, 5, 8, 9, 100)]
        self.assertEqual(found, ["a", "a", "a", "b", "b", "c", "c"])
        self.assertEqual(identity.current, "c")

    def test_again_and_again(self) -> None:
        """Of what nothing was recorded nothing is kept."""
        first = read_identity(self.connection).current
        self.journal.session("a").send(1)
        self.journal.commit()
        renew(self.connection)
        third = renew(self.connection)
        self.assertEqual(read_identity(self.connection).spans, ((0, first), (2, third)))

    def test_what_comes_next_is_told_from_what_was_forgotten(self) -> None:
        """A batch is of one id, and what stands before the new one is known again."""
        for n in (1, 2):
            self.journal.session(f"s{n}").send(n)
            self.journal.commit()
        self.crash(self.deliver())
        (journal,) = {batch.journal_id for batch in self.place.batches}
        # As in the backup: the second segment is not there, and of the first nobody knows that it was taken.
        with self.connection:
            self.connection.execute("DELETE FROM segment WHERE id = 2")
            cursors.rewind(self.connection, "sink", Position())
        fresh = renew(self.connection)
        self.journal._writer.next_segment = 2
        self.journal.session("s3").send(3)
        self.journal.commit()
        self.place.batches.clear()
        self.deliver()
        self.assertEqual([batch.journal_id for batch in self.place.batches], [journal, fresh])
        self.assertEqual(
            {record_id: json.loads(record.event)["n"] for record_id, record in self.place.records.items()},
            {f"{journal}-1-0": 1, f"{journal}-2-0": 2, f"{fresh}-2-0": 3},
        )
        self.assertEqual(self.cursor().position, Position(3))

    def test_where_the_first_are_missing(self) -> None:
        self.journal.session("a").send(1)
        self.journal.commit()
        first = read_identity(self.connection).current
        self.connection.execute("UPDATE meta SET value = 'x' WHERE key = 'journal'")
        spans = json.dumps([(0, first), (1, "x")])
        self.connection.execute("INSERT INTO meta VALUES ('journals', ?)", (spans,))
        stretch = JournalTail(self.connection).read(Position(), 10, 10_000)
        self.assertEqual((stretch.journal_id, stretch.events), ("x", 1))

    def test_dead_letters(self) -> None:
        first = read_identity(self.connection).current
        for n in (1, 2):
            self.journal.session(f"s{n}").send(n)
            self.journal.commit()
            fresh = renew(self.connection)
        event = cursors.DeadLetter(2, 0, "s2", 0, "")
        source = DirectSource(self.connection)
        spans = read_identity(self.connection).spans
        self.assertEqual((spans[0], spans[-1]), ((0, first), (3, fresh)))
        for letter in (event, evolve(event, event=None)):
            batch = self.successResultOf(source.read_letter(letter))
            self.assertEqual(batch.journal_id, spans[1][1])


class CommandTests(ExportCommandTestCase):
    def test_a_new_identity(self) -> None:
        self.log("s1", 1)
        before = self.lines()[0]["recordID"]
        with lock(self.folder):
            self.assertIn("in use by another server", self.fails("journal", "new-identity", "--yes"))
        text = self.succeeds("journal", "new-identity", "--yes")
        fresh = self.json("journal", "info")["id"]
        self.assertIn(fresh, text)
        self.log("s2", 2)
        self.assertEqual([line["recordID"] for line in self.lines()], [before, f"{fresh}-2-0"])
        self.assertNotIn(fresh, before)
