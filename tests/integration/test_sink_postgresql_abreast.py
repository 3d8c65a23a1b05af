"""Large batches of the sink ``postgresql:``, which go over several connections at once."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg
from msgspec.structs import replace
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from logui_tx.errors import RecordsRefused
from logui_tx.model import Position, Record
from logui_tx.sinks import postgresql_link
from logui_tx.testing import make_record
from logui_tx.testing.sink_contract import make_batch, make_session
from tests.integration.postgres import PostgreSQL
from tests.integration.postgresql_sink import PostgreSQLSinkTestCase

LARGE = 2000


class AbreastTests(PostgreSQLSinkTestCase):
    segment = 0

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.postgresql.stop()
        cls.postgresql = PostgreSQL(track_commit_timestamp="on")
        cls.addClassCleanup(cls.postgresql.remove)
        cls.postgresql.start()

    async def opened(self, parameters: str = "timeout=5", uri: str = "") -> Any:
        sink = self.sink(parameters, uri)
        await sink.open(b"")
        return sink

    def large(self) -> list[Record]:
        """Of a segment of its own."""
        self.segment += 1
        return [make_record(n + 1, position=Position(self.segment, n)) for n in range(LARGE)]

    async def transactions(self, sink: Any) -> int:
        """In how many a large batch was written, of which all is there."""
        await sink.write(make_batch(self.large()))
        return self.assert_there()

    def assert_there(self) -> int:
        found = self.ask(
            "SELECT count(*), count(DISTINCT position), min(seq), max(seq), count(DISTINCT xmin::text)"
            f" FROM logui_events WHERE segment = {self.segment}"
        )
        self.assertEqual(found[0][:4], (LARGE, LARGE, 1, LARGE))
        return int(found[0][4])

    async def test_a_large_one(self) -> None:
        sink = await self.opened()
        self.assertEqual(await self.transactions(sink), 2)
        self.assertEqual(await self.transactions(sink), 2)
        self.assertEqual(await self.transactions(await self.opened("connections=3")), 3)
        self.assertEqual(await self.transactions(await self.opened("connections=1")), 1)

    async def test_what_comes_later_is_there_later(self) -> None:
        """And a session as it stands behind its events is not there before these."""
        sink = await self.opened("connections=4")
        await sink.write(make_batch(self.large(), [make_session(events=LARGE)]))
        found = self.ask(
            "SELECT min(position) FROM logui_events GROUP BY xmin::text, pg_xact_commit_timestamp(xmin)"
            " ORDER BY pg_xact_commit_timestamp(xmin)"
        )
        self.assertEqual(found, [(n * LARGE // 4,) for n in range(4)])
        last = f"SELECT xmin::text FROM logui_events WHERE position = {LARGE - 1}"
        self.assertEqual(self.ask("SELECT xmin::text FROM logui_sessions"), self.ask(last))

    async def test_a_small_one_needs_no_more_than_one(self) -> None:
        sink = await self.opened()
        await sink.write(make_batch(self.large()[:-1]))
        mine = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'logui-tx'"
        self.assertEqual(self.ask(mine), [(1,)])

    async def test_a_trigger_that_counts(self) -> None:
        """It would wait until the first of the two is done, and that for the second: it is not tried."""
        sink = await self.opened()
        self.ask(
            "CREATE SEQUENCE tried; CREATE TABLE counted AS SELECT 0 AS n;"
            "CREATE FUNCTION count_it() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN UPDATE counted SET n = n + nextval(''tried''); RETURN NEW; END';"
            "CREATE TRIGGER count BEFORE INSERT ON logui_events EXECUTE FUNCTION count_it()"
        )
        self.assertEqual(await self.transactions(sink), 1)
        self.assertEqual(self.ask("SELECT n::int, last_value::int FROM counted, tried"), [(1, 1)])

    async def test_another_unique_index(self) -> None:
        """One of its rows might wait for one of the others'."""
        sink = await self.opened()
        self.ask("CREATE UNIQUE INDEX other ON logui_events (session_id, seq, segment)")
        self.assertEqual(await self.transactions(sink), 1)

    async def test_not_at_once_again(self) -> None:
        """What kept it from going over several is asked of the server again after a while only."""
        sink = await self.opened()
        self.ask("CREATE UNIQUE INDEX other ON logui_events (session_id, seq, segment)")
        self.assertEqual(await self.transactions(sink), 1)
        self.ask("DROP INDEX other")
        self.assertEqual(await self.transactions(sink), 1)
        sink._alone = 0
        self.assertEqual(await self.transactions(sink), 2)

    async def test_what_is_there_already(self) -> None:
        sink = await self.opened()
        records = self.large()
        for there in (records[:5], records[-5:], records):
            await sink.write(make_batch(there))
            await sink.write(make_batch(records))
            self.assertGreater(self.assert_there(), 0)
            self.ask("TRUNCATE logui_events")
            # One that is new to the table, over the stage: then several again.
            self.assertEqual(await self.transactions(sink), 1)
            self.assertEqual(await self.transactions(sink), 2)
            self.segment -= 2

    async def test_one_that_has_no_row(self) -> None:
        """In the first part or the last: nothing of the batch stays, and the next is written as ever."""
        sink = await self.opened()
        for wrong in (0, LARGE - 1):
            records = self.large()
            records[wrong] = replace(records[wrong], seq=1 << 70)
            with self.assertRaisesRegex(RecordsRefused, "64 bits"):
                await sink.write(make_batch(records))
            self.assertEqual(self.ask("SELECT count(*) FROM logui_events"), [(0,)])
        self.assertEqual(await self.transactions(sink), 2)

    async def test_one_that_the_table_refuses(self) -> None:
        sink = await self.opened()
        self.ask("ALTER TABLE logui_events ADD CHECK (seq <> 1999)")
        with self.assertRaisesRegex(RecordsRefused, "check constraint"):
            await sink.write(make_batch(self.large()))
        self.assertEqual(self.ask("SELECT count(*) FROM logui_events"), [(0,)])

    async def test_who_may_have_one_connection_only(self) -> None:
        await self.opened()
        role, uri = self.new_role()
        for table in ("events", "sessions", "events_version"):
            self.ask(f"GRANT SELECT, INSERT, UPDATE ON logui_{table} TO {role}")
        self.ask(f"ALTER ROLE {role} CONNECTION LIMIT 1")
        self.assertEqual(await self.transactions(await self.opened(uri=uri)), 1)

    async def test_the_other_connection_is_ended(self) -> None:
        sink = await self.opened()
        self.assertEqual(await self.transactions(sink), 2)
        pid = sink._links[1].connected().info.backend_pid
        self.ask(f"SELECT pg_terminate_backend({pid}, 5000)")
        self.assertEqual(await self.transactions(sink), 1)
        sink._alone = 0
        self.assertEqual(await self.transactions(sink), 2)

    async def test_the_first_connection_is_ended(self) -> None:
        sink = await self.opened()
        self.assertEqual(await self.transactions(sink), 2)
        pid = sink._links[0].connected().info.backend_pid
        self.ask(f"SELECT pg_terminate_backend({pid}, 5000)")
        batch = make_batch(self.large())
        await self.assert_away(sink.write(batch))
        await sink.write(batch)
        self.assert_there()

    async def test_who_changes_the_table_is_waited_for(self) -> None:
        """Over one connection: of two the first might keep him waiting, and he the second."""
        sink = await self.opened("timeout=60")
        self.assertEqual(await self.transactions(sink), 2)
        with closing(psycopg.connect(self.uri)) as other:
            other.execute("ALTER TABLE logui_events ADD COLUMN own int DEFAULT 7")
            writing = Deferred.fromCoroutine(self.transactions(sink))
            while not self.ask("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
                await deferLater(reactor, 0.01)
            other.commit()
            self.assertEqual(await writing, 1)

    async def test_it_hangs(self) -> None:
        sink = await self.opened("timeout=1")
        self.assertEqual(await self.transactions(sink), 2)
        batch = make_batch(self.large())
        with self.postgresql.frozen():
            await self.assert_away(sink.write(batch), "no answer within 1 s")
        sink = await self.opened()
        await sink.write(batch)
        self.assert_there()

    async def test_a_default_that_takes_a_lock(self) -> None:
        """Of which nobody knows before: the one that waits for the other gives up after a second."""
        sink = await self.opened("timeout=60")
        self.ask(
            "CREATE TABLE counted AS SELECT 0 AS n; CREATE FUNCTION next_one() RETURNS int LANGUAGE sql AS"
            " 'UPDATE counted SET n = n + 1 RETURNING n'"
        )
        self.ask("ALTER TABLE logui_events ADD COLUMN number int")
        self.ask("ALTER TABLE logui_events ALTER COLUMN number SET DEFAULT next_one()")
        self.assertEqual(await self.transactions(sink), 1)
        self.assertEqual(self.ask("SELECT max(number) FROM logui_events"), [(LARGE,)])

    async def test_a_name_that_stands_for_two_servers(self) -> None:
        """One may be about to take over from the other: a batch is in one of them."""
        sink = await self.opened()
        self.patch(sink._links[1], "connected_soon", lambda: self.elsewhere(sink))
        self.assertEqual(await self.transactions(sink), 1)

    def elsewhere(self, sink: Any) -> Any:
        other = PostgreSQL()
        self.addCleanup(other.remove)
        other.start()
        link = sink._links[1]
        link._conninfo = other.new_database()
        return link.connected()

    async def test_no_second_one_where_the_first_may_not(self) -> None:
        sink = await self.opened()
        self.ask("CREATE UNIQUE INDEX other ON logui_events (session_id, seq, segment)")
        self.assertEqual(await self.transactions(sink), 1)
        self.assertTrue(sink._links[1].broken)

    async def test_who_is_let_in_and_hears_nothing(self) -> None:
        """As by a pooler that has given its one connection away."""
        sink = await self.opened("timeout=60")
        self.patch(postgresql_link, "_SOON", 0.2)
        prepare = postgresql_link.prepare
        self.patch(
            postgresql_link,
            "prepare",
            lambda connection, tables: (
                connection.execute("SELECT pg_sleep(50)") and prepare(connection, tables)
            ),
        )
        self.assertEqual(await self.transactions(sink), 1)

    async def test_after_an_outage_it_is_several_again(self) -> None:
        sink = await self.opened()
        self.assertEqual(await self.transactions(sink), 2)
        for link in sink._links:
            self.ask(f"SELECT pg_terminate_backend({link.connected().info.backend_pid}, 5000)")
        await self.assert_away(sink.write(make_batch(self.large())))
        self.assertEqual(await self.transactions(sink), 1)
        self.assertEqual(await self.transactions(sink), 2)
