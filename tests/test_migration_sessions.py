"""Past sessions and events, in the journal: each once, however often they come."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.export.records import records
from logui_tx.journal.reader import JournalReader
from logui_tx.journal.schema import open_reader
from logui_tx.migration.events import read_event
from logui_tx.migration.feed import JournalFeed
from logui_tx.migration.old_server import OldFlight, OldSession
from logui_tx.migration.sessions import Counts, PastSessions, session_of_the_rest
from logui_tx.model import Session
from tests.journals import made_journal, reading
from tests.released_server import T, logged

APPLICATION = "f3e2cbb9-ffa0-401d-abd1-5bb52f5ce335"
F1, F2 = "091d2bc4-3cf0-4c3d-890c-3fedb06b0081", "191d2bc4-3cf0-4c3d-890c-3fedb06b0081"
S1, S2 = "5cdfc67b-52a7-4c14-b743-a2f999ba546e", "6cdfc67b-52a7-4c14-b743-a2f999ba546e"
NOW = T + 10_000_000
FLIGHTS = [OldFlight(each, APPLICATION, "Name", True, "x.org", T) for each in (F1, F2)]


def old(session: str = S1, start: int | None = T, end: int | None = None, **more: Any) -> OldSession:
    told = {"client_started_at": None, "user_agent": "Agent", "device": None, **more}
    return OldSession(session, told.pop("flight_id", F1), start, end, **told)


def event(n: int, session: str | None = S1, flight: str = F1, **more: Any) -> dict[str, Any]:
    return logged(APPLICATION, flight, session, n, **more)


def stopped(n: int, session: str = S1) -> dict[str, Any]:
    return event(n, session, eventType="statusEvent", eventDetails={"type": "stopped"})


class Broken(Exception):
    """The import ends here, as by a kill."""


class PastSessionsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(TemporaryDirectory()))

    def bring(
        self,
        sessions: list[OldSession],
        *files: list[Any],
        now: int = NOW,
        break_after: int | None = None,
        **more: Any,
    ) -> Counts:
        feed = JournalFeed(self.folder)
        feed.start(now)
        try:
            with feed, closing(open_reader(self.folder)) as connection:
                past = PastSessions(feed, JournalReader(connection), FLIGHTS, now, **more)
                for session in sessions:
                    past.add(session)
                past.all_added()
                for file in files:
                    for n, each in enumerate(file):
                        if n == break_after:
                            raise Broken
                        past.log(read_event(json.dumps(each).encode()))
                    past.end_file()
                past.end()
        except Broken:
            pass
        return past.counts

    def session(self, session: str = S1) -> Session:
        with reading(self.folder) as reader:
            return reader.session(session)

    def logged(self, session: str = S1) -> list[Any]:
        """(seq, event) of a session."""
        with reading(self.folder) as reader:
            found = [
                (record.seq, json.loads(record.event))
                for message in reader.messages([reader.session(session)])
                for record in records(message, reader.identity.current)
            ]
        self.assertEqual([seq for seq, _ in found], list(range(1, len(found) + 1)))
        return [each for _, each in found]


class SessionTests(PastSessionsTestCase):
    def test_one_without_events(self) -> None:
        counts = self.bring([old(end=T + 5000, client_started_at=T + 70, device='{"os":"Linux"}')])
        found = self.session()
        self.assertEqual(
            (found.flight_id, found.application_id, found.dialect), (F1, APPLICATION, "logui-0.5")
        )
        self.assertEqual((found.started_at, found.ended_at, found.end_reason), (T, T + 5000, "closed"))
        self.assertEqual(
            (found.user_agent, found.device, found.client_started_at), ("Agent", '{"os":"Linux"}', T + 70)
        )
        self.assertEqual((found.last_activity, found.events), (T + 5000, 0))
        self.assertEqual((counts.sessions, counts.sessions_there, counts.sessions_from_events), (1, 0, 0))

    def test_when_it_ended(self) -> None:
        for told, events, expected in [
            (old(), [], (T, "lost")),
            (old(end=T + 5000), [], (T + 5000, "closed")),
            (old(end=T - 5), [], (T, "closed")),
            (old(), [event(9)], (T + 9000, "lost")),
            (old(), [stopped(8), event(9)], (T + 9000, "closed")),
            (old(end=T + 5000), [event(3)], (T + 5000, "closed")),
            (old(end=T + 5000), [event(9)], (T + 9000, "closed")),
            (old(), [event(9), event(3)], (T + 9000, "lost")),
        ]:
            with TemporaryDirectory() as folder:
                self.folder = Path(folder)
                for _ in range(2):
                    self.bring([told], events)
                    found = self.session()
                    self.assertEqual((found.ended_at, found.end_reason), expected)
                with reading(self.folder) as reader:
                    before = reader.counts().segments
                self.bring([told], events)
                with reading(self.folder) as reader:
                    self.assertEqual(reader.counts().segments, before, "nothing was written")

    def test_it_ended_since_the_first_import(self) -> None:
        self.bring([old()])
        self.bring([old(end=T + 7000)])
        found = self.session()
        self.assertEqual((found.ended_at, found.end_reason), (T + 7000, "closed"))

    def test_times_are_held_within_reason(self) -> None:
        """A client may say what it likes of its clock."""
        wild = [
            event(1, timestamps={"eventTimestamp": each})
            for each in (-(10**12), 8.64e15, "1970-01-01T00:00Z")
        ]
        self.bring([old(client_started_at=T + 50), old(S2, T, 9 * 10**15)], wild, [event(1, S2)])
        self.assertEqual((self.session().started_at, self.session().ended_at), (T, NOW))
        self.assertEqual(self.session(S2).ended_at, NOW)
        unknown = "7cdfc67b-52a7-4c14-b743-a2f999ba546e"
        self.bring([], [{**each, "sessionID": unknown} for each in wild])
        self.assertEqual((self.session(unknown).started_at, self.session(unknown).ended_at), (0, NOW))

    def test_events_of_nobodys_session(self) -> None:
        with made_journal(self.folder) as journal:
            other = journal.session(S2, flight=F1, dialect="logui-0.4").send(1).end()
            journal.commit()
        before = self.session(S2)
        lost = [event(1, None), event(2, S1, F2), event(3, other.id), event(4, S1)]
        counts = self.bring([old()], lost)
        self.assertEqual(self.logged(), [lost[3]])
        self.assertEqual(self.logged(session_of_the_rest(F1)), [lost[0], lost[2]])
        self.assertEqual(self.logged(session_of_the_rest(F2)), [lost[1]])
        self.assertEqual((counts.events_without_session, counts.sessions_from_events), (3, 2))
        self.assertEqual(self.session(S2), before)


class OnceTests(PastSessionsTestCase):
    def test_it_has_grown(self) -> None:
        events = [event(n) for n in range(30)]
        self.bring([old()], events[:17])
        counts = self.bring([old()], events)
        self.assertEqual((counts.events, counts.events_there), (13, 17))
        self.assertEqual(self.logged(), events)

    def test_the_same_file_twice_in_one_import(self) -> None:
        events = [event(n) for n in range(30)]
        counts = self.bring([old()], events[:20], events, events)
        self.assertEqual((counts.events, counts.events_there), (30, 50))
        self.assertEqual(self.logged(), events)

    def test_files_that_overlap(self) -> None:
        events = [event(n) for n in range(30)]
        for files in ([events[:20], events[10:]], [events[10:20], events], [events[::2], events]):
            with TemporaryDirectory() as folder:
                self.folder = Path(folder)
                counts = self.bring([old()], *files)
                self.assertEqual((counts.events, counts.events_there), (30, sum(map(len, files)) - 30))
                for file in files:
                    self.assertEqual(self.bring([old()], file).events, 0)
                self.assertEqual(sorted(self.logged(), key=str), sorted(events, key=str))

    def test_in_another_order(self) -> None:
        events = [event(n) for n in range(6)]
        self.bring([old()], events[:3])
        self.assertEqual(self.bring([old()], [*events[:1], *events[3:5], *events[1:3], events[5]]).events, 3)
        self.assertEqual(self.logged(), events)
        self.assertEqual(self.bring([old()], events[::-1]).events, 0)

    def test_an_event_that_was_left_out_before(self) -> None:
        events = [event(n) for n in range(4)]
        self.bring([old()], [events[0], *events[2:]])
        self.assertEqual(self.bring([old()], events).events, 1)
        self.assertEqual(self.logged(), [events[0], *events[2:], events[1]])

    def test_an_event_that_is_yet_to_come(self) -> None:
        """It does not move the session's end with every import."""
        events = [event(10**6)]
        self.bring([old()], events)
        before = self.session()
        self.bring([old()], events, now=NOW + 5000)
        self.assertEqual(self.session(), before)

    def test_a_session_without_a_flight(self) -> None:
        counts = self.bring([old(flight_id="291d2bc4-3cf0-4c3d-890c-3fedb06b0081")])
        self.assertEqual((counts.sessions, counts.sessions_without_flight), (0, 1))

    def test_parts_of_a_collection(self) -> None:
        events = [event(n) for n in range(30)]
        self.bring([old()], events[:12], events[12:])
        self.assertEqual(self.logged(), events)
        self.assertEqual(self.bring([old()], events[12:], events[:12]).events, 0)
        self.assertEqual(self.logged(), events)

    def test_the_same_thing_may_happen_twice(self) -> None:
        events = [event(1)] * 25
        self.bring([old()], events[:7])
        self.bring([old()], events)
        self.bring([old()], events)
        self.assertEqual(self.logged(), events)

    def test_it_went_on_here(self) -> None:
        self.bring([old()], [event(1), event(2)])
        with reading(self.folder) as reader:
            number = reader.session(S1).number
        from logui_tx.journal.entry import SessionHandle, SessionRow

        with made_journal(self.folder) as journal:
            here = journal.session(S1, flight=F1, application=APPLICATION, dialect="logui-0.5")
            journal.waiting.clear()
            here.handle = SessionHandle(SessionRow(S1, F1, APPLICATION, "logui-0.5", T), number)
            here.seq = 2
            text = json.dumps(
                {"payload": {"items": [event(3)]}, "sender": "logUIClient", "type": "logEvents"}
            )
            journal.now = NOW
            here.resume().send(0, message=text.encode()).end("serverShutdown")
            journal.commit()
        before = self.session()
        self.bring([old(end=T + 3000)], [event(1), event(2)])
        self.assertEqual(self.session(), before)
        self.bring([old(end=T + 3000)], [event(1), event(2), event(9)])
        self.assertEqual(self.logged(), [event(1), event(2), event(3), event(9)])
        after = self.session()
        self.assertEqual((after.ended_at, after.end_reason), (before.ended_at, "serverShutdown"))

    def test_memory(self) -> None:
        """Where too much waits for a marker, messages end early; nothing is lost."""
        events = [event(0, applicationSpecificData={"d": 1})]
        events += [event(n, applicationSpecificData={"d": 2}) for n in range(1, 200)]
        self.bring([], events, memory=2000)
        self.assertEqual(self.logged(), events)
        with reading(self.folder) as reader:
            longest = max(len(each.message) for each in reader.messages([reader.session(S1)]))
        self.assertLess(longest, 4000)

    @given(st.data())
    @settings(max_examples=25, deadline=None)
    def test_however_it_is_broken_off(self, data: Any) -> None:
        """Ended anywhere, grown and repeated, what comes out is what one import makes."""
        events = data.draw(
            st.lists(
                st.builds(
                    event,
                    st.integers(0, 9),
                    st.sampled_from([S1, S2, None]),
                    applicationSpecificData=st.sampled_from([None, {"d": 1}, {"d": 2}]),
                ),
                max_size=40,
            )
        )
        with TemporaryDirectory() as folder:
            self.folder = Path(folder)
            for _ in range(data.draw(st.integers(0, 3))):
                file = events[: data.draw(st.integers(0, len(events)))]
                after = data.draw(st.none() | st.integers(0, len(file)))
                self.bring([old()], file, break_after=after)
            self.bring([old()], events)
            for session, told in [(S1, S1), (S2, S2), (session_of_the_rest(F1), None)]:
                expected = [each for each in events if each["sessionID"] == told]
                if expected:
                    self.assertEqual(self.logged(session), expected)
            with reading(self.folder) as reader:
                self.assertEqual(reader.counts().events, len(events))
                self.assertFalse([each for each in reader.sessions() if each.ended_at is None])
