"""The sink ``postgresql:`` when something is wrong with the database, and when either end is killed."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg
from twisted.internet.threads import deferToThread

from logui_tx.errors import SinkAway
from logui_tx.testing.sink_contract import made, make_batch
from tests.integration.postgres import PASSWORD
from tests.integration.postgresql_sink import RECORD_ID, PostgreSQLSinkTestCase
from tests.integration.sink_chaos import SinkChaos


class TroubleTests(PostgreSQLSinkTestCase):
    async def test_no_permission(self) -> None:
        role, uri = self.new_role()
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
        asked = sink._links[0].connected().execute("SHOW synchronous_commit").fetchone()
        self.assertEqual(asked, ("on",))
        self.ask(f"ALTER DATABASE {name} SET synchronous_commit = remote_apply")
        sink = self.sink()
        await sink.open(b"")
        self.assertEqual(
            sink._links[0].connected().execute("SHOW synchronous_commit").fetchone(), ("remote_apply",)
        )


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
