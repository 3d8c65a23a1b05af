"""From stored messages to records; and JSON text made to fit."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.dialects import BY_NAME
from logui_tx.errors import JournalError, UnknownSession
from logui_tx.export.records import Selection, Tally, columns_of, records
from logui_tx.export.text import ascii_json, one_line, shown
from logui_tx.model import Position, Record
from tests.journals import NOW, MadeJournal, made_journal, reading


class ExportTestCase(SynchronousTestCase):
    """``self.journal`` is written, and :meth:`select` chooses from it."""

    def setUp(self) -> None:
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        self.journal: MadeJournal = self.enterContext(made_journal(self.folder))

    def select(self, flight: str = "flight", **more: Any) -> Selection:
        reader = self.enterContext(reading(self.folder))
        return Selection(reader, flight, reader.snapshot(), **more)

    def records(self, flight: str = "flight", **more: Any) -> list[Record]:
        selection = self.select(flight, **more)
        journal_id = selection.reader.identity.current
        return [record for message in selection.messages() for record in records(message, journal_id)]


class RecordTests(ExportTestCase):
    def test_everything_that_is_known(self) -> None:
        session = self.journal.session("s", application="app", app_data=b'{"k" : "v"}')
        session.send(b'{"clientDateTime": 1760000000.5, "n": 1e400}')
        self.journal.commit()
        selection = self.select()
        self.assertEqual(
            self.records(),
            [
                Record(
                    record_id=f"{selection.reader.identity.current}-1-0",
                    application_id="app",
                    flight_id="flight",
                    session_id="s",
                    seq=1,
                    received_at="2025-10-09T08:53:22.000Z",
                    client_time=1760000000500,
                    clock_offset=7,
                    dialect="logui-0.4",
                    app_data=b'{"k" : "v"}',
                    event=b'{"clientDateTime": 1760000000.5, "n": 1e400}',
                    position=Position(1, 0),
                )
            ],
        )

    def test_ids_are_places_in_segments(self) -> None:
        a, b = self.journal.session("a"), self.journal.session("b")
        a.send(1, 2)
        b.send(3)
        a.send(4)
        self.journal.commit()
        b.send(5)
        self.journal.commit()
        places = [(r.session_id, r.seq, r.record_id.removeprefix(r.record_id[:36])) for r in self.records()]
        self.assertEqual(
            places, [("a", 1, "-1-0"), ("a", 2, "-1-1"), ("a", 3, "-1-3"), ("b", 1, "-1-2"), ("b", 2, "-2-0")]
        )

    def test_all_times_that_clients_write(self) -> None:
        written = [b"1760000000", b"1760000000000", b'"1760000000"', b'"2025-10-09T08:53:20Z"', b"1.76e12"]
        self.journal.session("s").send(*(b'{"clientDateTime":%b}' % time for time in written))
        self.journal.commit()
        self.assertEqual([record.client_time for record in self.records()], [NOW] * len(written))

    def test_lone_surrogates(self) -> None:
        event = b'{"clientDateTime":1760000000,"x":"\\ud83d"}'
        self.journal.session("s").send(event)
        self.journal.commit()
        (record,) = self.records()
        self.assertEqual((record.event, record.client_time), (event, NOW))

    def test_line_breaks_between_tokens(self) -> None:
        session = self.journal.session("s", app_data=b'{"a":[\n1]}')
        session.send(b'{"clientDateTime":\r\n1760000000,\n"x":"\\n\\r"}')
        self.journal.commit()
        (record,) = self.records()
        self.assertEqual(record.event, b'{"clientDateTime":  1760000000, "x":"\\n\\r"}')
        self.assertEqual(record.app_data, b'{"a":[ 1]}')

    def test_a_dialect_not_known(self) -> None:
        self.journal.session("s", dialect="logui-9").send(1)
        self.journal.commit()
        self.assertIn("logui-9", str(self.assertRaises(JournalError, self.records)))

    def test_a_message_that_cannot_be_read(self) -> None:
        for message in [b"{}", b"[", b'{"payloadType":"LogUIEventPayload","eventsToBeLogged":[]}']:
            session = self.journal.session(f"s{len(message)}", flight=f"f{len(message)}")
            session.send(1, message=message)
            self.journal.commit()
            error = self.assertRaises(JournalError, self.records, f"f{len(message)}")
            self.assertIn(session.id, str(error))

    def test_dialects_are_known_by_their_names(self) -> None:
        self.assertEqual({name: dialect.name for name, dialect in BY_NAME.items()}, {n: n for n in BY_NAME})


class SelectionTests(ExportTestCase):
    def setUp(self) -> None:
        super().setUp()
        for n in range(4):
            self.journal.session(f"s{n}", flight=f"f{n % 2}").send(n, n)
        self.journal.commit()

    def test_a_flight(self) -> None:
        self.assertEqual([r.session_id for r in self.records("f1")], ["s1", "s1", "s3", "s3"])
        self.assertEqual(self.select("f1").events(), 4)

    def test_a_session(self) -> None:
        self.assertEqual([r.session_id for r in self.records("f1", session_id="s3")], ["s3", "s3"])
        self.assertRaises(UnknownSession, self.records, "f1", session_id="s2")
        self.assertRaises(UnknownSession, self.records, "f1", session_id="s9")

    def test_times(self) -> None:
        first = NOW + 4000  # of s1: each session takes two moments
        self.assertEqual([r.session_id for r in self.records("f1", since=first + 1)], ["s3", "s3"])
        self.assertEqual([r.session_id for r in self.records("f1", until=first + 1)], ["s1", "s1"])

    def test_the_same_each_time(self) -> None:
        whole, one = self.select("f1"), self.select("f1", session_id="s1")
        before = [list(whole.messages()), list(one.messages())]
        late = self.journal.session("late", flight="f1")
        self.journal.commit()
        late.send(1)
        self.journal.commit()
        after = [list(whole.messages()), list(one.messages())]
        for old, new in zip(before, after, strict=True):
            self.assertEqual([m.message for m in new], [m.message for m in old])

    def test_one_session_that_goes_on(self) -> None:
        session = self.journal.session("s").send(1)
        self.journal.commit()
        one = self.select(session_id="s")
        session.send(2)
        self.journal.commit()
        self.assertEqual([message.first_seq for message in one.messages()], [1])

    def test_tally(self) -> None:
        told: list[int] = []
        tally = Tally(told.append)
        self.journal.session("none", flight="f1").send()
        self.journal.commit()
        for message in self.select("f1").messages():
            tally.wrote(message)
        self.assertEqual((tally.events, tally.sessions), (4, 2))
        self.assertEqual(sum(told), 4)

    def test_a_message_without_events(self) -> None:
        self.journal.session("s", flight="f").send().send(1)
        self.journal.commit()
        self.assertEqual([len(columns_of(message).raw) for message in self.select("f").messages()], [0, 1])


unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
texts = st.text(st.characters(exclude_categories=()))  # every code point, the lone surrogates too
names = st.text(st.characters(exclude_categories=()), max_size=20)
"""Of members: short, for a name that is too long with all that it stands in gets no column."""
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=8,
)


class TextTests(SynchronousTestCase):
    @unhurried
    @given(values, st.sampled_from([None, 0, "\t", "\r\n", "\n"]), st.booleans())
    def test_the_meaning_stays(self, value: object, indent: Any, ascii_only: bool) -> None:
        text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
        written = text.encode("utf-8", "surrogatepass" if ascii_only else "backslashreplace")
        self.assertNotIn(b"\n", one_line(written))
        self.assertNotIn(b"\r", one_line(written))
        self.assertEqual(json.loads(one_line(written)), value)
        plain = ascii_json(written.replace(b"\t", b" "))
        self.assertTrue(plain.isascii() and plain.isprintable(), plain)
        self.assertEqual(json.loads(plain), value)
        seen = shown(one_line(written).decode().replace("\t", " "))
        self.assertTrue(seen.isprintable(), seen)
        self.assertEqual(json.loads(seen), value)

    def test_a_terminal_shows_letters(self) -> None:
        self.assertEqual(shown('"né 日本 \x1b[31m \x9b \u202e \U000e0001"'), (
            '"né 日本 \\u001b[31m \\u009b \\u202e \\udb40\\udc01"'
        ))  # fmt: skip
