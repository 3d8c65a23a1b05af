"""The sink ``kafka:`` over librdkafka's mock cluster; see :mod:`tests.integration.kafka` for what that is."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from logui_tx.delivery.find import sink_makers
from logui_tx.interfaces import ISink
from logui_tx.model import Record
from logui_tx.sinks.uri import read_uri
from logui_tx.testing import SinkContract, make_record
from tests.integration.kafka import MockKafka
from tests.integration.sink_chaos import SinkChaos


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

    async def held(self) -> list[dict[str, Any]]:
        return [json.loads(value or b"") for _, value, _ in await deferToThread(self.kafka.read, "logui")]

    async def held_sessions(self) -> dict[str, str | None]:
        messages = await deferToThread(self.kafka.read, "logui-sessions")
        sessions: list[dict[str, Any]] = [json.loads(value or b"") for _, value, _ in messages]
        return {session["id"]: session["endReason"] for session in sessions}
