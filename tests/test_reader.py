"""The journal's reader: order, memory, times, and what it sees of a journal that goes on."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from logui_tx.errors import CorruptSegment, UnknownSession
from logui_tx.journal import reader as reader_module
from logui_tx.journal.reader import JournalReader, StoredMessage, group_sessions
from logui_tx.journal.schema import open_journal
from tests.journals import NOW, MadeJournal, logged, made_journal, payload, reading


class ReaderTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        self.journal: MadeJournal = self.enterContext(made_journal(self.folder))

    def reader(self, **more: Any) -> JournalReader:
        return self.enterContext(reading(self.folder, **more))

    def read(self, reader: JournalReader, **more: Any) -> list[tuple[str, int, bytes]]:
        """(session, seq, event) of everything."""
        return told(reader.messages(reader.sessions(), **more))


def told(messages: Any) -> list[tuple[str, int, bytes]]:
    return [
        (message.session.id, message.first_seq + place, event.raw)
        for message in messages
        for place, event in enumerate(logged(message))
    ]


def raw(session: str, n: int) -> bytes:
    return b'{"clientDateTime":1,"x":"%b %d"}' % (session.encode(), n)


class OrderTests(ReaderTestCase):
    def interleave(self, sessions: int = 5, commits: int = 7) -> list[tuple[str, int, bytes]]:
        """Sessions side by side, two messages a commit each; what must be read of them."""
        made = [self.journal.session(f"s{n}") for n in range(sessions)]
        for commit in range(commits):
            for session in made if commit % 2 else reversed(made):
                session.send(raw(session.id, session.seq + 1), raw(session.id, session.seq + 2))
                session.send(raw(session.id, session.seq + 1))
            self.journal.commit()
        return [(s.id, seq, raw(s.id, seq)) for s in made for seq in range(1, 3 * commits + 1)]

    def test_sessions_side_by_side_come_one_after_the_other(self) -> None:
        expected = self.interleave()
        self.assertEqual(self.read(self.reader()), expected)

    def test_little_memory_changes_nothing(self) -> None:
        expected = self.interleave()
        for memory in (0, 1, 10_000, 20_000):
            self.assertEqual(self.read(self.reader(memory=memory)), expected, memory)

    def test_groups_are_as_large_as_the_memory(self) -> None:
        self.interleave(sessions=6)
        reader = self.reader()
        sessions = list(reader.sessions())
        cost = max(session.size for session in sessions) + reader_module._SESSION_COST
        for memory, lengths in [(0, [1] * 6), (2 * cost, [2] * 3), (4 * cost, [4, 2]), (6 * cost, [6])]:
            groups = list(group_sessions(sessions, memory))
            self.assertEqual([len(group) for group in groups], lengths)
            self.assertEqual([session for group in groups for session in group], sessions)

    def test_tiny_sessions_are_not_free(self) -> None:
        """A million sessions of one small event must not count as one group."""
        for n in range(3):
            self.journal.session(f"s{n}").send(1)
        self.journal.commit()
        groups = group_sessions(self.reader().sessions(), reader_module._SESSION_COST)
        self.assertEqual([len(group) for group in groups], [1, 1, 1])

    def test_places_count_the_events_before_in_the_segment(self) -> None:
        a, b = self.journal.session("a"), self.journal.session("b")
        a.send(1, 2)
        b.send(1)
        a.send()
        a.send(3)
        self.journal.commit()
        b.send(2)
        self.journal.commit()
        reader = self.reader()
        places = [
            (message.session.id, message.segment, message.first_event, message.count)
            for message in reader.messages(reader.sessions())
        ]
        self.assertEqual(
            places, [("a", 1, 0, 2), ("a", 1, 3, 0), ("a", 1, 3, 1), ("b", 1, 2, 1), ("b", 2, 0, 1)]
        )

    def test_what_is_known_of_a_message(self) -> None:
        session = self.journal.session("s", app_data=b'{"a":1}').send(1)
        session.clock_offset = None
        session.change(b'{"a":2}').send(2)
        self.journal.commit()
        reader = self.reader()
        first, second = reader.messages(reader.sessions())
        self.assertEqual((first.app_data, second.app_data), (b'{"a":1}', b'{"a":2}'))
        self.assertEqual((first.clock_offset, second.clock_offset), (7, None))
        self.assertEqual((first.received, second.received), (NOW + 2000, NOW + 4000))
        self.assertEqual(first.message, payload(logged(first)[0].raw))

    def test_application_data_of_many_versions(self) -> None:
        """More than are remembered at once, of sessions that are read together."""
        made = [self.journal.session(f"s{n}") for n in range(2)]
        for n in range(300):
            for session in made:
                session.change(b'{"%b":%d}' % (session.id.encode(), n)).send(n)
        self.journal.commit()
        reader = self.reader()
        found = [message.app_data for message in reader.messages(reader.sessions())]
        self.assertEqual(found, [b'{"s%d":%d}' % (s, n) for s in range(2) for n in range(300)])


class ChoiceTests(ReaderTestCase):
    def test_a_flight(self) -> None:
        for n in range(4):
            self.journal.session(f"s{n}", flight=f"f{n % 2}").send(n)
        self.journal.commit()
        reader = self.reader()
        self.assertEqual([session.id for session in reader.sessions("f1")], ["s1", "s3"])
        self.assertEqual(list(reader.sessions("unknown")), [])
        self.assertEqual(list(reader.sessions("")), [], "no flight's id, not all flights")
        self.assertEqual([s for s, _, _ in told(reader.messages(reader.sessions("f1")))], ["s1", "s3"])

    def test_many_pages_of_sessions(self) -> None:
        ids = [f"s{n}" for n in range(2 * reader_module._PAGE + 1)]
        for session_id in ids:
            self.journal.session(session_id)
        self.journal.commit()
        self.assertEqual([session.id for session in self.reader().sessions()], ids)

    def test_since_and_until(self) -> None:
        session = self.journal.session("s")
        for n in range(4):
            session.send(n)
            if n % 2:
                self.journal.commit()
        reader = self.reader()
        times = [message.received for message in reader.messages(reader.sessions())]

        def seqs(**bounds: int) -> list[int]:
            return [message.first_seq for message in reader.messages(reader.sessions(), **bounds)]

        self.assertEqual(seqs(since=times[1]), [2, 3, 4], "since is inclusive")
        self.assertEqual(seqs(until=times[1]), [1], "until is exclusive")
        self.assertEqual(seqs(until=times[2]), [1, 2])
        self.assertEqual(seqs(since=times[1] + 1, until=times[3]), [3])
        self.assertEqual(seqs(since=times[3] + 1), [])
        self.assertEqual(seqs(until=times[0]), [])

    def test_unknown_session(self) -> None:
        self.assertRaises(UnknownSession, self.reader().session, "s")
        self.assertRaises(UnknownSession, self.reader().session, "a\udcff")

    def test_an_empty_journal(self) -> None:
        self.assertEqual(self.read(self.reader()), [])
        self.assertEqual(self.reader().counts(), reader_module.Counts(0, 0, 0))


class SnapshotTests(ReaderTestCase):
    def test_what_comes_later_is_not_read(self) -> None:
        first = self.journal.session("first").send(1)
        self.journal.session("second").send(1)
        self.journal.commit()
        for memory in (0, reader_module.MEMORY):
            reader = self.reader(memory=memory)
            before = self.read(reader)
            sessions = reader.sessions()
            messages = reader.messages(sessions)
            found: list[StoredMessage] = [next(messages)]
            first.send(2)
            self.journal.session(f"later {memory}").send(1)
            self.journal.commit()
            found.extend(messages)
            self.assertEqual(told(found), before)
            self.assertGreater(len(self.read(reader)), len(before))

    def test_a_later_page_of_sessions(self) -> None:
        """Sessions are read page by page: those of the last page must not have grown since the first."""
        made = [self.journal.session(f"s{n}").send(1) for n in range(reader_module._PAGE + 1)]
        self.journal.commit()
        reader = self.reader()
        sessions = reader.sessions()
        read = [next(sessions)]
        made[-1].send(2)
        self.journal.session("later").send(1)
        self.journal.commit()
        read.extend(sessions)
        self.assertEqual([session.id for session in read], [session.id for session in made])
        self.assertEqual(len(told(reader.messages(read))), len(made))

    def test_what_one_session_got_while_another_was_looked_up(self) -> None:
        """Each ends where it ended when it was looked up, also in segments that are read for the other."""
        a, b = self.journal.session("a").send(1), self.journal.session("b").send(1)
        self.journal.commit()
        reader = self.reader()
        sessions = [reader.session("a")]
        a.send(2)
        b.send(2)
        self.journal.commit()
        sessions.append(reader.session("b"))
        found = [(message.session.id, message.first_seq) for message in reader.messages(sessions)]
        self.assertEqual(found, [("a", 1), ("b", 1), ("b", 2)])

    def test_the_same_twice(self) -> None:
        session = self.journal.session("s").send(1)
        self.journal.commit()
        reader = self.reader()
        at = reader.snapshot()
        for n in range(3):
            self.assertEqual(len(told(reader.messages(reader.sessions(at=at)))), 1)
            session.send(n)
            self.journal.session(f"s{n}").send(n)
            self.journal.commit()

    def test_a_slow_reader_does_not_hold_the_writer(self) -> None:
        """Between two messages nothing is locked: the writer's log can be folded in."""
        session = self.journal.session("s")
        for n in range(3):
            session.send(n)
            self.journal.commit()
        messages = self.reader().messages(self.reader().sessions())
        next(messages)
        connection = open_journal(self.folder)
        self.addCleanup(connection.close)
        busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        self.assertEqual(busy, 0)
        self.assertEqual(len(list(messages)), 2)


class DamageTests(ReaderTestCase):
    def setUp(self) -> None:
        super().setUp()
        session = self.journal.session("s")
        for n in range(3):
            session.send(n)
            self.journal.commit()
        self.connection = open_journal(self.folder)
        self.addCleanup(self.connection.close)

    def damage(self, segment: int, at: int = -1) -> None:
        (block,) = self.connection.execute("SELECT block FROM segment WHERE id = ?", (segment,)).fetchone()
        changed = bytearray(block)
        changed[at] ^= 1
        self.connection.execute("UPDATE segment SET block = ? WHERE id = ?", (bytes(changed), segment))

    def test_a_sound_journal(self) -> None:
        self.assertEqual(list(self.reader().check()), [])
        self.assertEqual(self.reader().integrity(1), ["ok"])

    def test_the_damaged_segment_is_named(self) -> None:
        self.damage(2)
        reader = self.reader()
        messages = reader.messages(reader.sessions())
        self.assertEqual(next(messages).segment, 1)
        error = self.assertRaises(CorruptSegment, next, messages)
        self.assertIn("segment 2", str(error))
        self.assertEqual([segment for segment, _ in reader.check()], [2])

    def test_any_byte(self) -> None:
        (length,) = self.connection.execute("SELECT length(block) FROM segment WHERE id = 1").fetchone()
        for at in range(length):
            self.damage(1, at)
            self.assertEqual([segment for segment, _ in self.reader().check()], [1], f"byte {at}")
            self.damage(1, at)
        self.assertEqual(list(self.reader().check()), [])

    def test_counts(self) -> None:
        self.assertEqual(self.reader().counts(), reader_module.Counts(sessions=1, events=3, segments=3))
