"""``kafka:`` as far as it needs no brokers: its URI, messages and states."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import Mock

from confluent_kafka import KafkaError, KafkaException
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.delivery.find import sink_makers
from logui_tx.errors import BadOption, RecordsRefused
from logui_tx.records import record_json
from logui_tx.sinks import kafka, kafka_link
from logui_tx.sinks.kafka import KafkaSink
from logui_tx.sinks.kafka_link import KafkaLink
from logui_tx.sinks.kafka_settings import KafkaSettings, read_settings
from logui_tx.sinks.uri import read_uri
from logui_tx.testing import make_batch, make_record, make_session
from logui_tx.testing.sink_contract import made

PASSWORD = "hunter2-geheim"


def settings(uri: str) -> KafkaSettings:
    _, read, _ = read_uri(uri, sink_makers())
    return read_settings(read)


def make(uri: str) -> KafkaSink:
    maker, read, _ = read_uri(uri, sink_makers())
    found = maker.make(read, reactor)
    assert isinstance(found, KafkaSink)
    return found


class UriTests(SynchronousTestCase):
    def test_what_librdkafka_is_told(self) -> None:
        found = settings("kafka://b1:9092,[::1]:9093/logs?timeout=5s&compression=zstd&max-message=2MB")
        self.assertEqual(found.client["bootstrap.servers"], "b1:9092,[::1]:9093")
        self.assertEqual(found.client["security.protocol"], "plaintext")
        self.assertEqual((found.topic, found.sessions_topic), ("logs", "logs-sessions"))
        told: dict[str, Any] = {
            "acks": "all",
            "enable.idempotence": True,
            "compression.type": "zstd",
            "message.max.bytes": 2 * 1024 * 1024,
            "message.timeout.ms": 5000,
        }
        self.assertEqual(told, {name: found.producer[name] for name in told})

    def test_sessions_elsewhere_or_nowhere(self) -> None:
        self.assertEqual(settings("kafka://b/logs?sessions-topic=who").sessions_topic, "who")
        self.assertIsNone(settings("kafka://b/logs?sessions-topic=none").sessions_topic)

    def test_a_user_is_told_over_tls_only_unless_asked(self) -> None:
        found = settings(f"kafka://logui:{PASSWORD}@b/logs?mechanism=scram-sha-512")
        self.assertEqual(found.client["security.protocol"], "sasl_ssl")
        self.assertEqual(found.client["sasl.mechanism"], "SCRAM-SHA-512")
        self.assertEqual((found.client["sasl.username"], found.client["sasl.password"]), ("logui", PASSWORD))
        found = settings(f"kafka://logui:{PASSWORD}@b/logs?security=sasl_plaintext")
        self.assertEqual(found.client["security.protocol"], "sasl_plaintext")

    def test_the_password_is_not_shown(self) -> None:
        self.assertNotIn(PASSWORD, repr(settings(f"kafka://logui:{PASSWORD}@b/logs")))

    def test_settings_of_librdkafka(self) -> None:
        found = settings("kafka://b/logs?setting=linger.ms=20&setting=broker.address.family=v4")
        self.assertEqual((found.client["linger.ms"], found.client["broker.address.family"]), ("20", "v4"))

    def test_what_is_set_already_has_several_names(self) -> None:
        for name in (
            "metadata.broker.list",
            "request.required.acks",
            "topic.acks",
            "topic.request.required.acks",
            "compression.codec",
            "delivery.timeout.ms",
            "sasl.mechanisms",
            "isolation.level",
            "logger",
            "default.topic.config",
        ):
            with self.subTest(name), self.assertRaisesRegex(BadOption, f"{name} is the sink's own"):
                make(f"kafka://b1/logs?setting={name}=1")
        found = settings("kafka://b/logs?setting=topic.metadata.refresh.interval.ms=5000")
        self.assertEqual(found.client["topic.metadata.refresh.interval.ms"], "5000")

    def test_what_would_be_right(self) -> None:
        with TemporaryDirectory() as folder:
            missing = Path(folder) / "ca.pem"
            for uri, hint in (
                ("kafka:logs", "kafka://host:9092"),
                ("kafka://b1:9092,/logs", "kafka://host:9092"),
                ("kafka://b1:port/logs", "kafka://host:9092"),
                ("kafka://b1:9092,b2:99999/logs", "a port is a number from 1 to 65535"),
                ("kafka://[::1]:0/logs", "a port is a number from 1 to 65535"),
                ("kafka://b1", "a topic is expected"),
                ("kafka://b1/a/b", "a topic is expected"),
                ("kafka://b1/..", "a topic is expected"),
                ("kafka://b1/logs?sessions-topic=a%20b", "a topic is expected"),
                ("kafka://b1/logs?sessions-topic=logs", "a topic of their own"),
                ("kafka://b1/logs?security=tls", "one of plaintext, ssl"),
                ("kafka://b1/logs?security=sasl_ssl", "kafka://user:password@"),
                (f"kafka://logui:{PASSWORD}@b1/logs?security=ssl", "takes no user"),
                ("kafka://b1/logs?timeout=1h", "at most 300 s"),
                ("kafka://b1/logs?max-message=2GB", "max-message: at most 1000000000 are expected$"),
                ("kafka://b1/logs?max-message=1GB", "max-message: at most 1000000000 are expected$"),
                ("kafka://b1/logs?setting=linger.ms", "setting=name=value"),
                ("kafka://b1/logs?setting=acks=1", "acks is the sink's own"),
                ("kafka://b1/logs?setting=no.such.thing=1", "no.such.thing"),
                ("kafka://b1/logs?setting=linger.ms=soon", "Invalid value"),
                (f"kafka://b1/logs?security=ssl&ca={missing}", "ca.pem"),
            ):
                with self.assertRaisesRegex(BadOption, f"^sink: kafka: .*{hint}", msg=uri) as caught:
                    make(uri)
                self.assertNotIn(PASSWORD, str(caught.exception))
                self.assertNotIn("\n", str(caught.exception))


class MessageTests(SynchronousTestCase):
    def test_a_record(self) -> None:
        record = make_record(1)
        [message] = make("kafka://b/logs")._messages(make_batch([record]))
        self.assertEqual((message.topic, message.key, message.value), ("logs", b"s1", record_json(record)))
        self.assertEqual(
            dict(message.headers),
            {
                "recordID": record.record_id.encode(),
                "applicationID": record.application_id.encode(),
                "flightID": record.flight_id.encode(),
                "dialect": b"logui-0.4",
            },
        )

    def test_sessions_come_after_their_events(self) -> None:
        messages = make("kafka://b/logs")._messages(make_batch(made([1]), [make_session()]))
        self.assertEqual([one.topic for one in messages], ["logs", "logs-sessions"])
        self.assertEqual((messages[1].key, json.loads(messages[1].value)["id"]), (b"s1", "s1"))

    def test_too_large_before_anything_is_sent(self) -> None:
        sink = make("kafka://b/logs?max-message=2000")
        sink._messages(make_batch([make_record(1, event=b'{"x":"%s"}' % (b"x" * 1000))]))
        large = make_record(2, event=b'{"x":"%s"}' % (b"x" * 2000))
        with self.assertRaisesRegex(RecordsRefused, f"record {large.record_id} .*max-message is 2000"):
            sink._messages(make_batch([make_record(1), large]))
        with self.assertRaisesRegex(RecordsRefused, "session s1"):
            sink._messages(make_batch(made([1]), [make_session(user_agent="x" * 2000)]))


class DoubtTests(SynchronousTestCase):
    """Which batches are looked for, and from where on; the wire is a stand-in."""

    def setUp(self) -> None:
        self.sink = make("kafka://b/logs")
        self.link = Mock()
        self.link.find.return_value = set()
        self.link.ends.return_value = {0: 10}
        self.sink._link = self.link
        self.patch(kafka, "deferToThreadPool", lambda _reactor, _pool, ask: kafka.succeed(ask()))
        self.sink._pool = Mock()

    def write(self, *seqs: int) -> bytes:
        batch = make_batch(made(seqs))
        self.successResultOf(self.sink.prepare(batch))
        return self.successResultOf(self.sink.write(batch))

    def test_what_is_new_is_not_looked_for(self) -> None:
        self.sink.open(b"")
        self.write(1)
        self.write(2)
        self.link.find.assert_not_called()

    def test_after_a_crash(self) -> None:
        self.sink.open(b'{"0": 3}')
        self.link.find.return_value = {make_record(1).record_id}
        self.assertEqual(self.write(1, 2), b'{"0": 3}')
        self.link.find.assert_called_once_with({0: 3}, {make_record(1).record_id, make_record(2).record_id})
        self.assertEqual(
            [one.record_id for one in self.link.send.call_args[0][0]], [make_record(2).record_id]
        )
        self.link.ends.assert_not_called()

    def test_after_a_failure_from_where_it_was_before(self) -> None:
        self.sink.open(b"")
        batch = make_batch(made([1]))
        self.successResultOf(self.sink.prepare(batch))
        self.link.send.side_effect = RuntimeError
        with self.assertRaises(RuntimeError):
            self.sink.write(batch)
        self.link.send.side_effect = None
        self.link.ends.return_value = {0: 99}
        self.write(1)
        self.link.find.assert_called_once_with({0: 10}, {make_record(1).record_id})
        self.assertEqual(self.write(2), b'{"0": 99}')
        self.link.find.assert_called_once()

    def test_another_producer_is_ended_before_it_is_looked(self) -> None:
        self.sink.open(b'{"0": 3}')
        self.write(1)
        self.assertEqual([call[0] for call in self.link.method_calls], ["take_over", "find", "send"])


class ProducerTests(SynchronousTestCase):
    """Who writes is alone with its transactional id: another would end its transactions."""

    def setUp(self) -> None:
        self.producers: list[dict[str, Any]] = []

    def take_over(self, uri: str, *journals: str) -> None:
        link = KafkaLink(settings(uri))

        def produce(told: dict[str, Any]) -> Mock:
            self.producers.append(told)
            return Mock()

        self.patch(kafka_link, "Producer", produce)
        for journal in journals:
            link.take_over(journal)

    @property
    def ids(self) -> list[str]:
        return [told["transactional.id"] for told in self.producers]

    def test_each_sink_has_its_own(self) -> None:
        for uri in ("kafka://b/logs", "kafka://b/logs?name=2", "kafka://c/logs", "kafka://b/logs?timeout=9s"):
            self.take_over(uri, "journal")
        self.assertEqual(self.ids[3], self.ids[0], "the same sink goes on where it was")
        self.assertEqual(len(set(self.ids)), 3)
        for one in self.ids:
            self.assertTrue(one.startswith("logui-tx-logs-journal-"))

    def test_so_has_each_journal(self) -> None:
        self.take_over("kafka://b/logs", "a", "a", "b")
        self.assertEqual(len(self.ids), 2)
        self.assertEqual(len(set(self.ids)), 2)


class FindTests(SynchronousTestCase):
    """How far the topic is read; what librdkafka gives is a stand-in."""

    def setUp(self) -> None:
        self.link = KafkaLink(settings("kafka://b/logs?timeout=100ms"))

    def read(self, *messages: Mock | None) -> tuple[set[str], int]:
        """What is found of a, b and c in partition 0, which ends at 5, and how many messages that took."""
        consumer = Mock()
        consumer.poll.side_effect = [*messages, *[None] * 100]
        found = self.link._read(consumer, {0}, {0: 5}, {"a", "b", "c"})
        return found, consumer.poll.call_count

    def message(self, record_id: bytes | None) -> Mock:
        headers = None if record_id is None else [("recordID", record_id)]
        return Mock(**{"error.return_value": None, "headers.return_value": headers})

    def end(self, offset: int) -> Mock:
        code = Mock(**{"code.return_value": KafkaError._PARTITION_EOF})
        return Mock(
            **{"error.return_value": code, "partition.return_value": 0, "offset.return_value": offset}
        )

    def test_to_the_end(self) -> None:
        """The end of a transaction has an offset of its own, which is no message."""
        others = [self.message(None), self.message(b"\xff"), self.message(b"of another's")]
        self.assertEqual(
            self.read(self.message(b"a"), *others, self.message(b"b"), self.end(5)), ({"a", "b"}, 6)
        )

    def test_what_others_have_not_committed_is_waited_for(self) -> None:
        """It hides what comes after it."""
        self.assertEqual(
            self.read(self.message(b"a"), self.end(2), None, self.message(b"c"), self.end(7)), ({"a", "c"}, 5)
        )

    def test_not_for_ever(self) -> None:
        with self.assertRaises(KafkaException):
            self.patch(kafka_link.time, "monotonic", Mock(side_effect=[0.0, 0.05, 0.2]))
            self.read(self.end(2))


class StateTests(SynchronousTestCase):
    @given(st.dictionaries(st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1)))
    def test_read_as_written(self, ends: dict[int, int]) -> None:
        self.assertEqual(kafka._read(kafka._written(ends)), ends)

    def test_none_at_first(self) -> None:
        self.assertIsNone(kafka._read(b""))
