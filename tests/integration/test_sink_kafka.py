"""The sink ``kafka:`` over librdkafka's mock cluster; see :mod:`tests.integration.kafka` for what that is."""

from __future__ import annotations

import json
from typing import Any

from confluent_kafka import KafkaError
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from logui_tx.delivery.find import sink_makers
from logui_tx.errors import RecordsRefused, SinkAway
from logui_tx.interfaces import ISink
from logui_tx.model import Record, SinkBatch
from logui_tx.sinks.uri import read_uri
from logui_tx.testing import SinkContract, make_batch, make_record, make_session
from logui_tx.testing.sink_contract import made
from tests.integration.kafka import MockKafka
from tests.integration.sink_chaos import SinkChaos

PRODUCE, END_TRANSACTION = 0, 26
"""Of Kafka's ApiKeys."""


def make_sink(uri: str) -> ISink:
    maker, read, _ = read_uri(uri, sink_makers())
    return maker.make(read, reactor)


class KafkaSinkTests(SinkContract, TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.kafka = MockKafka()
        self.addCleanup(self.kafka.close)
        self.kafka.topic("logui")
        self.kafka.topic("logui-sessions")

    def make_sink(self) -> ISink:
        return make_sink(f"kafka://{self.kafka.brokers}/logui?timeout=1s")

    async def kept(self) -> list[tuple[str, str, int, bytes]]:
        found = []
        for key, value, headers in await deferToThread(self.kafka.read, "logui"):
            assert value is not None
            record = json.loads(value)
            self.assertEqual(headers["recordID"].decode(), record["recordID"])
            self.assertEqual(key, record["sessionID"].encode())
            event = value.partition(b',"event":')[2][:-1]
            found.append((record["recordID"], record["sessionID"], record["seq"], event))
        return found

    async def kept_sessions(self) -> dict[str, str | None]:
        messages = await deferToThread(self.kafka.read, "logui-sessions")
        sessions: list[dict[str, Any]] = [json.loads(value or b"") for _, value, _ in messages]
        return {session["id"]: session["endReason"] for session in sessions}

    async def take_away(self) -> None:
        await deferToThread(self.kafka.down)

    async def bring_back(self) -> None:
        await deferToThread(self.kafka.up)

    def refused_record(self) -> Record:
        return make_record(3, event=b'{"large":"%s"}' % (b"x" * 2_000_000))


class KafkaChaosTests(SinkChaos, TestCase):
    seed = 3

    def setUp(self) -> None:
        super().setUp()
        self.kafka = MockKafka()
        self.addCleanup(self.kafka.close)
        self.kafka.topic("logui")
        self.kafka.topic("logui-sessions")

    def sink_uri(self) -> str:
        # Nothing is sent twice by the driver itself, which the mock cluster would not recognise.
        once = "setting=retry.backoff.ms=300000&setting=retry.backoff.max.ms=300000"
        return f"kafka://{self.kafka.brokers}/logui?timeout=1s&{once}"

    async def kill_other_end(self) -> None:
        await deferToThread(self.kafka.down)

    async def start_other_end(self) -> None:
        await deferToThread(self.kafka.up)

    async def compare(self, acknowledged: int) -> None:
        await super().compare(acknowledged)
        # librdkafka's own lines, as it writes them to stderr.
        self.assertEqual([line for line in self.log if line.startswith("%")], [])

    async def held(self) -> list[dict[str, Any]]:
        return [json.loads(value or b"") for _, value, _ in await deferToThread(self.kafka.read, "logui")]

    async def held_sessions(self) -> dict[str, str | None]:
        messages = await deferToThread(self.kafka.read, "logui-sessions")
        sessions: list[dict[str, Any]] = [json.loads(value or b"") for _, value, _ in messages]
        return {session["id"]: session["endReason"] for session in sessions}


class KafkaFailureTests(TestCase):
    timeout = 60

    async def setUp(self) -> None:  # type: ignore[override]
        self.kafka = MockKafka()
        self.addCleanup(self.kafka.close)
        self.kafka.topic("logui")
        self.kafka.topic("logui-sessions")
        self.sink = await self.opened("timeout=2s")

    async def opened(self, parameters: str) -> ISink:
        sink = make_sink(f"kafka://{self.kafka.brokers}/logui?{parameters}")
        self.addCleanup(sink.close)
        await sink.open(b"")
        return sink

    async def write(self, batch: SinkBatch) -> None:
        preparing = self.sink.prepare(batch)
        assert preparing is not None
        await preparing
        await self.sink.write(batch)

    async def seqs(self) -> list[int]:
        messages = await deferToThread(self.kafka.read, "logui")
        return [json.loads(value or b"")["seq"] for _, value, headers in messages if "recordID" in headers]

    async def test_no_such_topic(self) -> None:
        for error, text in (
            (KafkaError.UNKNOWN_TOPIC_OR_PART, "logui or logui-sessions does not exist"),
            (KafkaError.TOPIC_AUTHORIZATION_FAILED, "not allowed"),
        ):
            self.kafka.no_topic("logui", error)
            with self.assertRaisesRegex(SinkAway, text):
                await self.write(make_batch(made([1])))
        self.kafka.no_topic("logui", 0)
        await self.write(make_batch(made([1])))
        self.assertEqual(await self.seqs(), [1])

    async def test_the_brokers_refuse_what_is_too_large(self) -> None:
        """Theirs is the last word, whatever ``max-message`` is."""
        self.kafka.refuse(PRODUCE, KafkaError.MSG_SIZE_TOO_LARGE)
        with self.assertRaises(RecordsRefused):
            await self.write(make_batch(made([1, 2])))
        await self.write(make_batch(made([1])))
        await self.write(make_batch(made([2])))
        self.assertEqual(await self.seqs(), [1, 2])

    async def test_nobody_knows_whether_it_was_committed(self) -> None:
        """What is there is found, whoever else writes to the topic."""
        await deferToThread(self.kafka.write, "logui", b"of another's")
        self.kafka.refuse(END_TRANSACTION, *[KafkaError.COORDINATOR_NOT_AVAILABLE] * 100)
        batch = make_batch(made([1, 2, 3]))
        with self.assertRaises(SinkAway):
            await self.write(batch)
        await deferToThread(self.kafka.write, "logui", b"of another's")
        self.kafka.refuse(END_TRANSACTION)
        await self.write(batch)
        await self.write(make_batch(made([4])))
        self.assertEqual(await self.seqs(), [1, 2, 3, 4])

    async def test_another_has_taken_over(self) -> None:
        self.kafka.refuse(PRODUCE, KafkaError.INVALID_PRODUCER_EPOCH)
        with self.assertRaises(SinkAway):
            await self.write(make_batch(made([1, 2])))
        await self.write(make_batch(made([1, 2])))
        self.assertEqual(await self.seqs(), [1, 2])

    async def test_brokers_that_do_not_answer(self) -> None:
        self.sink = await self.opened("timeout=500ms")
        await self.write(make_batch(made([1])))
        self.kafka.freeze()
        with self.assertRaisesRegex(SinkAway, "no answer within 0.5 s"):
            await self.sink.write(make_batch(made([2])))
        with self.assertRaises(SinkAway):
            await self.write(make_batch(made([2])))
        self.kafka.thaw()
        self.sink = await self.opened("timeout=5s")
        await self.write(make_batch(made([2])))
        self.assertEqual(await self.seqs(), [1, 2])

    async def test_closed_while_it_waits(self) -> None:
        """Nobody waits for brokers that are away."""
        self.sink = await self.opened("timeout=5m")
        await self.write(make_batch(made([1])))
        self.kafka.down()
        writing = self.sink.write(make_batch(made([2])))
        await self.sink.close()
        await self.assertFailure(writing, SinkAway)

    async def test_closed_while_it_asks_for_topics(self) -> None:
        """That the driver does not give up, and nobody waits for it either."""
        self.sink = await self.opened("timeout=10s")
        self.kafka.freeze()
        preparing = self.sink.prepare(make_batch(made([1])))
        assert preparing is not None
        await self.sink.close()
        self.assertFalse(preparing.called)
        self.kafka.thaw()
        await preparing

    async def test_without_sessions(self) -> None:
        self.sink = await self.opened("sessions-topic=none")
        await self.write(make_batch(made([1]), [make_session()]))
        self.assertEqual(await deferToThread(self.kafka.read, "logui-sessions"), [])
        self.assertEqual(await self.seqs(), [1])
