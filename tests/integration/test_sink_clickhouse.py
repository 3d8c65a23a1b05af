"""The sink ``clickhouse:``; see :mod:`tests.integration.clickhouse` for what is at the other end."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from msgspec.structs import replace
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from logui_tx.delivery.find import sink_makers
from logui_tx.errors import RecordsRefused, SinkAway
from logui_tx.interfaces import ISink
from logui_tx.model import Record
from logui_tx.sinks.posting import MOST_READ
from logui_tx.sinks.uri import read_uri
from logui_tx.testing import SinkContract, make_record
from logui_tx.testing.sink_contract import made, make_batch, make_session
from tests.integration.clickhouse import PASSWORD, REAL, ClickHouse
from tests.integration.sink_chaos import SinkChaos
from tests.integration.test_kraken_tls import make_certificate


def make_sink(uri: str) -> ISink:
    maker, read, _ = read_uri(uri, sink_makers())
    return maker.make(read, reactor)


class ClickHouseSinkTests(SinkContract, TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.clickhouse = ClickHouse(REAL)
        self.addCleanup(self.clickhouse.close)

    def make_sink(self) -> ISink:
        return make_sink(f"{self.clickhouse.uri}?timeout=10s")

    async def kept(self) -> list[tuple[str, str, int, bytes]]:
        rows = await deferToThread(self.clickhouse.events)
        return [(one["record_id"], one["session_id"], int(one["seq"]), one["event"].encode()) for one in rows]

    async def kept_sessions(self) -> dict[str, str | None]:
        rows = await deferToThread(self.clickhouse.sessions)
        return {one["session_id"]: one["end_reason"] for one in rows}

    async def take_away(self) -> None:
        await deferToThread(self.clickhouse.kill)

    async def bring_back(self) -> None:
        await deferToThread(self.clickhouse.start)

    def refused_record(self) -> Record:
        return replace(make_record(3), received_at="yesterday")

    # --- what others do not have

    async def test_a_constraint_of_the_operators(self) -> None:
        sink = await self.opened()
        await self.ask("ALTER TABLE {events} ADD CONSTRAINT three CHECK seq != 3")
        with self.assertRaisesRegex(
            RecordsRefused, r"\AClickHouse refuses it: 469 VIOLATED_CONSTRAINT: three\Z"
        ):
            await self.write(sink, make_batch(made([1, 2, 3])))
        await self.write(sink, make_batch(made([1, 2])))
        await self.assert_kept(made([1, 2]))

    async def test_a_table_of_an_earlier_release(self) -> None:
        """It lacks a column: that is added, and what is there stays."""
        sink = await self.opened()
        await self.write(sink, make_batch(made([1])))
        await self.ask("ALTER TABLE {events} DROP COLUMN clock_offset")
        with self.assertRaisesRegex(SinkAway, "clock_offset"):
            await self.write(sink, make_batch(made([2])))
        sink = await self.opened()
        await self.write(sink, make_batch(made([2])))
        await self.assert_kept(made([1, 2]))
        rows = await deferToThread(self.clickhouse.events)
        self.assertEqual([int(one["clock_offset"]) for one in rows[1:]], [-5])

    async def test_a_batch_over_two_months(self) -> None:
        """Each month is a partition, and is there or not: the rest comes when the batch is offered again."""
        sink = await self.opened()
        records = [*made([1, 2]), replace(make_record(3), received_at="2026-12-01T00:00:00.000Z")]
        await self.write(sink, make_batch(records))
        await self.write(sink, make_batch(records))
        await self.assert_kept(records)

    async def test_more_than_one_answer_may_tell(self) -> None:
        """What is in doubt is looked for in parts: nothing is taken for missing because an answer was cut."""
        records = made(range(1, 2001))
        self.assertGreater(sum(len(one.record_id) for one in records), MOST_READ)
        for _ in range(2):
            await self.write(await self.opened(), make_batch(records))
        await self.assert_kept(records)

    async def test_what_is_there(self) -> None:
        sink = await self.opened()
        ended = make_session(ended_at=1_795_341_700_125, end_reason="closed", events=1, user_agent="Firefox")
        await self.write(sink, make_batch(made([1]), [ended]))
        [event] = await deferToThread(self.clickhouse.events)
        self.assertEqual(event["received_at"], "2026-11-22 10:00:00.250")
        self.assertEqual(event["app_data"], '{"condition":"A"}')
        self.assertEqual(int(event["client_time"]), 1_795_341_600_001)
        [session] = await deferToThread(self.clickhouse.sessions)
        self.assertEqual((session["ended_at"], session["user_agent"]), ("2026-11-22 10:01:40.125", "Firefox"))

    async def test_an_older_row_does_not_replace_a_session(self) -> None:
        """As after a rewind."""
        sink = await self.opened()
        ended = make_session(ended_at=1_795_341_700_000, end_reason="closed", last_activity=1_795_341_600_001)
        await self.write(sink, make_batch(made([2]), [ended]))
        await self.write(sink, make_batch(made([1]), [make_session()]))
        self.assertEqual(await self.kept_sessions(), {"s1": "closed"})

    async def test_a_table_that_is_gone(self) -> None:
        sink = await self.opened()
        await self.ask("DROP TABLE {events}")
        with self.assertRaisesRegex(SinkAway, "60 UNKNOWN_TABLE"):
            await self.write(sink, make_batch(made([1])))

    async def test_no_such_database(self) -> None:
        sink = make_sink(self.clickhouse.uri.replace("/default.", "/elsewhere."))
        self.addCleanup(sink.close)
        with self.assertRaisesRegex(SinkAway, "elsewhere"):
            await sink.open(b"")

    async def test_a_wrong_password(self) -> None:
        sink = make_sink(self.clickhouse.uri.replace(PASSWORD, "not-the-password"))
        self.addCleanup(sink.close)
        with self.assertRaisesRegex(SinkAway, "Authentication") as caught:
            await sink.open(b"")
        self.assertNotIn("not-the-password", str(caught.exception))

    async def test_an_unknown_setting(self) -> None:
        sink = make_sink(f"{self.clickhouse.uri}?setting=no_such_setting=1")
        self.addCleanup(sink.close)
        with self.assertRaisesRegex(SinkAway, "no_such_setting"):
            await sink.open(b"")

    async def ask(self, query: str) -> None:
        await deferToThread(self.clickhouse.ask, query.format(events=f"`default`.`{self.clickhouse.table}`"))


class ClickHouseFailureTests(TestCase):
    """What a real server does not do when it is told to."""

    timeout = 60

    async def setUp(self) -> None:  # type: ignore[override]
        self.clickhouse = ClickHouse()
        self.addCleanup(self.clickhouse.close)
        self.sink = make_sink(self.clickhouse.uri)
        self.addCleanup(self.sink.close)
        await self.sink.open(b"")

    async def test_busy(self) -> None:
        """Too many parts, too many queries at once, no memory, no time, read only."""
        for code in (252, 202, 241, 159, 164, 999):
            await deferToThread(self.clickhouse.fail, code)
            with self.assertRaises(SinkAway):
                await self.sink.write(make_batch(made([1])))
        await self.sink.write(make_batch(made([1])))
        self.assertEqual(len(await deferToThread(self.clickhouse.events)), 1)

    async def test_a_server_in_between(self) -> None:
        await deferToThread(self.clickhouse.fail, 0, 1, 503)
        with self.assertRaises(SinkAway) as caught:
            await self.sink.write(make_batch(made([1])))
        self.assertEqual(caught.exception.retry_after, 7)
        await deferToThread(self.clickhouse.fail, 0, 1, 413)
        with self.assertRaises(RecordsRefused):
            await self.sink.write(make_batch(made([1])))

    async def test_killed_between_token_and_rows(self) -> None:
        """The server says that it has the batch, and has it not; twice."""
        batch = make_batch(made([1, 2]))
        for _ in range(2):
            await deferToThread(self.clickhouse.fail, -1)
            with self.assertRaises(SinkAway):
                await self.sink.write(batch)
            await deferToThread(self.clickhouse.kill)
            await deferToThread(self.clickhouse.start)
        await self.sink.write(batch)
        await self.sink.write(batch)
        self.assertEqual(
            [one["record_id"] for one in await deferToThread(self.clickhouse.events)],
            [one.record_id for one in batch.records],
        )

    async def test_a_server_that_does_not_answer(self) -> None:
        """What it took meanwhile it knows when it comes again."""
        sink = make_sink(f"{self.clickhouse.uri}?timeout=500ms")
        self.addCleanup(sink.close)
        await sink.open(b"")
        self.clickhouse.freeze()
        with self.assertRaisesRegex(SinkAway, "no answer within 0.5 s"):
            await sink.write(make_batch(made([1])))
        self.clickhouse.thaw()
        await self.sink.write(make_batch(made([1])))
        self.assertEqual(len(await deferToThread(self.clickhouse.events)), 1)

    async def test_the_sessions_are_refused(self) -> None:
        """Then no event was kept: in halves they would not be known again."""
        await deferToThread(self.clickhouse.fail, 27)
        with self.assertRaises(RecordsRefused):
            await self.sink.write(make_batch(made([1]), [make_session()]))
        self.assertEqual(await deferToThread(self.clickhouse.events), [])


class ClickHouseTLSTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        folder = Path(self.enterContext(TemporaryDirectory()))
        self.certificate = folder / "certificate.pem"
        make_certificate(self.certificate)
        self.clickhouse = ClickHouse(certificate=self.certificate)
        self.addCleanup(self.clickhouse.close)

    async def test_an_authority_of_ones_own(self) -> None:
        sink = make_sink(f"{self.clickhouse.uri}?ca={self.certificate}")
        self.addCleanup(sink.close)
        await sink.open(b"")
        await sink.write(make_batch(made([1])))
        self.assertEqual(len(await deferToThread(self.clickhouse.events)), 1)

    async def test_one_that_nobody_trusts(self) -> None:
        sink = make_sink(self.clickhouse.uri)
        self.addCleanup(sink.close)
        with self.assertRaisesRegex(SinkAway, "certificate verify failed"):
            await sink.open(b"")

    async def test_a_name_that_is_not_the_certificates(self) -> None:
        sink = make_sink(f"{self.clickhouse.uri.replace('localhost', '127.0.0.1')}?ca={self.certificate}")
        self.addCleanup(sink.close)
        with self.assertRaises(SinkAway):
            await sink.open(b"")


class ClickHouseChaosTests(SinkChaos, TestCase):
    seed = 5
    secrets = (PASSWORD,)

    def setUp(self) -> None:
        super().setUp()
        self.clickhouse = ClickHouse()
        self.addCleanup(self.clickhouse.close)

    def sink_uri(self) -> str:
        return f"{self.clickhouse.uri}?timeout=5s"

    async def kill_other_end(self) -> None:
        await deferToThread(self.clickhouse.kill)

    async def start_other_end(self) -> None:
        await deferToThread(self.clickhouse.start)

    async def held(self) -> list[dict[str, Any]]:
        return [
            {
                "recordID": one["record_id"],
                "sessionID": one["session_id"],
                "seq": one["seq"],
                "event": json.loads(one["event"]),
            }
            for one in await deferToThread(self.clickhouse.events)
        ]

    async def held_sessions(self) -> dict[str, str | None]:
        rows = await deferToThread(self.clickhouse.sessions)
        return {one["session_id"]: one["end_reason"] for one in rows}
