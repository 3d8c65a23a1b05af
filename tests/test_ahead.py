"""What is read while a sink writes, and when that is not good any more."""

from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred

from logui_tx.delivery.ahead import ReadAhead
from logui_tx.errors import SinkAway
from logui_tx.journal import cursors
from logui_tx.journal.erase import erase_session
from logui_tx.model import Position
from logui_tx.testing import FakeSink
from tests.deliveries import DeliveryTestCase, DirectSource


class _CountedSource(DirectSource):
    """Keeps from where it was read."""

    def __init__(self, connection: Any, reads: list[Position]) -> None:
        super().__init__(connection)
        self._reads = reads

    def read(self, cursor: cursors.Cursor, most: int, most_bytes: int) -> Deferred[Any]:
        self._reads.append(cursor.position)
        return super().read(cursor, most, most_bytes)

    def read_from(self, first: Position, most: int, most_bytes: int) -> Deferred[Any]:
        self._reads.append(first)
        return super().read_from(first, most, most_bytes)


class ReadAheadTests(DeliveryTestCase):
    """Ten events of two sessions, two a commit; a sink that waits to be told, in batches of two."""

    options = {"batch": 2}

    def setUp(self) -> None:
        super().setUp()
        self.a, self.b = self.journal.session("a"), self.journal.session("b")
        for n in range(5):
            self.a.send(2 * n)
            self.b.send(2 * n + 1)
            self.journal.commit()
        self.a.end()
        self.b.end()
        self.journal.commit()
        self.reads: list[Position] = []
        self.held = FakeSink(self.place, held=True)
        self.delivery = self.deliver(sink=self.held, begin=Position(1))

    def source(self) -> DirectSource:
        return _CountedSource(self.connection, self.reads)

    def journal_id(self) -> str:
        (found,) = self.connection.execute("SELECT value FROM meta WHERE key = 'journal'").fetchone()
        return str(found)

    def go_on(self, batches: int) -> None:
        for _ in range(batches):
            self.held.let_go()

    def test_the_next_batch_is_read_while_one_is_written(self) -> None:
        self.assertEqual(self.reads, [Position(1), Position(2)])
        self.go_on(1)
        self.assertEqual(self.reads, [Position(1), Position(2), Position(3)])

    def test_everything_is_read_once(self) -> None:
        self.go_on(6)
        self.assertEqual(self.numbers(), list(range(10)))
        self.assertEqual(self.reads, [Position(n) for n in range(1, 8)])
        self.assertEqual({one.end_reason for one in self.place.sessions.values()}, {"closed"})

    def test_what_is_deleted_meanwhile_does_not_arrive(self) -> None:
        erase_session(self.journal.folder, "a")
        self.go_on(6)
        self.assertEqual(self.numbers(), [0, 1, 3, 5, 7, 9])

    def test_a_session_that_is_deleted_meanwhile_is_not_told(self) -> None:
        self.go_on(6)
        for number in range(4):
            self.journal.session(f"silent {number}").end()
            self.journal.commit()
        self.a.resume().send(10, 11, 12, 13)
        self.journal.commit()
        self.delivery.wake(4)
        self.clock.advance(1)
        erase_session(self.journal.folder, "silent 3")
        while self.held._waiting:
            self.go_on(1)
        self.assertEqual(set(self.place.sessions) - {"a", "b"}, {f"silent {number}" for number in (0, 1, 2)})
        self.assertEqual(self.numbers(), list(range(14)))

    def test_what_is_deleted_while_dead_letters_are_offered(self) -> None:
        """Between the look at the cursor and the next batch."""
        self.place.refused = {f"{self.journal_id()}-1-0"}
        while self.held._waiting[0][0].first < Position(1, 1):
            self.go_on(1)
        self.place.refused.clear()
        with self.connection:
            cursors.retry(self.connection, "sink")
        self.go_on(1)
        self.assertEqual(self.held._waiting[0][0].first, Position(1, 0))
        erase_session(self.journal.folder, "a")
        self.go_on(6)
        self.assertEqual(sorted(self.numbers()), [0, 1, 3, 5, 7, 9])

    def test_an_operator_who_moves_the_cursor(self) -> None:
        with self.connection:
            cursors.rewind(self.connection, "sink", Position(5))
        self.go_on(3)
        self.assertEqual(self.numbers(), [0, 1, 8, 9])

    def test_back_to_where_it_is(self) -> None:
        with self.connection:
            cursors.rewind(self.connection, "sink", Position(1))
        self.go_on(1)
        self.assertEqual(self.reads, [Position(1), Position(2), Position(1), Position(2)])

    def test_after_a_failure_it_is_read_again(self) -> None:
        self.place.away = SinkAway("no route")
        self.go_on(1)
        self.place.away = None
        self.clock.pump([1, 1])
        self.assertEqual(self.reads, [Position(1), Position(2), Position(1), Position(2)])

    def test_while_it_is_paused_nothing_is_kept(self) -> None:
        with self.connection:
            cursors.pause(self.connection, "sink", True)
        self.go_on(1)
        self.assertIsNone(self.delivery._ahead._begun)
        with self.connection:
            cursors.pause(self.connection, "sink", False)
        self.clock.advance(2)
        self.go_on(1)
        self.assertEqual(self.numbers(), [0, 1, 2, 3])

    def test_what_cannot_be_read_holds_nobody_up_before(self) -> None:
        with self.connection:
            self.connection.execute("UPDATE segment SET block = x'00' WHERE id = 3")
        self.go_on(2)
        self.assertEqual(self.numbers(), [0, 1, 2, 3])
        self.assertIn("segment 3", str(self.delivery.progress.trouble))

    def test_a_batch_that_is_pending_comes_as_it_was(self) -> None:
        ahead = ReadAhead(self.source(), 2, 1000)
        now = evolve(self.cursor(), position=Position(2))
        ahead.begin(now, Position(2))
        pending = evolve(now, pending=Position(2, 1))
        read = self.successResultOf(Deferred.fromCoroutine(ahead.read(pending)))
        assert read is not None
        self.assertEqual([record.position for record in read.batch.records], [Position(2)])

    def test_a_small_batch_is_not_read_before_its_time(self) -> None:
        self.go_on(6)
        self.reads.clear()
        self.a.resume().send(10, 11, 12)
        self.journal.commit()
        self.delivery.wake(3)
        self.assertEqual(len(self.held._waiting), 1)
        self.assertEqual(self.reads, [Position(7)])
