"""Kafka of a test's own: librdkafka's mock cluster, in a process that outlives the server's.

What it is: two brokers that speak Kafka's protocol and keep topics in memory. What it is not: it does not
recognise what an idempotent producer repeats, and a transaction that was aborted stays readable. So a sink
that passes has relied on neither. Killed, it would lose everything; "killed and back" is therefore
``rd_kafka_mock_broker_set_down`` and ``…_set_up``: all connections are cut in the middle of whatever goes on,
and new ones are refused.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from tests.integration.frozen import freeze, thaw

BROKERS = 2
PATIENCE = 10.0


class MockKafka:
    """Runs from when it is made until :meth:`close`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.kafka"],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.brokers = self._line()

    def topic(self, name: str, partitions: int = 3) -> None:
        """Make one; others are made when they are asked for."""
        self._do("topic", name, partitions)

    def no_topic(self, name: str, error: int = KafkaError.UNKNOWN_TOPIC_OR_PART) -> None:
        """Metadata of this topic is an error from now on; 0 for none."""
        self._do("no-topic", name, error)

    def refuse(self, request: int, *errors: int) -> None:
        """The next such requests (Kafka's ApiKeys) are answered with these errors; none: no more are."""
        self._do("no-errors", request)
        if errors:
            self._do("errors", request, *errors)

    def write(self, topic: str, value: bytes) -> None:
        """As some other producer."""
        producer = Producer({"bootstrap.servers": self.brokers, "log_level": 0})
        producer.produce(topic, value)
        assert producer.flush(PATIENCE) == 0

    def down(self) -> None:
        """All brokers, with all their connections."""
        for broker in range(1, BROKERS + 1):
            self._do("down", broker)

    def up(self) -> None:
        for broker in range(1, BROKERS + 1):
            self._do("up", broker)

    def freeze(self) -> None:
        """It keeps its connections, and answers nobody, until :meth:`thaw`."""
        freeze(self._process.pid)

    def thaw(self) -> None:
        thaw(self._process.pid)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def read(self, topic: str) -> list[tuple[bytes | None, bytes | None, dict[str, bytes]]]:
        """Key, value and headers of all messages, each partition in its order."""
        found = []
        consumer = Consumer(
            {
                "bootstrap.servers": self.brokers,
                "group.id": "test",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 10,
                "log_level": 0,
            }
        )
        try:
            partitions = set(consumer.list_topics(topic, timeout=PATIENCE).topics[topic].partitions)
            consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
            while partitions:
                message = consumer.poll(PATIENCE)
                assert message is not None, "the mock cluster does not answer"
                error = message.error()
                if error is None:
                    found.append((message.key(), message.value(), dict(message.headers() or ())))
                else:
                    assert error.code() == KafkaError._PARTITION_EOF, error
                    partitions.discard(message.partition())
        finally:
            consumer.close()
        return found

    def _do(self, *words: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        assert self._line() == "0", words

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def librdkafka() -> ctypes.CDLL:
    """The one that the driver uses: the mock's controls are in its C interface only."""
    maps = Path("/proc/self/maps").read_text()
    path = re.search(r"(/\S*librdkafka\S*)", maps)
    assert path is not None
    found = ctypes.CDLL(path[1])
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    for name, gives, takes in (
        ("conf_new", pointer, []),
        ("new", pointer, [number, pointer, text, ctypes.c_size_t]),
        ("mock_cluster_new", pointer, [pointer, number]),
        ("mock_cluster_bootstraps", text, [pointer]),
        ("mock_topic_create", number, [pointer, text, number, number]),
        ("mock_topic_set_error", None, [pointer, text, number]),
        ("mock_clear_request_errors", None, [pointer, ctypes.c_int16]),
        ("mock_broker_set_down", number, [pointer, ctypes.c_int32]),
        ("mock_broker_set_up", number, [pointer, ctypes.c_int32]),
        (
            "mock_push_request_errors_array",
            None,
            [pointer, ctypes.c_int16, ctypes.c_size_t, ctypes.POINTER(number)],
        ),
    ):
        function = getattr(found, f"rd_kafka_{name}")
        function.restype, function.argtypes = gives, takes
    return found


def serve() -> None:
    """Print where the brokers are, then do what stdin says, line by line."""
    kafka = librdkafka()
    client = kafka.rd_kafka_new(0, kafka.rd_kafka_conf_new(), None, 0)
    cluster = kafka.rd_kafka_mock_cluster_new(client, BROKERS)
    _say(kafka.rd_kafka_mock_cluster_bootstraps(cluster).decode())
    for line in sys.stdin:
        what, *words = line.split()
        done = 0
        if what == "topic":
            done = kafka.rd_kafka_mock_topic_create(cluster, words[0].encode(), int(words[1]), 1)
        elif what == "no-topic":
            kafka.rd_kafka_mock_topic_set_error(cluster, words[0].encode(), int(words[1]))
        elif what == "no-errors":
            kafka.rd_kafka_mock_clear_request_errors(cluster, int(words[0]))
        elif what == "errors":
            errors = (ctypes.c_int * (len(words) - 1))(*map(int, words[1:]))
            kafka.rd_kafka_mock_push_request_errors_array(cluster, int(words[0]), len(errors), errors)
        elif what == "down":
            done = kafka.rd_kafka_mock_broker_set_down(cluster, int(words[0]))
        elif what == "up":
            done = kafka.rd_kafka_mock_broker_set_up(cluster, int(words[0]))
        _say(str(done))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    serve()
