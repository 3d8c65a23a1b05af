"""The sink ``postgresql:`` over a real PostgreSQL."""

from __future__ import annotations

import json
from urllib.parse import quote

import psycopg
from attrs import evolve
from msgspec.structs import replace
from twisted.internet.defer import gatherResults

from logui_tx.errors import RecordsRefused
from logui_tx.interfaces import ISink
from logui_tx.model import Position, Record
from logui_tx.testing import SinkContract, make_record, make_session
from logui_tx.testing.sink_contract import HOSTILE, JOURNAL, made, make_batch
from tests.integration.postgresql_sink import RECORD_ID, PostgreSQLSinkTestCase


class PostgreSQLContractTests(SinkContract, PostgreSQLSinkTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(self.bring_back)
        self.there = True

    def make_sink(self) -> ISink:
        sink: ISink = self.sink()
        return sink

    async def kept(self) -> list[tuple[str, str, int, bytes]]:
        try:
            rows = self.ask(
                f"SELECT {RECORD_ID}, session_id, seq, event_text FROM logui_events"
                " ORDER BY journal_id, segment, position"
            )
        except psycopg.errors.UndefinedTable:
            return []
        return [(record, session, seq, event.encode()) for record, session, seq, event in rows]

    async def kept_sessions(self) -> dict[str, str | None]:
        return dict(self.ask("SELECT session_id, end_reason FROM logui_sessions"))

    async def take_away(self) -> None:
        self.postgresql.stop()
        self.there = False

    async def bring_back(self) -> None:
        if not self.there:
            self.postgresql.start()
            self.there = True

    def refused_record(self) -> Record:
        """Operators may well add rules of their own."""

        async def opened(state: bytes = b"") -> ISink:
            sink = await SinkContract.opened(self, state)
            self.ask("ALTER TABLE logui_events ADD CONSTRAINT no_three CHECK (seq <> 3)")
            return sink

        self.opened = opened  # type: ignore[method-assign]
        return make_record(3)


class ColumnTests(PostgreSQLSinkTestCase):
    async def test_a_record(self) -> None:
        sink = self.sink()
        await sink.open(b"")
        record = make_record(7, position=Position(12, 34))
        await sink.write(make_batch([record], [make_session()]))
        (row,) = self.ask(
            f"SELECT {RECORD_ID}, application_id, flight_id, session_id, seq, dialect, clock_offset,"
            " extract(epoch FROM received_at) * 1000, extract(epoch FROM client_time) * 1000,"
            " app_data, event, event_text, pg_typeof(event)::text FROM logui_events"
        )
        self.assertEqual(
            row,
            (
                record.record_id,
                record.application_id,
                record.flight_id,
                "s1",
                7,
                "logui-0.4",
                -5,
                1_795_341_600_250,
                record.client_time,
                {"condition": "A"},
                json.loads(record.event),
                record.event.decode(),
                "jsonb",
            ),
        )

    async def test_a_session(self) -> None:
        sink = self.sink()
        await sink.open(b"")
        session = make_session(
            ended_at=1_795_341_700_001, end_reason="closed", events=3, device='{"os":"x"}', user_agent="a\0b"
        )
        await sink.write(make_batch(made([1]), [session]))
        (row,) = self.ask(
            "SELECT session_id, extract(epoch FROM started_at) * 1000, extract(epoch FROM ended_at) * 1000,"
            " events, user_agent, device, app_data, origin FROM logui_sessions"
        )
        self.assertEqual(
            row,
            (
                "s1",
                1_795_341_600_000,
                1_795_341_700_001,
                3,
                "a\ufffdb",
                {"os": "x"},
                {"condition": "A"},
                None,
            ),
        )

    async def test_what_jsonb_cannot_hold_is_a_string(self) -> None:
        sink = self.sink()
        await sink.open(b"")
        events = [*HOSTILE, b'{"n":1e131073}', b'{"n":%s}' % (b"9" * 200_000)]
        await sink.write(make_batch([make_record(n, event=event) for n, event in enumerate(events, 1)]))
        rows = self.ask("SELECT event, event_text FROM logui_events ORDER BY seq")
        self.assertEqual([text.encode() for _, text in rows], events)
        for event, text in rows:
            if isinstance(event, str):
                self.assertEqual(event, text)
        self.assertEqual([n for n, (event, _) in enumerate(rows) if isinstance(event, str)], [0, 2, 6, 7])

    async def test_times_of_any_size(self) -> None:
        sink = self.sink()
        await sink.open(b"")
        times = [-8_640_000_000_000_000, -210_000_000_000_000, -1, 0, 8_640_000_000_000_000, None]
        await sink.write(make_batch([replace(make_record(n), client_time=t) for n, t in enumerate(times, 1)]))
        rows = self.ask(
            "SELECT (extract(epoch FROM client_time) * 1000)::bigint FROM logui_events ORDER BY seq"
        )
        self.assertEqual([row[0] for row in rows], [None, *times[1:]])

    async def test_what_jsonb_refuses_unexpectedly(self) -> None:
        """No event is refused for its content: the last of the halves is written as a string."""
        deep = b'{"deep":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
        sink = self.sink()
        await sink.open(b"")
        record = make_record(1, event=deep)
        with self.assertRaises(RecordsRefused):
            await sink.write(make_batch([record, make_record(2)]))
        await sink.write(make_batch([record]))
        self.assertEqual(
            self.ask("SELECT event_text, jsonb_typeof(event) FROM logui_events"), [(deep.decode(), "string")]
        )

    async def test_why_a_value_is_refused(self) -> None:
        """Not which: a reason is kept, and shown to operators."""
        sink = self.sink()
        await sink.open(b"")
        self.ask("ALTER TABLE logui_events ADD COLUMN n int GENERATED ALWAYS AS (session_id::int) STORED")
        for secret in ("my secret", "my secret" * 100):
            with self.assertRaises(RecordsRefused) as caught:
                await sink.write(make_batch([make_record(1, secret)]))
            self.assertEqual(str(caught.exception), 'invalid input syntax for type integer: "…"')


class TableTests(PostgreSQLSinkTestCase):
    async def test_many_servers_start_at_once(self) -> None:
        sinks = [self.sink("table=study.events") for _ in range(6)]
        await gatherResults([sink.open(b"") for sink in sinks])
        self.assertEqual(self.ask("SELECT form FROM study.events_version"), [(1,)])

    async def test_names_of_any_kind(self) -> None:
        name = "a\"b';--é {x} $1"
        sink = self.sink(f"table={quote(name)}&sessions=Select")
        await sink.open(b"")
        await sink.write(make_batch(made([1]), [make_session()]))
        quoted = name.replace('"', '""')
        self.assertEqual(self.ask(f'SELECT seq FROM "{quoted}"'), [(1,)])
        self.assertEqual(self.ask('SELECT session_id FROM "Select"'), [("s1",)])

    async def test_two_journals_in_one_table(self) -> None:
        sink = self.sink()
        await sink.open(b"")
        batch = make_batch(made([1, 2]), [make_session()])
        await sink.write(batch)
        await sink.write(evolve(batch, journal_id=JOURNAL[:-1] + "2"))
        self.assertEqual(self.ask("SELECT count(*) FROM logui_events"), [(4,)])
        self.assertEqual(self.ask("SELECT count(*) FROM logui_sessions"), [(2,)])

    async def test_a_table_of_somebody_elses(self) -> None:
        self.ask("CREATE TABLE logui_events (x int)")
        await self.assert_away(self.sink().open(b""), "name another one by ?table=", "logui_events")

    async def test_a_table_that_was_changed(self) -> None:
        sink = self.sink()
        await sink.open(b"")
        self.ask("ALTER TABLE logui_events RENAME COLUMN seq TO number")
        await self.assert_away(sink.write(make_batch(made([1]))), "another form", "seq")
        self.ask("ALTER TABLE logui_events RENAME COLUMN number TO seq")
        self.ask("ALTER TABLE logui_events ADD COLUMN own int NOT NULL")
        await self.assert_away(sink.write(make_batch(made([1]))), "another form", "own")
        self.ask("ALTER TABLE logui_events ALTER COLUMN own SET DEFAULT 1")
        await sink.write(make_batch(made([1])))

    async def test_a_newer_version_wrote_it(self) -> None:
        sink = self.sink()
        await sink.open(b"")
        await sink.close()
        self.ask("INSERT INTO logui_events_version (form) VALUES (99)")
        await self.assert_away(self.sink().open(b""), "newer version of logui-tx")

    async def test_tables_dropped_meanwhile(self) -> None:
        """A new connection makes them again."""
        sink = self.sink()
        await sink.open(b"")
        self.ask("DROP TABLE logui_events, logui_sessions, logui_events_version")
        await self.assert_away(sink.write(make_batch(made([1]))), "does not exist")
        await sink.write(make_batch(made([1])))
