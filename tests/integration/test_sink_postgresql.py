"""The sink ``postgresql:`` over a real PostgreSQL."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any
from urllib.parse import quote

import psycopg
from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from logui_tx.delivery.find import sink_makers
from logui_tx.errors import RecordsRefused, SinkAway
from logui_tx.interfaces import ISink
from logui_tx.model import Position, Record
from logui_tx.sinks.uri import read_uri
from logui_tx.testing import SinkContract, make_record, make_session
from logui_tx.testing.sink_contract import HOSTILE, JOURNAL, made, make_batch
from tests.integration.postgres import PASSWORD, PostgreSQL
from tests.integration.sink_chaos import SinkChaos

RECORD_ID = "journal_id || '-' || segment || '-' || position"


class PostgreSQLSinkTestCase(TestCase):
    """``self.postgresql`` runs while the class's tests do; each has an empty database at ``self.uri``."""

    postgresql: PostgreSQL

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.postgresql = PostgreSQL()
        cls.addClassCleanup(cls.postgresql.remove)
        cls.postgresql.start()

    def setUp(self) -> None:
        super().setUp()
        self.uri = self.postgresql.new_database()

    def sink(self, parameters: str = "", uri: str = "") -> Any:
        maker, read, _ = read_uri(f"{uri or self.uri}?{parameters}".rstrip("?"), sink_makers())
        sink = maker.make(read, reactor)
        self.addCleanup(sink.close)
        return sink

    def ask(self, question: str, uri: str = "") -> list[Any]:
        with closing(psycopg.connect(uri or self.uri, autocommit=True)) as connection:
            asked = connection.execute(question)  # type: ignore[call-overload]
            return list(asked.fetchall()) if asked.description else []

    async def assert_away(self, doing: Any, *words: str) -> str:
        with self.assertRaises(SinkAway) as raised:
            await doing
        for word in words:
            self.assertIn(word, str(raised.exception))
        self.assertNotIn(PASSWORD, str(raised.exception))
        self.assertNotIn("\n", str(raised.exception))
        return str(raised.exception)


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
        await sink.write(make_batch([evolve(make_record(n), client_time=t) for n, t in enumerate(times, 1)]))
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


class TroubleTests(PostgreSQLSinkTestCase):
    async def test_no_permission(self) -> None:
        role = f"r{self.uri[-8:]}"
        self.ask(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
        name = self.uri.rpartition("/")[2]
        uri = self.postgresql.uri(name, user=role)
        await self.assert_away(self.sink(uri=uri).open(b""), "permission denied")
        mine = self.sink()
        await mine.open(b"")
        sink = self.sink(uri=uri)
        await self.assert_away(sink.open(b""), "permission denied")
        self.ask(f"GRANT SELECT ON logui_events_version TO {role}")
        await sink.open(b"")
        await self.assert_away(sink.write(make_batch(made([1]))), "permission denied", "logui_events")

    async def test_a_wrong_password(self) -> None:
        uri = self.uri.replace(PASSWORD, "wrong-geheim")
        told = await self.assert_away(self.sink(uri=uri).open(b""), "password authentication failed")
        self.assertNotIn("wrong-geheim", told)

    async def test_a_database_that_cannot_hold_every_text(self) -> None:
        uri = self.postgresql.new_database("ENCODING 'LATIN1' TEMPLATE template0")
        await self.assert_away(self.sink(uri=uri).open(b""), "UTF8", "LATIN1")

    async def test_read_only(self) -> None:
        name = self.uri.rpartition("/")[2]
        sink = self.sink()
        await sink.open(b"")
        self.ask(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        await self.assert_away(self.sink().open(b""), "read-only")
        await self.assert_away(self.sink("target_session_attrs=any").open(b""), "read-only")

    async def test_hangs(self) -> None:
        """It keeps the connection and does not answer; then it does again."""
        sink = self.sink("timeout=1")
        await sink.open(b"")
        batch = make_batch(made([1, 2]))
        with self.postgresql.frozen():
            await self.assert_away(sink.write(batch), "no answer within 1 s")
        while True:
            try:
                await sink.write(batch)
            except SinkAway:
                continue
            break
        self.assertEqual(self.ask("SELECT count(*) FROM logui_events"), [(2,)])

    async def test_closed_while_it_hangs(self) -> None:
        sink = self.sink("timeout=600")
        await sink.open(b"")
        with self.postgresql.frozen():
            writing = sink.write(make_batch(made([1])))
            writing.addErrback(lambda failure: failure.trap(SinkAway))
            await sink.close()
            await writing

    async def test_a_lock_of_somebody_elses(self) -> None:
        sink = self.sink("timeout=1")
        await sink.open(b"")
        with closing(psycopg.connect(self.uri)) as other:
            other.execute("LOCK TABLE logui_events")
            await self.assert_away(sink.write(make_batch(made([1]))))

    async def test_its_connection_is_ended(self) -> None:
        sink = self.sink()
        await sink.open(b"")
        self.ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
        await self.assert_away(sink.write(make_batch(made([1]))))
        await sink.write(make_batch(made([1])))

    async def test_commits_are_on_disk(self) -> None:
        """Also where the database's own setting would let them be lost."""
        name = self.uri.rpartition("/")[2]
        self.ask(f"ALTER DATABASE {name} SET synchronous_commit = off")
        sink = self.sink()
        await sink.open(b"")
        asked = sink._connection.execute("SHOW synchronous_commit").fetchone()
        self.assertEqual(asked, ("on",))
        self.ask(f"ALTER DATABASE {name} SET synchronous_commit = remote_apply")
        sink = self.sink()
        await sink.open(b"")
        self.assertEqual(sink._connection.execute("SHOW synchronous_commit").fetchone(), ("remote_apply",))


class PostgreSQLChaosTests(SinkChaos, PostgreSQLSinkTestCase):
    seed = 15
    secrets = (PASSWORD,)

    def sink_uri(self) -> str:
        return f"{self.uri}?table=study.events"

    async def kill_other_end(self) -> None:
        await deferToThread(self.postgresql.kill)

    async def start_other_end(self) -> None:
        await deferToThread(self.postgresql.start)

    async def held(self) -> list[dict[str, Any]]:
        rows = await deferToThread(
            self.ask,
            f"SELECT {RECORD_ID}, session_id, seq, event FROM study.events ORDER BY segment, position",
        )
        names = "recordID", "sessionID", "seq", "event"
        return [dict(zip(names, row, strict=True)) for row in rows]

    async def held_sessions(self) -> dict[str, str | None]:
        rows = await deferToThread(self.ask, "SELECT session_id, end_reason FROM study.sessions")
        return dict(rows)
