"""How rows come into the tables of the sink ``postgresql:``, whatever their owner has made of these."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import psycopg
from msgspec.structs import replace
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from logui_tx.errors import RecordsRefused
from logui_tx.model import Position
from logui_tx.testing import make_record
from logui_tx.testing.sink_contract import make_batch
from tests.integration.postgresql_sink import PostgreSQLSinkTestCase


class CopyTests(PostgreSQLSinkTestCase):
    """Rows go into the table itself where they can, and over the stage where they must."""

    segment = 0

    async def opened(self) -> Any:
        sink = self.sink()
        await sink.open(b"")
        return sink

    async def granted(self) -> str:
        """The URI for a role that may write to the tables, which are not its own."""
        await self.opened()
        role, uri = self.new_role()
        for table in ("events", "sessions", "events_version"):
            self.ask(f"GRANT SELECT, INSERT, UPDATE ON logui_{table} TO {role}")
        return uri

    async def write(self, sink: Any, *seqs: int, again: bool = False) -> None:
        self.segment += not again
        await sink.write(make_batch([make_record(n, position=Position(self.segment, n)) for n in seqs]))

    async def assert_directly(self, sink: Any, directly: bool) -> None:
        """Five rows more, by this way."""
        before = self.ask("SELECT count(*) FROM logui_events")[0][0]
        insert, sink._insert = sink._insert, "no statement at all"
        writing = self.write(sink, 1, 2, 3, 4, 5)
        if directly:
            await writing
        else:
            await self.assert_away(writing, "syntax error")
            sink._insert = insert
            await self.write(sink, 1, 2, 3, 4, 5, again=True)
        sink._insert = insert
        self.assertEqual(self.ask("SELECT count(*) FROM logui_events"), [(before + 5,)])
        found = self.ask(
            "SELECT position, seq::int, clock_offset::int, event::text::json->>'n', received_at::timestamptz"
            f" FROM logui_events WHERE segment = {self.segment} ORDER BY position"
        )
        received = datetime.fromtimestamp(1_795_341_600.25, UTC)
        self.assertEqual(found, [(n, n, -5, str(n), received) for n in range(1, 6)])

    async def test_as_it_was_made(self) -> None:
        sink = await self.opened()
        await self.assert_directly(sink, True)
        await self.assert_directly(sink, True)
        self.ask("ALTER TABLE logui_events ADD COLUMN own int DEFAULT 7")
        await self.assert_directly(sink, True)

    async def test_what_is_there_already(self) -> None:
        """Then the stage, until a batch is new: who was rewound would leave a dead row for each of them."""
        sink = await self.opened()
        await self.write(sink, 1, 2, 3)
        await self.write(sink, 1, 2, 3, 4, again=True)
        self.assertEqual(self.ask("SELECT count(*) FROM logui_events"), [(4,)])
        await self.assert_directly(sink, False)
        await self.assert_directly(sink, True)

    async def test_one_that_has_no_row_among_many(self) -> None:
        """Others of its batch are on their way when it is found: none of them stays."""
        sink = await self.opened()
        records = [make_record(n, position=Position(99, n)) for n in range(1, 501)]
        for wrong in (450, 1):
            bad = [replace(one, seq=1 << 70) if one.seq == wrong else one for one in records]
            with self.assertRaisesRegex(RecordsRefused, "64 bits"):
                await sink.write(make_batch(bad))
            self.assertEqual(self.ask("SELECT count(*) FROM logui_events"), [(0,)])
        await self.assert_directly(sink, True)

    async def test_columns_of_other_types(self) -> None:
        """As which binary rows would be misread."""
        sink = await self.opened()
        for change in (
            "seq TYPE numeric",
            "seq TYPE double precision",
            "clock_offset TYPE real",
            "event TYPE json",
            "event TYPE text",
            "event TYPE varchar",
            "session_id TYPE varchar(100)",
            "received_at TYPE timestamp",
        ):
            await self.assert_directly(sink, True)
            self.ask(f"ALTER TABLE logui_events ALTER COLUMN {change}")
            await self.assert_directly(sink, False)
            self.ask("DROP TABLE logui_events, logui_sessions, logui_events_version")
            sink = await self.opened()

    async def test_without_its_key(self) -> None:
        """Nothing would keep a row from being there twice."""
        sink = await self.opened()
        await self.write(sink, 1)
        self.ask("ALTER TABLE logui_events DROP CONSTRAINT logui_events_pkey")
        for key in (
            "PRIMARY KEY (journal_id, segment, position, seq)",
            "PRIMARY KEY (journal_id, segment, seq)",
            "UNIQUE (journal_id, segment, position) DEFERRABLE INITIALLY DEFERRED",
        ):
            for offered in (sink, await self.opened()):
                await self.assert_away(self.write(offered, 1, again=True))
            self.assertEqual(self.ask("SELECT count(*) FROM logui_events"), [(1,)])
            self.ask(f"ALTER TABLE logui_events DROP CONSTRAINT IF EXISTS other, ADD CONSTRAINT other {key}")
        await self.assert_away(self.write(sink, 2, 3))

    async def test_changed_while_it_waits(self) -> None:
        """Also where a transaction sees the database as it was when it began."""
        name = self.uri.rpartition("/")[2]
        self.ask(f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")
        sink = await self.opened()
        await self.write(sink, 1)
        with closing(psycopg.connect(self.uri)) as other:
            other.execute("ALTER TABLE logui_events DROP CONSTRAINT logui_events_pkey")
            writing = Deferred.fromCoroutine(self.write(sink, 1, 2, again=True))
            while not self.ask("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
                await deferLater(reactor, 0.01)
            other.commit()
            await self.assert_away(writing)
        self.assertEqual(self.ask("SELECT count(*) FROM logui_events"), [(1,)])

    async def test_a_child_that_is_locked(self) -> None:
        """What others inherit of the table is no business of the sink's."""
        sink = self.sink("timeout=2")
        await sink.open(b"")
        self.ask("CREATE TABLE archive () INHERITS (logui_events)")
        with closing(psycopg.connect(self.uri)) as other:
            other.execute("LOCK TABLE archive")
            await self.write(sink, 1)
        self.assertEqual(self.ask("SELECT count(*) FROM logui_events"), [(1,)])
        await self.assert_directly(sink, True)

    async def test_a_catalog_that_may_not_be_read(self) -> None:
        uri = await self.granted()
        self.ask("REVOKE SELECT ON pg_catalog.pg_index FROM PUBLIC")
        sink = self.sink(uri=uri)
        await sink.open(b"")
        await self.assert_directly(sink, False)

    async def test_a_rule(self) -> None:
        sink = await self.opened()
        self.ask("CREATE RULE tell AS ON INSERT TO logui_events DO ALSO NOTIFY logui")
        await self.assert_away(self.write(sink, 1), "rule")

    async def test_an_attempt_that_came_too_late(self) -> None:
        """The other way has the whole time the next time."""
        sink = self.sink("timeout=1")
        await sink.open(b"")
        with closing(psycopg.connect(self.uri)) as other:
            other.execute("LOCK TABLE logui_events IN SHARE MODE")
            await self.assert_away(self.write(sink, 1))
        await self.assert_directly(sink, False)
        await self.assert_directly(sink, True)

    async def test_row_security(self) -> None:
        """Whose tables cannot be copied into."""
        uri = await self.granted()
        self.ask("ALTER TABLE logui_events ENABLE ROW LEVEL SECURITY")
        self.ask("CREATE POLICY anybody ON logui_events USING (true) WITH CHECK (true)")
        sink = self.sink(uri=uri)
        await sink.open(b"")
        await self.assert_directly(sink, False)
